//! Copyright files that a machine can read (Debian's copyright-format 1.0), as an expression of
//! SPDX that says what all files of a package together are under.

use std::collections::{BTreeMap, BTreeSet};

use super::deb822::{Field, Paragraphs};
use super::licence::{List, conjunction, identifier};
use crate::digest::Digest;

/// How much text of licences a copyright file gives. A list of many names may have one text below
/// it, which is then the text of each.
const MAX_TEXTS: usize = 8 << 20;
/// A name in `LicenseRef-…` has at most so many characters of Debian's.
const MAX_NAME: usize = 40;

/// What a copyright file says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Copyright {
    /// An expression of SPDX.
    pub(super) expression: String,
    /// The licences in it that SPDX has no identifier for.
    pub(super) own: BTreeMap<String, OwnLicence>,
}

/// A licence that SPDX has no identifier for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OwnLicence {
    pub(super) name: String,
    pub(super) text: String,
}

/// Reads a copyright file; otherwise says why it gives nothing, as the end of a sentence that
/// begins with the file.
pub(super) fn read(bytes: &[u8]) -> Result<Copyright, &'static str> {
    const FREE: &str = "is not written for machines";
    if std::str::from_utf8(bytes).is_err() {
        return Err("is no UTF-8");
    }
    let mut paragraphs = Paragraphs::of(bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes), true);
    let header = paragraphs.next().and_then(Result::ok).ok_or(FREE)?;
    let format = header.get("format").or_else(|| header.get("format-specification"));
    let format = format.map(|field| text_of(&field).to_ascii_lowercase()).unwrap_or_default();
    if !["copyright-format", "dep5", "dep-5"].iter().any(|word| format.contains(word)) {
        return Err(FREE);
    }
    let (mut lines, mut texts) = (Vec::new(), BTreeMap::new());
    for paragraph in paragraphs {
        let paragraph = paragraph.map_err(|_| "has lines that are no fields")?;
        let Some(field) = paragraph.get("license") else { continue };
        let line = line_of(&field);
        let text = text_below(&field);
        if !text.is_empty() {
            texts.entry(line.to_lowercase()).or_insert(text);
        }
        if paragraph.get("files").is_some() {
            lines.push(line);
        }
    }
    if lines.is_empty() {
        lines.extend(header.get("license").map(|field| line_of(&field)));
    }
    let mut found = Copyright::default();
    let (mut conjuncts, mut seen) = (BTreeSet::new(), BTreeSet::new());
    let mut given = 0;
    for line in lines.into_iter().filter(|line| !line.is_empty()) {
        if !seen.insert(line) {
            continue;
        }
        let list = List::parse(line);
        let mut own = BTreeMap::new();
        for name in list.names() {
            if identifier(name).is_none() {
                let text =
                    texts.get(&name.to_lowercase()).or_else(|| texts.get(&line.to_lowercase()));
                let text = text.map_or_else(|| no_text(name), Clone::clone);
                given += text.len();
                if given > MAX_TEXTS {
                    return Err("has more than 8 MiB of licences");
                }
                own.insert(name, (reference(name, &text), text));
            }
        }
        conjuncts.extend(list.conjuncts(&|name| match own.get(name) {
            Some((id, _)) => id.clone(),
            None => identifier(name).unwrap_or_default(),
        }));
        for (name, (id, text)) in own {
            found.own.insert(id, OwnLicence { name: name.to_owned(), text });
        }
    }
    if conjuncts.is_empty() {
        return Err("names no licence");
    }
    found.expression = conjunction(&conjuncts);
    Ok(found)
}

/// What SPDX wants where a copyright file has nothing but the name.
fn no_text(name: &str) -> String {
    format!("The copyright file calls the licence {name}, and has no text of it.")
}

/// An identifier that is the same for the same text of the same name, in whatever package.
fn reference(name: &str, text: &str) -> String {
    let mut plain = String::new();
    for letter in name.chars() {
        match letter.is_ascii_alphanumeric() || letter == '.' {
            true => plain.push(letter),
            false if plain.is_empty() || plain.ends_with('-') => {}
            false => plain.push('-'),
        }
        if plain.len() == MAX_NAME {
            break;
        }
    }
    let digest = Digest::of(format!("{name}\n{text}").as_bytes());
    format!("LicenseRef-{}-{}", plain.trim_end_matches('-'), &digest.hex()[..16]).replace("--", "-")
}

fn text_of<'a>(field: &Field<'a>) -> &'a str {
    std::str::from_utf8(field.first).unwrap_or_default()
}

/// The line that names licences.
fn line_of<'a>(field: &Field<'a>) -> &'a str {
    text_of(field)
}

/// The lines below, without the blank that each begins with; ` .` stands for an empty one.
fn text_below(field: &Field) -> String {
    let text = String::from_utf8_lossy(field.more);
    let lines = text.lines().map(|line| match line.trim() {
        "." => "",
        _ => line.strip_prefix([' ', '\t']).unwrap_or(line).trim_end(),
    });
    lines.collect::<Vec<_>>().join("\n").trim_matches('\n').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORMAT: &str =
        "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\n";

    /// The expression without the digests in it, or why there is none.
    fn expression(text: &str) -> String {
        match read(text.as_bytes()) {
            Err(why) => why.to_owned(),
            Ok(found) => {
                let mut expression = found.expression;
                for id in found.own.keys() {
                    expression = expression.replace(id, &id[..id.len() - 17]);
                }
                expression
            }
        }
    }

    #[test]
    fn what_copyright_files_say() {
        for (text, expected) in [
            ("Files: *\nLicense: GPL-2+\n", "GPL-2.0-or-later"),
            ("Files: *\nLicense: GPL-2+\n\nFiles: a\nLicense: GPL-2+\n", "GPL-2.0-or-later"),
            (
                "Files: *\nLicense: GPL-2+ or Artistic\n\nFiles: a\nLicense: Expat\n",
                "(Artistic-1.0-Perl OR GPL-2.0-or-later) AND MIT",
            ),
            ("Files: *\nLicense: BSD-4\n a\n", "LicenseRef-BSD-4"),
            ("Files: *\nLicense: a b c\n", "LicenseRef-a-b-c"),
            ("Files: *\nLicense: GPL-2+ with x exception\n", "LicenseRef-GPL-2-with-x-exception"),
            ("Files: *\nLicense: \u{e4}\n", "LicenseRef"),
            (
                "Files: *\nLicense: Perl\n\nFiles: b\nLicense: ISC\n",
                "(Artistic-1.0-Perl OR GPL-1.0-or-later) AND ISC",
            ),
            ("# a comment\nFiles: *\nLicense: ISC\n# one more\n", "ISC"),
            // What stands alone is only there to be named.
            ("Files: *\nLicense: ISC\n\nLicense: GPL-2\n text\n", "ISC"),
            ("License: GPL-2\n text\n", "names no licence"),
            ("Files: *\nLicense:\n text\n", "names no licence"),
            ("Files: *\nwhatever\n", "has lines that are no fields"),
            ("", "names no licence"),
        ] {
            assert_eq!(expression(&format!("{FORMAT}{text}")), expected, "{text}");
        }
        for (text, expected) in [
            ("This is free.\n", "is not written for machines"),
            ("", "is not written for machines"),
            ("Format: 1\n\nFiles: *\nLicense: ISC\n", "is not written for machines"),
            (
                "Format-Specification: http://dep.debian.net/deps/dep5\n\nFiles: *\nLicense: ISC\n",
                "ISC",
            ),
            ("\u{feff}Format: copyright-format\nLicense: ISC\n", "ISC"),
        ] {
            assert_eq!(expression(text), expected, "{text}");
        }
        assert_eq!(read(b"Format: copyright-format\n\nFiles: \xff\n"), Err("is no UTF-8"));
    }

    #[test]
    fn the_text_of_a_licence() {
        for (text, expected) in [
            ("Files: *\nLicense: own\n a\n  b\n .\n c\n", "a\n b\n\nc"),
            ("Files: *\nLicense: own\n\nLicense: Own\n elsewhere\n", "elsewhere"),
            ("Files: *\nLicense: own or ISC\n of both\n", "of both"),
            (
                "Files: *\nLicense: own\n",
                "The copyright file calls the licence own, and has no text of it.",
            ),
        ] {
            let found = read(format!("{FORMAT}{text}").as_bytes()).unwrap();
            let own: Vec<_> = found.own.values().map(|own| (&*own.name, &*own.text)).collect();
            assert_eq!(own, [("own", expected)], "{text}");
        }
        let many: Vec<_> = (0..20_000).map(|n| format!("l{n}")).collect();
        let text =
            format!("{FORMAT}Files: *\nLicense: {}\n {}\n", many.join(" or "), "x".repeat(1 << 20));
        assert_eq!(read(text.as_bytes()), Err("has more than 8 MiB of licences"));
        // The same name of another text is another licence.
        let of = |text: &str| read(format!("{FORMAT}Files: *\nLicense: own\n {text}\n").as_bytes());
        assert_eq!(of("a"), of("a"));
        assert_ne!(of("a").unwrap().expression, of("b").unwrap().expression);
    }
}

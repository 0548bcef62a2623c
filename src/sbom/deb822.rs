//! Paragraphs of fields, as dpkg's status and copyright files have them (deb822(5)). One pass, and
//! nothing is copied but the fields' names.

use std::collections::BTreeMap;

/// Why bytes are no paragraphs, with the line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Flaw {
    pub(super) line: usize,
    pub(super) what: String,
}

impl Flaw {
    pub(super) fn new(line: usize, what: impl Into<String>) -> Self {
        Flaw { line, what: what.into() }
    }
}

/// A field's value: what stands behind the colon, and the lines below.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Field<'a> {
    pub(super) line: usize,
    /// The first line, without the blanks around it.
    pub(super) first: &'a [u8],
    /// The lines below, each with the blank that it begins with.
    pub(super) more: &'a [u8],
}

/// The fields of a paragraph, by their names in lower case: deb822 knows no case there.
#[derive(Debug)]
pub(super) struct Paragraph<'a> {
    pub(super) line: usize,
    fields: BTreeMap<String, Field<'a>>,
}

impl<'a> Paragraph<'a> {
    /// The field of that name, which is given in lower case.
    pub(super) fn get(&self, name: &str) -> Option<Field<'a>> {
        self.fields.get(name).copied()
    }
}

/// The paragraphs of a file.
pub(super) struct Paragraphs<'a> {
    rest: &'a [u8],
    line: usize,
    /// Whether lines that begin with `#` are comments; there are none in what dpkg writes.
    comments: bool,
}

impl<'a> Paragraphs<'a> {
    pub(super) fn of(bytes: &'a [u8], comments: bool) -> Self {
        Paragraphs { rest: bytes, line: 0, comments }
    }

    /// The next line, with its end.
    fn next_line(&mut self) -> Option<&'a [u8]> {
        if self.rest.is_empty() {
            return None;
        }
        let end = self.rest.iter().position(|byte| *byte == b'\n');
        let (line, rest) = self.rest.split_at(end.map_or(self.rest.len(), |at| at + 1));
        self.rest = rest;
        self.line += 1;
        Some(line)
    }

    fn paragraph(&mut self) -> Result<Option<Paragraph<'a>>, Flaw> {
        let mut fields: BTreeMap<String, Field<'a>> = BTreeMap::new();
        let mut begun = 0;
        // The field that a line may go on with: its name, where the lines below it begin, and where
        // they end.
        let mut last: Option<(String, Field<'a>, &'a [u8], usize)> = None;
        while let Some(line) = self.next_line() {
            let text = line.trim_ascii_end();
            if text.is_empty() {
                if begun == 0 {
                    continue;
                }
                break;
            }
            if self.comments && text[0] == b'#' {
                // Inside of a field, a comment is one of its lines.
                if let Some((.., length)) = &mut last {
                    *length += line.len();
                }
                continue;
            }
            if matches!(text[0], b' ' | b'\t') {
                let Some((.., length)) = &mut last else {
                    return Err(Flaw::new(self.line, "goes on with a field that is not there"));
                };
                *length += line.len();
                continue;
            }
            if begun == 0 {
                begun = self.line;
            }
            if let Some((name, field, more, length)) = last.take() {
                fields.insert(name, Field { more: &more[..length], ..field });
            }
            let (name, value) = name_of(text, self.line)?;
            if fields.contains_key(&name) {
                return Err(Flaw::new(self.line, format!("has the field {name} again")));
            }
            let field = Field { line: self.line, first: value, more: &[] };
            last = Some((name, field, self.rest, 0));
        }
        if let Some((name, field, more, length)) = last.take() {
            fields.insert(name, Field { more: &more[..length], ..field });
        }
        Ok((begun > 0).then_some(Paragraph { line: begun, fields }))
    }
}

impl<'a> Iterator for Paragraphs<'a> {
    type Item = Result<Paragraph<'a>, Flaw>;

    fn next(&mut self) -> Option<Self::Item> {
        let paragraph = self.paragraph().transpose();
        if matches!(paragraph, Some(Err(_))) {
            self.rest = &[];
        }
        paragraph
    }
}

/// The name and the value in the first line of a field.
fn name_of(text: &[u8], line: usize) -> Result<(String, &[u8]), Flaw> {
    let colon = text.iter().position(|byte| *byte == b':');
    let name = colon.map(|at| &text[..at]).filter(|name| {
        !name.is_empty() && !name.starts_with(b"-") && name.iter().all(u8::is_ascii_graphic)
    });
    let (Some(name), Some(at)) = (name, colon) else {
        return Err(Flaw::new(line, "has no field"));
    };
    let name = String::from_utf8_lossy(name).to_ascii_lowercase();
    Ok((name, text[at + 1..].trim_ascii()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each field as `name=first|more`, each paragraph in brackets; or the line of the flaw.
    fn shown(text: &str, comments: bool) -> String {
        let mut all = String::new();
        for paragraph in Paragraphs::of(text.as_bytes(), comments) {
            match paragraph {
                Err(flaw) => all += &format!("line {} {}", flaw.line, flaw.what),
                Ok(paragraph) => {
                    let fields = paragraph.fields.iter().map(|(name, field)| {
                        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                        format!("{}:{name}={}|{}", field.line, text(field.first), text(field.more))
                    });
                    all += &format!("[{}]", fields.collect::<Vec<_>>().join(";"));
                }
            }
        }
        all
    }

    #[test]
    fn what_paragraphs_are() {
        for (text, expected) in [
            ("", ""),
            ("\n\n", ""),
            ("A: b\n", "[1:a=b|]"),
            ("A: b", "[1:a=b|]"),
            ("A:b\nB:\n c\n d\nC: e\n", "[1:a=b|;2:b=| c\n d\n;5:c=e|]"),
            ("\nA: b\n\n \nB: c\n", "[2:a=b|][5:b=c|]"),
            ("A: b\r\n c\r\n\r\nB: d\r\n", "[1:a=b| c\r\n][4:b=d|]"),
            ("A: b: c\n\td\n", "[1:a=b: c|\td\n]"),
            (" a\n", "line 1 goes on with a field that is not there"),
            ("A: b\n\n c\n", "[1:a=b|]line 3 goes on with a field that is not there"),
            ("A: b\na: c\n", "line 2 has the field a again"),
            ("A: b\nno field\n", "line 2 has no field"),
            (": b\n", "line 1 has no field"),
            ("-A: b\n", "line 1 has no field"),
            ("A b: c\n", "line 1 has no field"),
            ("\u{e4}: c\n", "line 1 has no field"),
            ("# a\nA: b\n", "line 1 has no field"),
        ] {
            assert_eq!(shown(text, false), expected, "{text:?}");
        }
        assert_eq!(shown("# a\nA: b\n# c\n d\n", true), "[2:a=b|# c\n d\n]");
    }
}

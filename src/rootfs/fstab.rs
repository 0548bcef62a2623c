//! `/etc/fstab`, as fstab(5) and Garden Linux's builder read it.

use std::fmt;

use super::command_line::blank;
use crate::error::{Error, Result};

/// The lines of an fstab, in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fstab {
    mounts: Vec<Mount>,
    pub(super) origin: String,
}

/// One line: what is mounted where. Every field is as it is meant, without the escapes of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Mount {
    /// What is mounted: a device, or a tag such as `LABEL=ROOT`.
    pub source: String,
    /// Where; `none` or `swap` for what has no place.
    pub target: String,
    /// The type of the file system.
    pub kind: String,
    /// The options of mount(8), `defaults` where the line has none.
    pub options: String,
    /// The fields after these: fs_freq and fs_passno, or what Garden Linux's builder has there for
    /// the partition, such as `type=uefi,size=64MiB`
    /// ([`Fstab::partitions`]).
    pub rest: Vec<String>,
    /// The number of the line in its file.
    pub line: usize,
}

impl Fstab {
    /// Reads the text of an fstab; `origin` is the file's name in errors.
    ///
    /// Fields are separated by blanks. A `#` begins a comment where a field could begin, at a
    /// line's start or after the fields; elsewhere it is a character as any other. `\040` and the
    /// like stand for one character each.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a line with less than three fields.
    pub fn parse(text: &str, origin: &str) -> Result<Fstab> {
        let mut mounts = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let mut fields = line
                .split(|c: char| c.is_ascii_whitespace())
                .filter(|field| !field.is_empty())
                .take_while(|field| !field.starts_with('#'))
                .map(unescaped);
            let Some(source) = fields.next() else { continue };
            let (Some(target), Some(kind)) = (fields.next(), fields.next()) else {
                return Err(Error::invalid(format!(
                    "{origin}, line {}, is no line of an fstab: {}",
                    number + 1,
                    line.trim()
                ))
                .with_hint("a line has a source, a place and a type: LABEL=ROOT / ext4 rw"));
            };
            mounts.push(Mount {
                source,
                target,
                kind,
                options: fields.next().unwrap_or_else(|| "defaults".to_owned()),
                rest: fields.collect(),
                line: number + 1,
            });
        }
        Ok(Fstab { mounts, origin: origin.to_owned() })
    }

    /// All lines.
    pub fn mounts(&self) -> &[Mount] {
        &self.mounts
    }

    /// The line that is mounted at `/`, wherever it stands.
    ///
    /// # Errors
    /// [`Error::Invalid`] where several are.
    pub fn root(&self) -> Result<Option<&Mount>> {
        let mut roots = self.mounts.iter().filter(|mount| mount.is_root());
        let first = roots.next();
        match (first, roots.next()) {
            (Some(first), Some(second)) => Err(Error::invalid(format!(
                "{} has two lines for /: line {} has {} and line {} has {}",
                self.origin, first.line, first.source, second.line, second.source
            ))
            .with_hint("a system has one root file system; take one of the lines out")),
            (first, _) => Ok(first),
        }
    }
}

impl Mount {
    /// Whether it is mounted at `/`.
    pub fn is_root(&self) -> bool {
        !self.target.is_empty() && self.target.chars().all(|c| c == '/')
    }

    /// The value of a tag of its source, such as `ROOT` of `LABEL=ROOT` or `LABEL="ROOT"`.
    pub fn tag(&self, name: &str) -> Option<&str> {
        let value = self.source.strip_prefix(name)?.strip_prefix('=')?;
        Some(unquoted(value))
    }

    /// The source as a kernel command line names it; `None` where it is no device, such as `tmpfs`
    /// or `server:/share`.
    pub fn device(&self) -> Option<String> {
        match self.source.split_once('=') {
            Some((tag, value)) if tag.chars().all(|c| c.is_ascii_uppercase()) => {
                Some(format!("{tag}={}", unquoted(value)))
            }
            _ if self.source.starts_with("/dev/") => Some(self.source.clone()),
            _ => None,
        }
    }
}

/// The fields, separated by tabs and escaped, so that a shell can read them back.
impl fmt::Display for Mount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&escaped(&self.source))?;
        for field in [&self.target, &self.kind, &self.options].into_iter().chain(&self.rest) {
            write!(f, "\t{}", escaped(field))?;
        }
        Ok(())
    }
}

fn unquoted(value: &str) -> &str {
    value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value)
}

/// A field with its escapes, `\` and three octal digits each, as the characters that they mean.
fn unescaped(field: &str) -> String {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let digits = after.get(..3).filter(|digits| {
            *first == b'\\'
                && matches!(digits[0], b'0'..=b'3')
                && digits.iter().all(|digit| matches!(digit, b'0'..=b'7'))
        });
        match digits {
            Some(digits) => {
                bytes.push(digits.iter().fold(0, |value, digit| value * 8 + (digit - b'0')));
                rest = &after[3..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    // Escapes of single bytes may have made no text of it: then it stays as it was written.
    String::from_utf8(bytes).unwrap_or_else(|_| field.to_owned())
}

fn escaped(field: &str) -> String {
    let mut text = String::with_capacity(field.len());
    for (at, c) in field.chars().enumerate() {
        if blank(c) || c == '\\' || c.is_ascii_control() || (at == 0 && c == '#') {
            text += &format!("\\{:03o}", u32::from(c));
        } else {
            text.push(c);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Fstab {
        Fstab::parse(text, "fstab").unwrap()
    }

    #[test]
    fn the_root_is_the_line_mounted_at_the_root_wherever_it_stands() {
        let root = "LABEL=ROOT / ext4 rw";
        #[rustfmt::skip]
        let entries: &[(&str, Option<&str>)] = &[
            (root, Some("LABEL=ROOT")),
            ("LABEL=ROOT / ext4 rw\nLABEL=USR /usr ext4 ro\n", Some("LABEL=ROOT")),
            ("LABEL=ROOT / ext4 rw\nLABEL=SWAP none swap sw\n", Some("LABEL=ROOT")),
            ("LABEL=EFI /efi vfat umask=0077 type=uefi\nLABEL=ROOT / ext4\n", Some("LABEL=ROOT")),
            ("LABEL=ROOT / ext4 rw\nLABEL=EFI /efi vfat umask=0077 type=uefi\n# end\n", Some("LABEL=ROOT")),
            ("  LABEL=A\t//\text4 # the root", Some("LABEL=A")),
            ("LABEL=\"A\" / ext4", Some("LABEL=A")),
            ("LABEL=A#B / ext4", Some("LABEL=A#B")),
            ("/dev/disk/by-label/my\\040root / ext4", Some("/dev/disk/by-label/my root")),
            ("PARTUUID=0-1 / xfs x-systemd.growfs 0 1", Some("PARTUUID=0-1")),
            ("tmpfs / tmpfs", None),
            ("host:/share / nfs", None),
            ("# LABEL=ROOT / ext4\n\n", None),
            ("#LABEL=ROOT / ext4 rw", None),
            ("LABEL=A /a ext4\r\nLABEL=R / ext4 rw\r\n", Some("LABEL=R")),
            ("", None),
        ];
        for (text, device) in entries {
            let found = parse(text).root().unwrap().and_then(Mount::device);
            assert_eq!(found.as_deref(), *device, "{text:?}");
        }
    }

    #[test]
    fn a_line_is_told_apart_and_a_wrong_one_is_named() {
        let fstab = parse("LABEL=EFI  /efi vfat umask=0077  type=uefi,size=64MiB # args\n");
        let mount = &fstab.mounts()[0];
        assert_eq!(mount.to_string(), "LABEL=EFI\t/efi\tvfat\tumask=0077\ttype=uefi,size=64MiB");
        assert_eq!((mount.tag("LABEL"), mount.tag("UUID")), (Some("EFI"), None));
        assert_eq!(parse("a /b c").mounts()[0].options, "defaults");

        let error = Fstab::parse("# a\nLABEL=ROOT /\n", "features/x/fstab").unwrap_err();
        assert_eq!(
            error.to_string(),
            "features/x/fstab, line 2, is no line of an fstab: LABEL=ROOT /"
        );
        let twice = parse("LABEL=A / ext4\nLABEL=B / ext4");
        let said = twice.root().unwrap_err().to_string();
        assert_eq!(said, "fstab has two lines for /: line 1 has LABEL=A and line 2 has LABEL=B");
    }

    proptest! {
        /// What is printed reads back as what it was.
        #[test]
        fn fields_survive(fields in proptest::collection::vec("[a-z#\\\\\" \t=/é0-9]{1,8}", 4..7)) {
            let mount = Mount {
                source: fields[0].clone(),
                target: fields[1].clone(),
                kind: fields[2].clone(),
                options: fields[3].clone(),
                rest: fields[4..].to_vec(),
                line: 1,
            };
            let again = parse(&mount.to_string());
            prop_assert_eq!(again.mounts(), [mount]);
        }

        /// No text makes the parser panic.
        #[test]
        fn any_text_is_read_or_refused(text in ".{0,60}") {
            let _ = Fstab::parse(&text, "fstab");
        }
    }
}

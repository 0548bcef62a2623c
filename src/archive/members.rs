//! The members of a tar file, read so that no other reader can see other ones.
//!
//! Tools differ in what they make of a header that is not quite right: a size with a sign, a record
//! that stands twice, a folder with content, a second header that renames the member. What one of
//! them may take for something else is refused here. The `tar` crate reads as leniently as they do,
//! so it only gives the places of the fields. The rules are those of POSIX.1-2017 (pax, "ustar
//! Interchange Format", "pax Extended Header") and of GNU tar's manual ("Basic Tar Format").

use std::io::{self, Read, Seek, SeekFrom};

use tar::Header;

use crate::compress::{self, Reader};
use crate::{Error, Result};

/// How much is read of the headers of one member, its long name included.
const MAX_HEADERS: u64 = 1 << 20;

/// The unit of a tar file.
const BLOCK: usize = 512;

/// What the name `ustar` and the version behind it say of the other fields.
const POSIX: &[u8] = b"ustar\x0000";
const GNU: &[u8] = b"ustar  \0";

/// Keys of extended headers that say nothing of a member's content and name.
const HARMLESS: &[&str] = &[
    "comment",
    "gname",
    "uname",
    "LIBARCHIVE.creationtime",
    "RHT.security.selinux",
    "SCHILY.acl.access",
    "SCHILY.acl.default",
    "SCHILY.dev",
    "SCHILY.fflags",
    "SCHILY.ino",
    "SCHILY.nlink",
];
const HARMLESS_PREFIXES: &[&str] = &["LIBARCHIVE.xattr.", "SCHILY.xattr."];

/// What a member is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Folder,
    File,
    /// GNU tar's sparse file, whose content is not what it is unpacked to.
    Sparse,
    /// A link, a device, a pipe, or what only one tool knows.
    Other,
}

/// A member.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) name: String,
    pub(super) kind: Kind,
    /// Where its content begins.
    pub(super) offset: u64,
    /// The size of its content.
    pub(super) size: u64,
}

/// What stands before a member's own header and belongs to it.
#[derive(Default)]
struct Extended {
    path: Option<String>,
    size: Option<u64>,
    /// Whether there was any.
    any: bool,
}

/// Goes from header to header.
pub(super) struct Members<'a> {
    reader: Reader,
    origin: &'a str,
    /// Whether what lies between two headers is not decoded.
    seeks: bool,
    /// Where the next header begins.
    next: u64,
}

impl<'a> Members<'a> {
    /// The members of what `reader` reads; `origin` names it in errors.
    pub(super) fn new(reader: Reader, origin: &'a str) -> Self {
        let seeks = reader.is_seekable();
        Members { reader, origin, seeks, next: 0 }
    }

    /// Where the last member, and what marks the end, is behind.
    pub(super) fn end(&self) -> u64 {
        self.next
    }

    /// The reader, wherever it stands.
    pub(super) fn into_reader(self) -> Reader {
        self.reader
    }

    /// The next member; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<Member>> {
        let (mut extended, mut budget) = (Extended::default(), MAX_HEADERS);
        loop {
            let Some(header) = self.header()? else {
                return match extended.any {
                    true => Err(self.bad("a header belongs to a member that is not there")),
                    false => Ok(None),
                };
            };
            let fields = Fields::parse(&header).map_err(|what| self.bad(what))?;
            let kind = header.as_bytes()[156];
            if !matches!(kind, b'x' | b'g' | b'L' | b'K') {
                return self.member(fields, kind, extended).map(Some);
            }
            budget = budget.checked_sub(fields.size).ok_or_else(|| {
                Error::invalid(format!(
                    "{} has a member whose headers are larger than {MAX_HEADERS} bytes",
                    self.origin
                ))
                .with_hint(compress::DAMAGED)
            })?;
            let content = self.content(fields.size)?;
            match kind {
                b'g' if extended.any => Err("a global header stands between a member's headers"),
                b'g' => check_global(&content),
                // Which of two names a tool takes is its own choice.
                _ if extended.any => Err("a member has several headers that say what it is"),
                b'x' => parse_extended(&content).map(|read| extended = read),
                b'L' => long_name(&content).map(|name| {
                    extended = Extended { path: Some(name), size: None, any: true };
                }),
                _ => Err("a long name of what a link leads to belongs to no file"),
            }
            .map_err(|what| self.bad(what))?;
        }
    }

    /// The member whose own header has been read.
    fn member(&mut self, fields: Fields, kind: u8, extended: Extended) -> Result<Member> {
        let size = match extended.size {
            None => fields.size,
            // The header's own field has no room for it.
            Some(size) if size > MAX_OCTAL && fields.size == 0 => size,
            Some(size) if size == fields.size => size,
            Some(_) => return Err(self.bad("a member has two sizes")),
        };
        let name = match extended.path {
            Some(path) => path,
            None => String::from_utf8(fields.name)
                .map_err(|_| self.bad("a member's name is not UTF-8"))?,
        };
        let kind = match kind {
            b'0' | 0 => Kind::File,
            b'5' => Kind::Folder,
            b'S' => Kind::Sparse,
            _ => Kind::Other,
        };
        // Some tools pass over the content of such members, others take it for headers.
        if kind != Kind::File && size > 0 {
            return Err(self.bad("a member that is no regular file has a size"));
        }
        let offset = self.next;
        self.pass(size)?;
        Ok(Member { name, kind, offset, size })
    }

    /// The next header; `None` behind the last one.
    fn header(&mut self) -> Result<Option<Header>> {
        let mut header = Header::new_old();
        if !self.block(&mut header)? {
            return Ok(None);
        }
        if !is_zero(&header) {
            return Ok(Some(header));
        }
        // Two blocks of zeros mark the end. Behind a single one, some tools go on.
        if self.block(&mut header)? && !is_zero(&header) {
            return Err(self.bad("a block of zeros stands between two members"));
        }
        Ok(None)
    }

    /// Reads a block; whether there is one.
    fn block(&mut self, block: &mut Header) -> Result<bool> {
        let mut have = 0;
        self.seek()?;
        while have < BLOCK {
            match self.reader.read(&mut block.as_mut_bytes()[have..]) {
                Ok(0) if have == 0 => return Ok(false),
                Ok(0) => return Err(self.cut_short()),
                Ok(read) => have += read,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(self.failed(e)),
            }
        }
        self.next += BLOCK as u64;
        Ok(true)
    }

    /// Reads the content of a member whose header has just been read.
    pub(super) fn read(&mut self, member: &Member) -> Result<Vec<u8>> {
        self.reader
            .seek(SeekFrom::Start(member.offset))
            .map_err(|e| compress::error("read", self.origin, e))?;
        self.exactly(member.size)
    }

    fn content(&mut self, size: u64) -> Result<Vec<u8>> {
        self.seek()?;
        let content = self.exactly(size)?;
        self.pass(size)?;
        Ok(content)
    }

    /// Reads so many bytes, of which the caller knows that they are few.
    fn exactly(&mut self, size: u64) -> Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(size as usize);
        let read = (&mut self.reader).take(size).read_to_end(&mut bytes);
        match read.map_err(|e| self.failed(e))? {
            read if read as u64 == size => Ok(bytes),
            _ => Err(self.cut_short()),
        }
    }

    /// Passes over content of a size, and what fills up its last block.
    fn pass(&mut self, size: u64) -> Result<()> {
        let end =
            size.checked_next_multiple_of(BLOCK as u64).and_then(|it| self.next.checked_add(it));
        self.next = end.ok_or_else(|| self.bad("a member's size is larger than any file"))?;
        Ok(())
    }

    /// Goes to where the next header begins.
    fn seek(&mut self) -> Result<()> {
        if self.seeks {
            self.reader.seek(SeekFrom::Start(self.next)).map_err(|e| self.failed(e))?;
            return Ok(());
        }
        let at = self.reader.stream_position().map_err(|e| self.failed(e))?;
        let mut left = self.next - at;
        let mut buffer = vec![0; left.min(64 << 10) as usize];
        while left > 0 {
            let most = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            match self.reader.read(&mut buffer[..most]) {
                Ok(0) => return Err(self.cut_short()),
                Ok(read) => left -= read as u64,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(self.failed(e)),
            }
        }
        Ok(())
    }

    fn failed(&self, error: io::Error) -> Error {
        compress::error("read", self.origin, error)
    }

    fn cut_short(&self) -> Error {
        Error::invalid(format!("{} is cut short", self.origin)).with_hint(compress::DAMAGED)
    }

    fn bad(&self, what: impl std::fmt::Display) -> Error {
        Error::invalid(format!("{} is damaged, or can be read in two ways: {what}", self.origin))
            .with_hint(compress::DAMAGED)
    }
}

fn is_zero(header: &Header) -> bool {
    header.as_bytes().iter().all(|byte| *byte == 0)
}

/// What counts of a header.
struct Fields {
    name: Vec<u8>,
    size: u64,
}

/// The largest number in a size field of octal digits.
const MAX_OCTAL: u64 = (1 << 33) - 1;

impl Fields {
    fn parse(header: &Header) -> Result<Fields, &'static str> {
        let (bytes, old) = (header.as_bytes(), header.as_old());
        let sum =
            bytes[..148].iter().chain(&bytes[156..]).map(|byte| u64::from(*byte)).sum::<u64>();
        // The field itself counts as spaces.
        if octal(&old.cksum) != Some(sum + 8 * u64::from(b' ')) {
            return Err("a header's checksum is wrong");
        }
        let plain = |field: &[u8]| match field {
            // A number without room, in base 256.
            [0x80, rest @ ..] => rest[..rest.len() - 4].iter().all(|byte| *byte == 0),
            field => field.iter().all(|byte| *byte == 0) || octal(field).is_some(),
        };
        if ![&old.mode[..], &old.uid, &old.gid, &old.mtime].into_iter().all(plain) {
            return Err("a number in a header is not one");
        }
        let size = match octal(&old.size) {
            Some(size) => size,
            // GNU tar writes a number without room in base 256. For any other number this form has
            // no use but to be read otherwise, or not at all.
            None => match old.size.split_first() {
                Some((0x80, rest)) => rest
                    .iter()
                    .try_fold(0_u64, |sum, byte| Some(sum.checked_mul(256)? + u64::from(*byte)))
                    .filter(|size| (MAX_OCTAL + 1..1 << 63).contains(size)),
                _ => None,
            }
            .ok_or("a member's size is no number, or not written as one")?,
        };
        let (name, prefix) = (until_zero(&old.name), &bytes[345..]);
        let name = match &bytes[257..265] {
            POSIX => {
                // star puts times behind a shorter prefix.
                let (prefix, behind) = prefix.split_at(155);
                let end = until_zero(prefix);
                if prefix[end.len()..].iter().chain(behind).any(|byte| *byte != 0) {
                    return Err("a header has something behind its fields");
                }
                match end {
                    [] => name.to_vec(),
                    prefix => [prefix, b"/", name].concat(),
                }
            }
            // What stands here is times and a map of holes; Go takes other text for a prefix.
            GNU | &[0, 0, 0, 0, 0, 0, 0, 0] if prefix.iter().all(|byte| *byte == 0) => {
                name.to_vec()
            }
            _ => return Err("a header is of no known form"),
        };
        Ok(Fields { name, size })
    }
}

fn until_zero(field: &[u8]) -> &[u8] {
    field.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// A field of octal digits: spaces may stand before them, and spaces or zeros behind.
fn octal(field: &[u8]) -> Option<u64> {
    let digits = field.trim_ascii_start();
    let len = digits.iter().take_while(|byte| matches!(byte, b'0'..=b'7')).count();
    let (digits, behind) = digits.split_at(len);
    let blank = |bytes: &[u8]| bytes.iter().all(|byte| matches!(byte, b' ' | 0));
    let before = &field[..field.len() - digits.len() - behind.len()];
    if digits.is_empty() || !blank(before) || !blank(behind) {
        return None;
    }
    // There are at most twelve of them.
    Some(digits.iter().fold(0, |sum, digit| sum * 8 + u64::from(digit - b'0')))
}

/// A long name (GNU tar's manual, "Basic Tar Format"), which zeros end.
fn long_name(content: &[u8]) -> Result<String, &'static str> {
    let name = until_zero(content);
    if name.is_empty() || content[name.len()..].iter().any(|byte| *byte != 0) {
        return Err("a long name is empty, or something stands behind it");
    }
    String::from_utf8(name.to_vec()).map_err(|_| "a member's name is not UTF-8")
}

/// An extended header, which belongs to the next member.
fn parse_extended(content: &[u8]) -> Result<Extended, &'static str> {
    let mut extended = Extended { any: true, ..Extended::default() };
    for (key, value) in records(content)? {
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let fits = match key {
            "path" => {
                extended.path = Some(value.to_owned());
                !value.is_empty()
            }
            "size" => {
                extended.size = value.parse().ok().filter(|size: &u64| *size < 1 << 63);
                digits(value) && extended.size.is_some_and(|size| size.to_string() == value)
            }
            "uid" | "gid" => digits(value),
            "mtime" | "atime" | "ctime" => {
                let value = value.strip_prefix('-').unwrap_or(value);
                let (whole, part) = value.split_once('.').unwrap_or((value, "0"));
                digits(whole) && digits(part)
            }
            "hdrcharset" => value == "ISO-IR 10646 2000 10 UTF-8",
            key => {
                HARMLESS.contains(&key)
                    || HARMLESS_PREFIXES.iter().any(|prefix| key.starts_with(prefix))
            }
        };
        if !fits {
            return Err("an extended header has a key or a value that may change what is read");
        }
    }
    Ok(extended)
}

/// A global header, which is for all members behind it: only a comment, as git writes it, is the
/// same to all tools.
fn check_global(content: &[u8]) -> Result<(), &'static str> {
    match records(content)?.iter().all(|(key, _)| *key == "comment") {
        true => Ok(()),
        false => Err("a global header says more than a comment"),
    }
}

/// The records of an extended header, each `LENGTH KEY=VALUE` and a newline, each key once.
fn records(mut content: &[u8]) -> Result<Vec<(&str, &str)>, &'static str> {
    const WRONG: &str = "an extended header is damaged";
    let mut records: Vec<(&str, &str)> = Vec::new();
    while !content.is_empty() {
        let space = content.iter().take(8).position(|byte| *byte == b' ').ok_or(WRONG)?;
        let length = std::str::from_utf8(&content[..space]).map_err(|_| WRONG)?;
        let len: usize = length.parse().map_err(|_| WRONG)?;
        if length != len.to_string() || len <= space + 1 {
            return Err(WRONG);
        }
        let (record, rest) = content.split_at_checked(len).ok_or(WRONG)?;
        let record = record[space + 1..].strip_suffix(b"\n").ok_or(WRONG)?;
        let equals = record.iter().position(|byte| *byte == b'=').ok_or(WRONG)?;
        let key = std::str::from_utf8(&record[..equals]).map_err(|_| WRONG)?;
        // The values of extended attributes are bytes.
        let value = match HARMLESS_PREFIXES.iter().any(|prefix| key.starts_with(prefix)) {
            true => "",
            false => std::str::from_utf8(&record[equals + 1..]).map_err(|_| WRONG)?,
        };
        if key.is_empty() || key.contains('\0') || value.contains('\0') {
            return Err(WRONG);
        }
        records.push((key, value));
        content = rest;
    }
    records.sort_unstable();
    match records.windows(2).any(|pair| pair[0].0 == pair[1].0) {
        true => Err("an extended header has a key twice"),
        false => Ok(records),
    }
}

//! What stands in a unified kernel image: the sections that the UAPI group's specification
//! (UAPI.5) names, in a portable executable.

use std::io::{self, Read};

use object::LittleEndian;
use object::pe::{
    IMAGE_DIRECTORY_ENTRY_SECURITY, IMAGE_FILE_MACHINE_AMD64, IMAGE_FILE_MACHINE_ARM64,
    IMAGE_FILE_MACHINE_I386, IMAGE_FILE_MACHINE_RISCV64, ImageDosHeader, ImageNtHeaders64, Machine,
};
use object::read::pe::ImageNtHeaders as _;

use crate::{Error, Result};

/// How much of a file its headers are looked for in, in bytes.
const HEADERS: usize = 64 << 10;
/// The largest section that is read as a text, in bytes.
const MAX_TEXT: u64 = 64 << 10;

/// What was read of a unified kernel image, or of a kernel, which is a portable executable too where
/// UEFI can start it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Uki {
    /// The architecture, as an OCI platform names it; `None` for one that no machine here has.
    pub architecture: Option<&'static str>,
    /// The names of its sections, in their order.
    pub sections: Vec<String>,
    /// The kernel's command line in it.
    pub command_line: Option<String>,
    /// Its os-release.
    pub os_release: Option<String>,
    /// Whether a signature for Secure Boot is in it. Whose it is, and whether it is right, is not
    /// looked at.
    pub is_signed: bool,
}

/// What the headers say.
struct Headers {
    uki: Uki,
    /// Texts to be read: which, where and how long.
    texts: Vec<(Text, u64, u64)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Text {
    CommandLine,
    OsRelease,
}

impl Uki {
    /// Whether it has what makes a kernel a unified one: `.linux` (UAPI.5).
    pub fn is_unified(&self) -> bool {
        self.sections.iter().any(|name| name == ".linux")
    }

    /// Reads a file of which any part can be had: `part` gives so many bytes from an offset on, or
    /// fewer where it ends.
    ///
    /// # Errors
    /// [`Error::Invalid`] for what is no portable executable; what `part` gives.
    pub fn read(origin: &str, part: &mut dyn FnMut(u64, usize) -> Result<Vec<u8>>) -> Result<Self> {
        let Headers { mut uki, texts } = Headers::read(&part(0, HEADERS)?, origin)?;
        for (text, offset, size) in texts {
            let bytes = part(offset, usize::try_from(size).unwrap_or(usize::MAX))?;
            uki.take(text, bytes, size, origin)?;
        }
        Ok(uki)
    }

    /// Reads a file from its beginning to its end, so that content that is checked while it is read
    /// is checked as a whole.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn read_whole(mut file: impl Read, origin: &str) -> Result<Self> {
        let failed = |e| Error::io("read", origin, e);
        let mut seen = Vec::new();
        file.by_ref().take(HEADERS as u64).read_to_end(&mut seen).map_err(failed)?;
        let headers = Headers::read(&seen, origin);
        let (mut uki, texts) = match headers {
            Ok(Headers { uki, texts }) => (uki, texts),
            Err(e) => {
                // What is damaged is told rather than what it looks like.
                io::copy(&mut file, &mut io::sink()).map_err(failed)?;
                return Err(e);
            }
        };
        let mut wanted = texts;
        wanted.sort_by_key(|(_, offset, _)| *offset);
        let (mut found, mut at) = (Vec::new(), seen.len() as u64);
        for (text, offset, size) in wanted {
            let mut bytes = Vec::new();
            if offset < at {
                // It lies in what was read for the headers, or begins there.
                let start = usize::try_from(offset).unwrap_or(usize::MAX).min(seen.len());
                let end = usize::try_from(offset + size).unwrap_or(usize::MAX).min(seen.len());
                bytes.extend_from_slice(&seen[start..end]);
                if at > seen.len() as u64 {
                    return Err(damaged(origin, "has sections that lie over one another"));
                }
            } else {
                io::copy(&mut file.by_ref().take(offset - at), &mut io::sink()).map_err(failed)?;
                at = offset;
            }
            let rest = size - bytes.len() as u64;
            let read = file.by_ref().take(rest).read_to_end(&mut bytes).map_err(failed)?;
            at += read as u64;
            found.push((text, bytes, size));
        }
        // The end is where the digest is checked; nothing is taken before it.
        io::copy(&mut file, &mut io::sink()).map_err(failed)?;
        for (text, bytes, size) in found {
            uki.take(text, bytes, size, origin)?;
        }
        Ok(uki)
    }

    fn take(&mut self, text: Text, bytes: Vec<u8>, size: u64, origin: &str) -> Result<()> {
        if bytes.len() as u64 != size {
            return Err(damaged(origin, "ends before a section that it names"));
        }
        let text_of = |bytes: Vec<u8>| {
            let text = String::from_utf8(bytes).ok()?;
            // ukify ends a command line with a zero or without, some with a newline too.
            Some(text.trim_end_matches(['\0', '\n']).to_owned())
        };
        let read = text_of(bytes).ok_or_else(|| {
            damaged(origin, &format!("has a section {} that is no text", text.name()))
        })?;
        match text {
            Text::CommandLine => self.command_line = Some(read),
            Text::OsRelease => self.os_release = Some(read),
        }
        Ok(())
    }
}

impl Text {
    fn name(self) -> &'static str {
        match self {
            Text::CommandLine => ".cmdline",
            Text::OsRelease => ".osrel",
        }
    }
}

impl Headers {
    fn read(bytes: &[u8], origin: &str) -> Result<Self> {
        let wrong = |_| damaged(origin, "is no portable executable of 64 bits");
        let dos = ImageDosHeader::parse(bytes).map_err(wrong)?;
        let mut offset = dos.nt_headers_offset().into();
        let (headers, directories) = ImageNtHeaders64::parse(bytes, &mut offset).map_err(wrong)?;
        let table = headers.sections(bytes, offset).map_err(wrong)?;
        let signature = directories.get(IMAGE_DIRECTORY_ENTRY_SECURITY);
        let mut uki = Uki {
            architecture: architecture(headers.file_header().machine.get(LittleEndian)),
            sections: Vec::new(),
            command_line: None,
            os_release: None,
            is_signed: signature.is_some_and(|entry| entry.size.get(LittleEndian) > 0),
        };
        let mut texts = Vec::new();
        for section in table.iter() {
            let name = String::from_utf8_lossy(section.raw_name()).into_owned();
            let text =
                [Text::CommandLine, Text::OsRelease].into_iter().find(|it| it.name() == name);
            // Of several profiles in one image (UAPI.5), the first is the one that boots by itself.
            let is_first = !uki.sections.contains(&name);
            uki.sections.push(name);
            let Some(text) = text.filter(|_| is_first) else { continue };
            // What lies in the file may be longer than what is meant, up to the file's alignment.
            let (offset, raw) = section.pe_file_range();
            let size = u64::from(section.virtual_size.get(LittleEndian).min(raw));
            if size > MAX_TEXT {
                let what = format!("has a section {} of {size} bytes", text.name());
                return Err(damaged(origin, &what));
            }
            texts.push((text, u64::from(offset), size));
        }
        Ok(Headers { uki, texts })
    }
}

/// The architecture of a machine type, as an OCI platform names it.
fn architecture(machine: Machine) -> Option<&'static str> {
    match machine {
        IMAGE_FILE_MACHINE_AMD64 => Some("amd64"),
        IMAGE_FILE_MACHINE_ARM64 => Some("arm64"),
        IMAGE_FILE_MACHINE_I386 => Some("386"),
        IMAGE_FILE_MACHINE_RISCV64 => Some("riscv64"),
        _ => None,
    }
}

fn damaged(origin: &str, what: &str) -> Error {
    Error::invalid(format!("{origin} {what}"))
        .with_hint("a kernel that UEFI starts is one; look at what was packed")
}

//! The files in any tar, plain or compressed, each with the place where its content lies.

use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use super::members::{Kind, Members};
use crate::compress::{self, Reader};
use crate::{Error, Result, file};

/// How many files may be in it.
const MAX_FILES: usize = 1_000;

/// A file in an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Packed {
    /// Its name.
    pub(crate) name: String,
    /// Where its content begins in what the archive unfolds to.
    offset: u64,
    /// The size of its content.
    pub(crate) size: u64,
}

/// The files in an archive that may unfold to `max_size` bytes; folders are passed over.
///
/// # Errors
/// [`Error::Invalid`] where it is damaged, can be read in two ways, or holds a link or a device;
/// [`Error::Io`].
pub(crate) fn files(path: &Path, max_size: u64) -> Result<Vec<Packed>> {
    let shown = path.display().to_string();
    let bad = |why: &str| {
        Error::invalid(format!("{shown} cannot be taken apart: {why}")).with_hint(compress::DAMAGED)
    };
    let mut members = Members::new(open(path, max_size)?, &shown);
    let mut files: Vec<Packed> = Vec::new();
    while let Some(member) = members.next()? {
        let name = member.name.trim_start_matches("./").to_owned();
        match member.kind {
            Kind::Folder => continue,
            Kind::File if files.iter().any(|file| file.name == name) => {
                return Err(bad(&format!("{name:?} is there twice")));
            }
            Kind::File if files.len() == MAX_FILES => {
                return Err(bad(&format!("it has more than {MAX_FILES} files")));
            }
            Kind::File => files.push(Packed { name, offset: member.offset, size: member.size }),
            _ => return Err(bad(&format!("{name:?} is no regular file"))),
        }
    }
    members.into_reader().check_rest().map_err(|e| compress::error("read", path, e))?;
    Ok(files)
}

/// Opens the content of a file in an archive, at an offset in it.
///
/// # Errors
/// As [`files`].
pub(crate) fn open_file(
    path: &Path,
    file: &Packed,
    offset: u64,
    max_size: u64,
) -> Result<impl Read + use<>> {
    let mut reader = open(path, max_size)?;
    let start = SeekFrom::Start(file.offset.saturating_add(offset));
    reader.seek(start).map_err(|e| compress::error("read", path, e))?;
    Ok(Whole { left: file.size.saturating_sub(offset), reader })
}

fn open(path: &Path, max_size: u64) -> Result<Reader> {
    let reader = Reader::open(file::open_regular(path)?.0, path)?.with_limit(max_size);
    reader.check_size()?;
    Ok(reader)
}

/// So many bytes, and an error where there are fewer.
struct Whole {
    reader: Reader,
    left: u64,
}

impl Read for Whole {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let most = buf.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let n = self.reader.read(&mut buf[..most])?;
        if n == 0 && most > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= n as u64;
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use tar::{Builder, EntryType, Header};

    use super::*;

    /// An archive of files, and of a link where that is wanted.
    fn packed(path: &Path, names: &[(&str, &str)], link: bool) {
        let mut tar = Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
        for (name, content) in names {
            let mut header = Header::new_gnu();
            header.set_size(content.len() as u64);
            tar.append_data(&mut header, name, content.as_bytes()).unwrap();
        }
        if link {
            let mut header = Header::new_gnu();
            header.set_entry_type(EntryType::Symlink);
            header.set_size(0);
            tar.append_link(&mut header, "link", "/etc/passwd").unwrap();
        }
        std::fs::write(path, tar.into_inner().unwrap().finish().unwrap()).unwrap();
    }

    #[test]
    fn files_are_found_and_read_where_they_lie() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.tar.gz");
        packed(&path, &[("vmlinuz", "a kernel"), ("./initrd", "an initramfs")], false);
        let found = files(&path, 1 << 20).unwrap();
        let names: Vec<_> = found.iter().map(|file| (&*file.name, file.size)).collect();
        assert_eq!(names, [("vmlinuz", 8), ("initrd", 12)]);
        for (offset, expected) in [(0, "an initramfs"), (3, "initramfs"), (12, "")] {
            let mut text = String::new();
            let mut content = open_file(&path, &found[1], offset, 1 << 20).unwrap();
            content.read_to_string(&mut text).unwrap();
            assert_eq!(text, expected);
        }
    }

    #[test]
    fn what_could_be_two_things_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.tar.gz");
        for (what, names, link, max_size) in [
            ("twice", &[("a", "1"), ("a", "2")][..], false, 1 << 20),
            ("no regular file", &[("a", "1")], true, 1 << 20),
            ("more than", &[("a", "1")], false, 100),
        ] {
            packed(&path, names, link);
            let error = files(&path, max_size).unwrap_err().to_string();
            assert!(error.contains(what), "{what}: {error}");
        }
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() - 9]).unwrap();
        assert!(files(&path, 1 << 20).is_err());
    }
}

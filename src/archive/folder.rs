//! A folder as a .tar.gz of which the same files give the same bytes: in the order of their names,
//! with one time, one owner and one of two rights.

use std::fs::{File, Metadata};
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path};

use tar::{Builder, EntryType, Header};

use super::writer::TIME;
use crate::compress::{self, Format, Settings, Writer};
use crate::digest::{Algorithm, BLOCK, Digest, Hasher};
use crate::file::{self, NewFile, State};
use crate::{Error, Result};

/// Packs a folder, which is called `name` in the tar, into a file without a name among the
/// temporary ones; gives that and the digest of the tar before it is compressed.
///
/// # Errors
/// [`Error::Usage`] where there is something in it that is no file, no folder and no link, a link
/// that leads out of it, or a name that is no text; [`Error::Io`], also where a file changes
/// meanwhile.
pub(crate) fn pack(path: &Path, name: &str) -> Result<(File, Digest)> {
    let dir_path = std::env::temp_dir();
    let dir = file::open_dir(&dir_path)?;
    let new = NewFile::create(&dir, &dir_path, 0o600)?;
    let failed = |e: io::Error| compress::error("write", &dir_path, e);
    let out =
        Writer::new(BufWriter::with_capacity(BLOCK, new.file()), &Settings::new(Format::Gzip))?;
    let hasher = Hasher::new(Algorithm::Sha256);
    let mut tar = Builder::new(Hashed { out, hasher });
    let root = std::fs::metadata(path).map_err(|e| Error::io("read", path, e))?;
    // The last one is next: a folder, what is in it, and then what is beside it.
    let mut next = vec![(path.to_owned(), name.to_owned(), root)];
    while let Some((path, full, metadata)) = next.pop() {
        add(&mut tar, &path, name, &full, &metadata)?;
        if !metadata.is_dir() {
            continue;
        }
        let mut names = file::names(&file::open_dir(&path)?, &path)?;
        names.sort_unstable();
        for below in names.iter().rev() {
            let path = path.join(below);
            let text = below.to_str().ok_or_else(|| {
                Error::usage(format!("the name {} is not text", path.display()))
                    .with_hint("give it a name of plain text")
            })?;
            let metadata =
                std::fs::symlink_metadata(&path).map_err(|e| Error::io("read", &path, e))?;
            next.push((path, format!("{full}/{text}"), metadata));
        }
    }
    let Hashed { out, hasher } = tar.into_inner().map_err(failed)?;
    out.finish()
        .and_then(|buffer| buffer.into_inner().map_err(io::IntoInnerError::into_error))
        .map_err(failed)?;
    let packed = new.file().try_clone().map_err(|e| Error::io("write", &dir_path, e))?;
    Ok((packed, hasher.finish()))
}

/// Adds a file, a folder or a link, which has the name `full` in the tar of the folder `root`.
fn add<W: Write>(
    tar: &mut Builder<W>,
    path: &Path,
    root: &str,
    full: &str,
    metadata: &Metadata,
) -> Result<()> {
    let failed = |e| compress::error("pack", path, e);
    let kind = metadata.file_type();
    let mut header = Header::new_gnu();
    header.set_mtime(TIME);
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(0);
    if kind.is_dir() {
        header.set_entry_type(EntryType::Directory);
        header.set_mode(0o755);
        return tar.append_data(&mut header, format!("{full}/"), io::empty()).map_err(failed);
    }
    if kind.is_symlink() {
        let target = std::fs::read_link(path).map_err(failed)?;
        if !stays(root, full, &target) {
            let what =
                format!("{} leads out of the folder, to {}", path.display(), target.display());
            return Err(Error::usage(what)
                .with_hint("whoever unpacks it would refuse that; put the file there instead"));
        }
        header.set_entry_type(EntryType::Symlink);
        header.set_mode(0o777);
        return tar.append_link(&mut header, full, &target).map_err(failed);
    }
    if !kind.is_file() {
        return Err(Error::usage(format!(
            "{} is neither a file nor a folder nor a link",
            path.display()
        ))
        .with_hint("leave pipes, sockets and devices out of the folder"));
    }
    let (input, opened) = file::open_regular(path)?;
    let state = State::of(&opened);
    header.set_entry_type(EntryType::Regular);
    header.set_mode(if opened.permissions().mode() & 0o100 != 0 { 0o755 } else { 0o644 });
    header.set_size(opened.len());
    let mut content = (&input).take(opened.len());
    tar.append_data(&mut header, full, &mut content).map_err(failed)?;
    let now = input.metadata().map_err(|e| Error::io("read", path, e))?;
    // One that has become shorter would shift all that follows.
    match content.limit() == 0 && State::of(&now) == state {
        true => Ok(()),
        false => Err(file::changed(path)),
    }
}

/// Whether a link of that name leads to something in the folder `root`, as its words say.
fn stays(root: &str, full: &str, target: &Path) -> bool {
    let depth = |path: &str| path.split('/').count();
    // How far below the folder it is; the link itself is not.
    let mut below = depth(full) - depth(root) - 1;
    for part in target.components() {
        match part {
            Component::Normal(_) => below += 1,
            Component::CurDir => {}
            Component::ParentDir if below > 0 => below -= 1,
            _ => return false,
        }
    }
    true
}

/// What is written, hashed on its way.
struct Hashed<W> {
    out: W,
    hasher: Hasher,
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.out.write(bytes)?;
        self.hasher.update(&bytes[..n]);
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// What is in the file, after what became of the tar.
    fn packed(path: &Path) -> (Digest, Vec<u8>) {
        use std::io::{Seek, SeekFrom};
        let (mut file, digest) = pack(path, "in/conf").unwrap();
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(0)).unwrap();
        file.read_to_end(&mut bytes).unwrap();
        (digest, bytes)
    }

    #[test]
    fn the_same_files_are_the_same_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let make = |name: &str, order: [&str; 3], mode: u32| {
            let root = dir.path().join(name);
            for file in order {
                let path = root.join(file);
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(&path, file).unwrap();
                std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
            }
            symlink("../b", root.join("a/link")).unwrap();
            packed(&root)
        };
        let one = make("one", ["b", "a/c", "a.txt"], 0o640);
        assert_eq!(one, make("two", ["a.txt", "a/c", "b"], 0o604));
        assert_ne!(one.0, make("three", ["a.txt", "a/c", "b"], 0o744).0);
        let mut tar = Vec::new();
        flate2::read::MultiGzDecoder::new(&one.1[..]).read_to_end(&mut tar).unwrap();
        assert_eq!(Digest::of(&tar), one.0);
        let names: Vec<_> = tar::Archive::new(&tar[..])
            .entries()
            .unwrap()
            .map(|entry| entry.unwrap().path().unwrap().display().to_string())
            .collect();
        let parts = ["/", "/a/", "/a/c", "/a/link", "/a.txt", "/b"];
        assert_eq!(names, parts.map(|part| format!("in/conf{part}")));
    }

    #[test]
    fn links_stay_in_the_folder() {
        for (full, target, expected) in [
            ("in/conf/a", "b", true),
            ("in/conf/a", "./b/../c", true),
            ("in/conf/d/a", "../b", true),
            ("in/conf/a", "../b", false),
            ("in/conf/a", "../conf/b", false),
            ("in/conf/d/a", "../../b", false),
            ("in/conf/a", "/etc/passwd", false),
            ("in/conf/a", "b/../../../c", false),
        ] {
            assert_eq!(stays("in/conf", full, target.as_ref()), expected, "{full} {target}");
        }
    }
}

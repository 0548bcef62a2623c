//! An archive in parts, for media that are smaller than it: `NAME.000`, `NAME.001` and so on, which
//! one behind the other are the archive, and `NAME.parts`, which lists their checksums as sha256sum
//! writes them.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use crate::digest::{Algorithm, BLOCK, Digest, Hasher};
use crate::file::{self, NewFile, Pieces};
use crate::{Error, Kind, Result, durable};

/// The fewest bytes that a part may have.
const MIN_PART: u64 = 64 << 10;
/// How many parts there may be: all are open at once.
const MAX_PARTS: usize = 500;
/// The largest list of them.
const MAX_LIST: u64 = 1 << 20;
/// The ending of the list's name.
const LIST: &str = ".parts";

/// The parts of an archive, as their list has them.
#[derive(Debug)]
pub(super) struct Parts {
    /// The archive's path, at which there is nothing.
    pub(super) whole: PathBuf,
    parts: Vec<(PathBuf, Digest)>,
}

impl Parts {
    /// What a path leads to: a part of an archive, or a folder with the list of one. `None` where it
    /// is neither.
    pub(super) fn find(path: &Path) -> Result<Option<Self>> {
        let whole = match path.is_dir() {
            true => match whole_in(path)? {
                Some(whole) => whole,
                None => return Ok(None),
            },
            false => match path.extension() {
                Some(number) if is_number(number) => path.with_extension(""),
                _ => return Ok(None),
            },
        };
        let list = with_ending(&whole, LIST);
        let bytes = match file::read_small(&list, MAX_LIST) {
            // Any file may be called so.
            Err(Error::Io { source, .. }) if source.kind() == ErrorKind::NotFound => {
                return match with_ending(&whole, ".001").exists() {
                    false => Ok(None),
                    true => Err(Error::not_found(format!(
                        "{} lists the parts of {}, and is not there",
                        list.display(),
                        whole.display()
                    ))
                    .with_hint("copy it into the folder of the parts; cat puts them together")),
                };
            }
            read => read?,
        };
        let bad = || {
            Error::invalid(format!("{} is no list of the parts of an archive", list.display()))
                .with_hint("get it again from whoever made the archive")
        };
        let text = std::str::from_utf8(&bytes).map_err(|_| bad())?;
        let mut parts = Vec::new();
        for (n, line) in text.lines().enumerate() {
            let (hex, name) = line.split_once("  ").ok_or_else(bad)?;
            let path = part(&whole, n);
            if path.file_name() != Some(OsStr::new(name)) || n == MAX_PARTS {
                return Err(bad());
            }
            let digest = Digest::from_parts(Algorithm::Sha256, hex).map_err(|_| bad())?;
            parts.push((path, digest));
        }
        if parts.is_empty() {
            return Err(bad());
        }
        Ok(Some(Parts { whole, parts }))
    }

    /// Opens all of them as one.
    pub(super) fn open(&self) -> Result<Pieces> {
        let mut files: Vec<(File, u64)> = Vec::new();
        for (path, _) in &self.parts {
            let (file, metadata) = file::open_regular(path).map_err(|e| match &e {
                Error::Io { source, .. } if source.kind() == ErrorKind::NotFound => {
                    Error::not_found(format!(
                        "{}, one of the {} parts of {}, is not there",
                        path.display(),
                        self.parts.len(),
                        self.whole.display()
                    ))
                    .with_hint("copy all parts into one folder")
                }
                _ => e,
            })?;
            files.push((file, metadata.len()));
        }
        // All are as large as the first, but for the last, which has the rest.
        let size = files[0].1;
        let (_, last) = files[files.len() - 1];
        let wrong = files[..files.len() - 1].iter().position(|(_, other)| *other != size);
        match wrong.or((last > size || last == 0).then_some(files.len() - 1)) {
            Some(n) => Err(wrong_part(&self.parts[n].0)),
            None => Ok(Pieces::new(files)),
        }
    }

    /// Where a part is not what the list says, the error that tells which; else the one that there
    /// was.
    pub(super) fn explain(&self, error: Error) -> Error {
        if !matches!(error.kind(), Kind::Verification | Kind::NotFound | Kind::Usage) {
            return error;
        }
        let is_wrong = |(path, digest): &&(PathBuf, Digest)| {
            digest_of(path).is_ok_and(|found| found != *digest)
        };
        match self.parts.iter().find(is_wrong) {
            Some((path, _)) => wrong_part(path),
            None => error,
        }
    }
}

fn wrong_part(path: &Path) -> Error {
    Error::invalid(format!("{} is not the part that was written under that name", path.display()))
        .with_hint("copy that part again; each has its own number, and the list is of these parts")
}

fn digest_of(path: &Path) -> Result<Digest> {
    let failed = |e| Error::io("read", path, e);
    let (mut file, mut hasher) = (file::open_regular(path)?.0, Hasher::new(Algorithm::Sha256));
    let mut block = vec![0; BLOCK];
    loop {
        match file.read(&mut block).map_err(failed)? {
            0 => return Ok(hasher.finish()),
            read => hasher.update(&block[..read]),
        }
    }
}

/// The archive whose list lies in a folder, where it is the only one.
fn whole_in(folder: &Path) -> Result<Option<PathBuf>> {
    let names = file::names(&file::open_dir(folder)?, folder)?;
    let mut lists = names.iter().filter_map(|name| name.to_str()?.strip_suffix(LIST));
    match (lists.next(), lists.next()) {
        (Some(name), None) if !name.is_empty() => Ok(Some(folder.join(name))),
        (Some(one), Some(other)) => {
            Err(Error::usage(format!("{} has the parts of {one} and of {other}", folder.display()))
                .with_hint("name the first part of the one that is meant"))
        }
        _ => Ok(None),
    }
}

fn is_number(ending: &OsStr) -> bool {
    let bytes = ending.as_encoded_bytes();
    bytes.len() == 3 && bytes.iter().all(u8::is_ascii_digit)
}

fn with_ending(whole: &Path, ending: &str) -> PathBuf {
    let mut name = whole.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

fn part(whole: &Path, number: usize) -> PathBuf {
    with_ending(whole, &format!(".{number:03}"))
}

/// Whether parts can have that size in bytes.
///
/// # Errors
/// [`Error::Usage`] where it is too small.
pub(super) fn check_size(size: u64) -> Result<()> {
    match size >= MIN_PART {
        true => Ok(()),
        false => Err(Error::usage(format!("a part of {size} bytes is too small"))
            .with_hint(format!("give parts of {} KiB at least", MIN_PART / 1024))),
    }
}

/// What is written goes into parts, none of which has its name before all are whole.
pub(super) struct Splitter<'a> {
    dir: &'a File,
    dir_path: &'a Path,
    /// The size of a part in bytes.
    size: u64,
    parts: Vec<NewFile<'a>>,
    digests: Vec<Digest>,
    hasher: Hasher,
    /// How much goes into the last part.
    left: u64,
}

impl<'a> Splitter<'a> {
    /// Parts in that folder, of that size in bytes.
    pub(super) fn new(dir: &'a File, dir_path: &'a Path, size: u64) -> Self {
        let hasher = Hasher::new(Algorithm::Sha256);
        Splitter { dir, dir_path, size, parts: Vec::new(), digests: Vec::new(), hasher, left: 0 }
    }

    /// Gives the parts their names, and the list its own as the last. Gives the size of all in bytes.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(super) fn commit(mut self, whole: &Path) -> Result<u64> {
        self.end_part();
        let all = self.size * (self.parts.len() as u64).saturating_sub(1) + (self.size - self.left);
        // Until the new list is there, none is: the old one would be of other parts.
        let list = with_ending(whole, LIST);
        let before = Parts::find(&part(whole, 0)).ok().flatten();
        match std::fs::remove_file(&list) {
            Err(e) if e.kind() != ErrorKind::NotFound => return Err(Error::io("remove", list, e)),
            _ => {}
        }
        let mut text = String::new();
        for (n, (new, digest)) in self.parts.into_iter().zip(&self.digests).enumerate() {
            let path = part(whole, n);
            let (_, name) = file::split(&path)?;
            text += &format!("{}  {}\n", digest.hex(), Path::new(name).display());
            new.commit(name)?;
        }
        // What the old list had beyond would be taken for a part of the new ones.
        for (path, _) in
            before.iter().flat_map(|before| before.parts.iter().skip(self.digests.len()))
        {
            std::fs::remove_file(path).map_err(|e| Error::io("remove", path, e))?;
        }
        durable::write(&list, text.as_bytes())?;
        Ok(all)
    }

    fn end_part(&mut self) {
        if self.digests.len() < self.parts.len() {
            let hasher = std::mem::replace(&mut self.hasher, Hasher::new(Algorithm::Sha256));
            self.digests.push(hasher.finish());
        }
    }
}

impl Write for Splitter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.left == 0 {
            self.end_part();
            if self.parts.len() == MAX_PARTS {
                return Err(io::Error::other(
                    Error::usage(format!(
                        "the archive has more than {MAX_PARTS} parts of that size"
                    ))
                    .with_hint("make the parts larger"),
                ));
            }
            let new = NewFile::create(self.dir, self.dir_path, 0o666).map_err(io::Error::other)?;
            self.parts.push(new);
            self.left = self.size;
        }
        let most = bytes.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let last = self.parts.last().expect("one was made");
        let written = last.file().write(&bytes[..most])?;
        self.hasher.update(&bytes[..written]);
        self.left -= written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

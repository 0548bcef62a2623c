//! Writing an archive: the front first, then the layers, straight from their source.

use std::fmt;
use std::io::{self, BufWriter, Read, Write};
use std::path::Path;

use tar::{Builder, EntryType, Header};

use super::parts::{self, Splitter};
use super::short::Names;
use super::update::Locked;
use crate::compress::{Settings, Writer};
use crate::content::{self, Source};
use crate::digest::BLOCK;
use crate::error::Advice;
use crate::file::{self, NewFile};
use crate::graph::{Graph, Node};
use crate::layout::{BLOBS, INDEX_FILE};
use crate::oci::{Descriptor, Index, LayoutFile};
use crate::progress::{Ended, Observer};
use crate::{Error, Result, compress, durable};

/// Members from this size on begin a block of their own; smaller ones would only make the archive
/// larger.
const OWN_BLOCK: u64 = 64 * 1024;

/// The time of every member. Not zero, since tar takes that for implausible and warns.
pub(super) const TIME: u64 = 1;

/// How an archive is written.
#[derive(Clone)]
pub struct Options<'a> {
    pub(super) top: Option<String>,
    names: Names,
    split: Option<u64>,
    pub(super) settings: Settings,
    pub(super) observer: Option<&'a dyn Observer>,
}

impl<'a> Options<'a> {
    /// With a format, a level and threads, and without a top folder, as skopeo and oras read it.
    pub fn new(settings: Settings) -> Self {
        Options { top: None, names: Names::default(), split: None, settings, observer: None }
    }

    /// Who is told what becomes of the pieces, as in a transfer.
    #[must_use]
    pub fn observer(mut self, observer: &'a dyn Observer) -> Self {
        self.observer = Some(observer);
        self
    }

    /// A new archive is written in parts of at most so many bytes, `NAME.000`, `NAME.001` and so on,
    /// with a list of them in `NAME.parts`; where it is `None`, whole.
    #[must_use]
    pub fn split(mut self, bytes: Option<u64>) -> Self {
        self.split = bytes;
        self
    }

    /// What images are called in a new archive.
    #[must_use]
    pub fn names(mut self, names: Names) -> Self {
        self.names = names;
        self
    }

    /// The name of the top folder.
    #[must_use]
    pub fn top(mut self, name: impl Into<String>) -> Self {
        self.top = Some(name.into());
        self
    }
}

impl fmt::Debug for Options<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Options { top, names, split, settings, .. } = self;
        f.debug_struct("Options")
            .field("top", top)
            .field("names", names)
            .field("split", split)
            .field("settings", settings)
            .finish_non_exhaustive()
    }
}

/// A piece that is to be written, and what the observer is told of it.
pub(super) struct Piece<'n> {
    pub node: &'n Node,
    /// How it came here; `None` for what was here before and is no part of the transfer.
    pub told: Option<Ended>,
}

/// Writes everything in `graph` to an archive; what the path held before is replaced when the whole
/// archive is on the disk. Gives its size in bytes.
///
/// # Errors
/// What the source gives, also where content is not what its descriptor says; [`Error::Io`] for the
/// archive. Then nothing has changed at the path.
pub fn write(
    path: &Path,
    source: &dyn Source,
    graph: &Graph,
    options: &Options<'_>,
) -> Result<u64> {
    if let Some(top) = &options.top {
        check_top(top)?;
    }
    durable::check_writable(path)?;
    let path = &file::behind_links(path)?;
    let (dir_path, name) = file::split(path)?;
    let dir = file::open_dir(dir_path)?;
    let index = Index::over(options.names.of(graph.entries()));
    let new_piece = |node| Piece { node, told: Some(Ended::Copied) };
    let pieces = graph.nodes().iter().map(new_piece).collect();
    if let Some(size) = options.split {
        parts::check_size(size)?;
        let mut parts = Splitter::new(&dir, dir_path, size);
        fill(&mut parts, path, source, &index, pieces, options)?;
        return parts.commit(path);
    }
    let new = NewFile::create(&dir, dir_path, 0o666)?;
    fill(new.file(), path, source, &index, pieces, options)?;
    let size = new.file().metadata().map_err(|e| Error::io("write", path, e))?.len();
    // Whoever adds to what is there does that first, and it is replaced with all that was added.
    let _there = Locked::new(path)?;
    new.commit(name)?;
    Ok(size)
}

/// Writes the members, in their order, and finishes the compressed file.
pub(super) fn fill(
    out: impl Write,
    path: &Path,
    source: &dyn Source,
    index: &Index,
    mut pieces: Vec<Piece<'_>>,
    options: &Options<'_>,
) -> Result<()> {
    let failed = |e| compress::error("write", path, e);
    let writer = Writer::new(BufWriter::with_capacity(BLOCK, out), &options.settings)?;
    let mut members = Members { tar: Builder::new(writer), top: options.top.as_deref(), path };

    let index = index.to_layout_bytes()?;
    pieces.sort_by_key(|piece| {
        let descriptor = piece.node.descriptor();
        (piece.node.manifest().is_none(), descriptor.size, &descriptor.digest)
    });
    let mut folders = vec!["".to_owned(), BLOBS.to_owned()];
    folders.extend(
        pieces
            .iter()
            .map(|piece| format!("{BLOBS}/{}", piece.node.descriptor().digest.algorithm().name())),
    );
    folders.dedup();
    folders[2..].sort();
    folders.dedup();
    members.add_folder(&folders[0])?;
    members.add(
        LayoutFile::NAME,
        LayoutFile::CONTENT.len() as u64,
        0o644,
        &mut LayoutFile::CONTENT.as_bytes(),
    )?;
    members.add(INDEX_FILE, index.len() as u64, 0o644, &mut index.as_slice())?;
    folders[1..].iter().try_for_each(|folder| members.add_folder(folder))?;
    for Piece { node, told } in pieces {
        let piece = node.descriptor();
        let (digest, size) = (&piece.digest, piece.size);
        let name = format!("{BLOBS}/{}/{}", digest.algorithm().name(), digest.hex());
        let observer = options.observer.zip(told);
        observer.inspect(|(observer, _)| observer.started(piece));
        match node.manifest() {
            Some(manifest) => members.add(&name, size, 0o444, &mut manifest.bytes())?,
            None => {
                let mut content = content::verified(source, piece)?;
                let observer = observer.filter(|(_, how)| *how == Ended::Copied);
                match observer.map(|(observer, _)| observer) {
                    None => members.add(&name, size, 0o444, &mut content)?,
                    Some(observer) => {
                        let mut content = Observed { content, observer, piece };
                        members.add(&name, size, 0o444, &mut content)?;
                    }
                }
            }
        }
        observer.inspect(|(observer, how)| observer.ended(piece, *how));
    }
    let writer = members.tar.into_inner().map_err(failed)?;
    writer
        .finish()
        .and_then(|buffer| buffer.into_inner().map_err(std::io::IntoInnerError::into_error))
        .map_err(failed)?;
    Ok(())
}

/// Content whose reading is told.
struct Observed<'a, R> {
    content: R,
    observer: &'a dyn Observer,
    piece: &'a Descriptor,
}

impl<R: Read> Read for Observed<'_, R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.content.read(buf)?;
        self.observer.advanced(self.piece, n as u64);
        Ok(n)
    }
}

/// A top folder's name is one plain part of a path, and not one that a layout has itself.
pub(super) fn check_top(top: &str) -> Result<()> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    let reserved = [BLOBS, INDEX_FILE, LayoutFile::NAME, "ingest"].contains(&top);
    if top.is_empty()
        || top.len() > 64
        || top.starts_with('.')
        || reserved
        || !top.bytes().all(plain)
    {
        return Err(Error::usage(format!("{top:?} cannot be the top folder of an archive"))
            .with_advice(Advice::NoTopFolder {
                why: "up to 64 letters, digits, '.', '_' and '-' make one",
            }));
    }
    Ok(())
}

struct Members<'a, W: Write> {
    tar: Builder<Writer<BufWriter<W>>>,
    top: Option<&'a str>,
    path: &'a Path,
}

impl<W: Write> Members<'_, W> {
    fn add_folder(&mut self, name: &str) -> Result<()> {
        let full = self.full_name(name);
        if full.is_empty() {
            return Ok(());
        }
        self.append(EntryType::Directory, &format!("{full}/"), 0, 0o755, &mut std::io::empty())
    }

    fn add(&mut self, name: &str, size: u64, mode: u32, content: &mut dyn Read) -> Result<()> {
        let full = self.full_name(name);
        if size >= OWN_BLOCK {
            self.tar.get_mut().cut().map_err(|e| compress::error("write", self.path, e))?;
        }
        self.append(EntryType::Regular, &full, size, mode, content)
    }

    fn full_name(&self, name: &str) -> String {
        match (self.top, name) {
            (Some(top), "") => top.to_owned(),
            (Some(top), name) => format!("{top}/{name}"),
            (None, name) => name.to_owned(),
        }
    }

    fn append(
        &mut self,
        kind: EntryType,
        name: &str,
        size: u64,
        mode: u32,
        content: &mut dyn Read,
    ) -> Result<()> {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(size);
        header.set_mode(mode);
        header.set_mtime(TIME);
        header.set_uid(0);
        header.set_gid(0);
        self.tar
            .append_data(&mut header, name, content)
            .map_err(|e| compress::error("write", self.path, e))
    }
}

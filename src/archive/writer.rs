//! Writing an archive: the front first, then the layers, straight from their source.

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use tar::{Builder, EntryType, Header};

use super::parts::{self, Splitter};
use super::short::Names;
use super::unfinished::{Earlier, GoneOn, Sink};
use super::update::Locked;
use crate::arrival::{comes_from_afar, is_worth_keeping, may_be_of_what_was_there};
use crate::compress::{Settings, Writer};
use crate::content::{self, Source};
use crate::digest::{BLOCK, Digest, Verifying};
use crate::error::Advice;
use crate::file::{self, NewFile, Partial};
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
    goes_on: bool,
    pub(super) settings: Settings,
    pub(super) observer: Option<&'a dyn Observer>,
}

impl<'a> Options<'a> {
    /// With a format, a level and threads, and without a top folder, as skopeo and oras read it.
    pub fn new(settings: Settings) -> Self {
        Options {
            top: None,
            names: Names::default(),
            split: None,
            goes_on: false,
            settings,
            observer: None,
        }
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

    /// A new archive that is not in parts is written where another run goes on with it when this
    /// one is cut off, if content comes from afar.
    #[must_use]
    pub(crate) fn goes_on(mut self) -> Self {
        self.goes_on = true;
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
    let pieces = || graph.nodes().iter().map(new_piece).collect();
    if let Some(size) = options.split {
        parts::check_size(size)?;
        let mut parts = Splitter::new(&dir, dir_path, size);
        fill(&mut parts, None, path, source, &index, pieces(), options)?;
        return parts.commit(path);
    }
    let fill = |file: &File, there| {
        let earlier = match there {
            0 => None,
            there => Some(Earlier::new(file, there, options.settings.format(), path)?),
        };
        let mut sink = Sink::new(file, there);
        fill(&mut sink, earlier, path, source, &index, pieces(), options)?;
        sink.end().map_err(|e| Error::io("write", path, e))
    };
    let mut partial = None;
    if options.goes_on && has_what_comes_from_afar(source, graph)? {
        let plan = plan(&index, graph, options)?;
        partial = Partial::for_name(&dir, dir_path, name, &plan);
    }
    let new = loop {
        let Some(found) = partial else {
            let new = NewFile::create(&dir, dir_path, 0o666)?;
            fill(new.file(), 0)?;
            break new;
        };
        if found.there() > 0 {
            log::info!("{} goes on with what an earlier run has left of it", path.display());
        }
        match fill(found.file(), found.there()) {
            Ok(()) => break found.whole(0o666)?,
            Err(e) if found.there() > 0 && may_be_of_what_was_there(&e) => {
                log::warn!(
                    "what an earlier run left of {} is of no use, and it begins anew: {e}",
                    path.display()
                );
                partial = found.anew();
            }
            Err(e) => {
                if is_worth_keeping(&e) {
                    found.keep();
                }
                return Err(e);
            }
        }
    };
    let size = new.file().metadata().map_err(|e| Error::io("write", path, e))?.len();
    // Whoever adds to what is there does that first, and it is replaced with all that was added.
    let _there = Locked::new(path)?;
    new.commit(name)?;
    Ok(size)
}

fn has_what_comes_from_afar(source: &dyn Source, graph: &Graph) -> Result<bool> {
    for node in graph.nodes().iter().filter(|node| node.manifest().is_none()) {
        if comes_from_afar(source, node.descriptor())? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The digest of all that an archive's bytes follow from.
fn plan(index: &Index, graph: &Graph, options: &Options<'_>) -> Result<Digest> {
    let settings = &options.settings;
    let mut text = format!(
        "{} {:?} {} {:?}\n",
        env!("CARGO_PKG_VERSION"),
        settings.format(),
        settings.level_used(),
        options.top
    );
    let mut blobs: Vec<_> = graph.nodes().iter().map(|node| &node.descriptor().digest).collect();
    blobs.sort();
    blobs.iter().for_each(|digest| text += &format!("{digest}\n"));
    let mut bytes = text.into_bytes();
    bytes.extend(index.to_layout_bytes()?);
    Ok(Digest::of(&bytes))
}

/// Writes the members, in their order, and finishes the compressed file. What an earlier run has
/// left of content is taken from there.
pub(super) fn fill(
    out: &mut (dyn Write + Send),
    earlier: Option<Earlier>,
    path: &Path,
    source: &dyn Source,
    index: &Index,
    pieces: Vec<Piece<'_>>,
    options: &Options<'_>,
) -> Result<()> {
    let failed = |e| compress::error("write", path, e);
    file::behind(out, failed, |out| {
        let plain = Plain { writer: Writer::new(out, &options.settings)?, at: 0 };
        let tar = Builder::new(plain);
        let block = vec![0; BLOCK];
        let mut members = Members { tar, top: options.top.as_deref(), path, block };
        add_all(&mut members, earlier, source, index, pieces, options)?;
        let plain = members.tar.into_inner().map_err(failed)?;
        plain.writer.finish().map(drop).map_err(failed)
    })
}

fn add_all<W: Write>(
    members: &mut Members<'_, W>,
    mut earlier: Option<Earlier>,
    source: &dyn Source,
    index: &Index,
    mut pieces: Vec<Piece<'_>>,
    options: &Options<'_>,
) -> Result<()> {
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
                members.begin(&name, size, 0o444)?;
                let content: Box<dyn Read> = match &mut earlier {
                    None => Box::new(content::verified(source, piece)?),
                    Some(earlier) => {
                        let content = GoneOn::new(earlier, members.at(), source, piece);
                        Box::new(Verifying::new(content, digest, size, source.origin()))
                    }
                };
                let observer = observer.filter(|(_, how)| *how == Ended::Copied);
                let mut content = match observer.map(|(observer, _)| observer) {
                    None => content,
                    Some(observer) => Box::new(Observed { content, observer, piece }),
                };
                members.fill(size, &mut content)?;
            }
        }
        observer.inspect(|(observer, how)| observer.ended(piece, *how));
    }
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

/// The tar file before it is compressed.
struct Plain<W: Write> {
    writer: Writer<W>,
    /// How many bytes of it are written.
    at: u64,
}

impl<W: Write> Write for Plain<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.writer.write(bytes)?;
        self.at += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

struct Members<'a, W: Write> {
    tar: Builder<Plain<W>>,
    top: Option<&'a str>,
    path: &'a Path,
    /// What content is read into.
    block: Vec<u8>,
}

impl<W: Write> Members<'_, W> {
    fn add_folder(&mut self, name: &str) -> Result<()> {
        let full = self.full_name(name);
        if full.is_empty() {
            return Ok(());
        }
        self.header(EntryType::Directory, &format!("{full}/"), 0, 0o755)
    }

    fn add(&mut self, name: &str, size: u64, mode: u32, content: &mut dyn Read) -> Result<()> {
        self.begin(name, size, mode)?;
        self.fill(size, content)
    }

    /// Begins a file, whose content comes next.
    fn begin(&mut self, name: &str, size: u64, mode: u32) -> Result<()> {
        let full = self.full_name(name);
        if size >= OWN_BLOCK {
            self.tar.get_mut().writer.cut().map_err(|e| self.failed(e))?;
        }
        self.header(EntryType::Regular, &full, size, mode)
    }

    /// Where in the uncompressed archive the next byte lies.
    fn at(&mut self) -> u64 {
        self.tar.get_mut().at
    }

    /// Writes a file's content, in larger pieces than the builder would, and what fills its last
    /// block.
    fn fill(&mut self, size: u64, content: &mut dyn Read) -> Result<()> {
        const TAR_BLOCK: usize = 512;
        let mut left = size;
        loop {
            let read = file::read_full(content, &mut self.block).map_err(|e| self.failed(e))?;
            left = left.checked_sub(read as u64).ok_or_else(|| self.other_size())?;
            let block = &self.block[..read];
            self.tar.get_mut().write_all(block).map_err(|e| self.failed(e))?;
            if read < self.block.len() {
                break;
            }
        }
        if left > 0 {
            return Err(self.other_size());
        }
        let padding = size.next_multiple_of(TAR_BLOCK as u64) - size;
        let zeros = &[0; TAR_BLOCK][..padding as usize];
        self.tar.get_mut().write_all(zeros).map_err(|e| self.failed(e))
    }

    fn full_name(&self, name: &str) -> String {
        match (self.top, name) {
            (Some(top), "") => top.to_owned(),
            (Some(top), name) => format!("{top}/{name}"),
            (None, name) => name.to_owned(),
        }
    }

    fn header(&mut self, kind: EntryType, name: &str, size: u64, mode: u32) -> Result<()> {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(size);
        header.set_mode(mode);
        header.set_mtime(TIME);
        header.set_uid(0);
        header.set_gid(0);
        self.tar.append_data(&mut header, name, io::empty()).map_err(|e| self.failed(e))
    }

    fn failed(&self, e: io::Error) -> Error {
        compress::error("write", self.path, e)
    }

    fn other_size(&self) -> Error {
        self.failed(io::Error::other("content is not as long as was said"))
    }
}

//! The first pass over an archive: what its members are, and where they lie.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use super::members::{Kind, Member, Members};
use super::{Part, classify};
use crate::compress::{self, Reader};
use crate::digest::Digest;
use crate::layout::INDEX_FILE;
use crate::oci::{Index, LayoutFile, MAX_CONFIG, MAX_MANIFEST, MAX_STORE_INDEX};
use crate::{Error, Result, json};

/// How many members an archive may have; no more content than this is copied at once.
const MAX_MEMBERS: usize = 250_000;
/// How many of them may be none of the layout's.
const MAX_OTHERS: usize = 10_000;
/// How much small content is kept in all.
const MAX_KEPT: usize = 64 << 20;

/// What the pass has found.
pub(super) struct Found {
    pub(super) top: Option<String>,
    pub(super) index: Index,
    /// Where each blob's content begins in the decompressed archive, and its size.
    pub(super) blobs: HashMap<Digest, (u64, u64)>,
    pub(super) kept: Kept,
    /// Where the tar file ends.
    pub(super) end: u64,
}

/// Goes over all members; gives the reader back.
///
/// # Errors
/// As [`Archive::open`](super::Archive::open).
pub(super) fn scan(reader: Reader, path: &Path) -> Result<(Found, Reader)> {
    let shown = path.display().to_string();
    let failed = |e| compress::error("read", path, e);
    let mut scan = Scan {
        shown: &shown,
        keeps: !reader.is_seekable(),
        top: None,
        layout: None,
        index: None,
        index_end: 0,
        blobs: HashMap::new(),
        kept: Kept::default(),
        others: Vec::new(),
        link: None,
    };
    let mut members = Members::new(reader, &shown);
    let mut count = 0;
    while let Some(member) = members.next()? {
        count += 1;
        if count > MAX_MEMBERS {
            return Err(scan.bad(format!("it has more than {MAX_MEMBERS} members")));
        }
        scan.take(member, &mut members)?;
    }
    let end = members.end();
    let mut reader = members.into_reader();
    // Blobs have digests; all that vouches for the index is the checksum behind what it was
    // compressed with. Where the blocks do not vouch for their table, or there is none, all of the
    // file is decoded, to its last byte.
    match reader.is_seekable() {
        true => reader.check_block(scan.index_end.saturating_sub(1)).map_err(failed)?,
        false => reader.check_rest().map_err(failed)?,
    }
    // Seeking goes over the end of a file without a word.
    if let Some(len) = reader.len()
        && end > len
    {
        return Err(Error::invalid(format!(
            "{shown} is cut short: its last member goes beyond its end"
        ))
        .with_hint("get it again"));
    }
    scan.finish(end).map(|found| (found, reader))
}

struct Scan<'a> {
    shown: &'a str,
    /// Whether small content is kept.
    keeps: bool,
    /// The top folder of what belongs to the layout.
    top: Option<Option<String>>,
    layout: Option<Vec<u8>>,
    index: Option<Vec<u8>>,
    index_end: u64,
    blobs: HashMap<Digest, (u64, u64)>,
    kept: Kept,
    /// The files that are none of the layout's.
    others: Vec<String>,
    /// Why the archive is refused if it is not one of docker's, which have links.
    link: Option<Error>,
}

impl Scan<'_> {
    fn bad(&self, why: String) -> Error {
        Error::invalid(format!("{} is not an archive of an OCI layout: {why}", self.shown))
            .with_hint("check that it is the right file; an export makes one, and tar on a layout's folder")
    }

    fn take(&mut self, member: Member, members: &mut Members) -> Result<()> {
        let name = &member.name;
        let is_folder = match member.kind {
            Kind::Folder => true,
            Kind::File => false,
            Kind::Sparse => {
                return Err(self.bad(format!(
                    "{name:?} was packed as a sparse file; pack it without tar's --sparse"
                )));
            }
            Kind::Other => {
                let why = format!("{name:?} is neither a folder nor a regular file");
                self.link.get_or_insert(self.bad(why));
                return Ok(());
            }
        };
        let (top, part) = classify(name, is_folder)
            .ok_or_else(|| self.bad(format!("{name:?} has no place in one")))?;
        if part == Part::Other {
            if !is_folder {
                if self.others.len() == MAX_OTHERS {
                    return Err(
                        self.bad(format!("more than {MAX_OTHERS} files in it are none of its own"))
                    );
                }
                self.others.push(name.strip_prefix("./").unwrap_or(name).to_owned());
            }
            return Ok(());
        }
        let first = self.top.get_or_insert_with(|| top.map(str::to_owned));
        if first.as_deref() != top {
            return Err(self.bad(format!("{name:?} lies outside of its top folder")));
        }
        let twice = match part {
            Part::Folder | Part::Other => false,
            Part::Layout => self.layout.replace(self.read(&member, MAX_CONFIG, members)?).is_some(),
            Part::Index => {
                self.index_end = member.offset + member.size;
                self.index.replace(self.read(&member, MAX_STORE_INDEX, members)?).is_some()
            }
            Part::Blob(digest) => {
                if self.keeps && member.size <= MAX_MANIFEST {
                    self.kept.add(digest.clone(), self.read(&member, MAX_MANIFEST, members)?);
                }
                self.blobs.insert(digest, (member.offset, member.size)).is_some()
            }
        };
        match twice {
            true => Err(self.bad(format!("{name:?} is in it twice"))),
            false => Ok(()),
        }
    }

    fn read(&self, member: &Member, limit: u64, members: &mut Members) -> Result<Vec<u8>> {
        if member.size > limit {
            let (name, size) = (&member.name, member.size);
            return Err(self.bad(format!("{name:?} has {size} bytes; at most {limit} are read")));
        }
        members.read(member)
    }

    fn finish(self, end: u64) -> Result<Found> {
        let shown = self.shown;
        let has = |name: &str| self.others.iter().any(|other| other == name);
        let docker = || {
            Error::invalid(format!("{shown} is an archive of docker, not of an OCI layout"))
                .with_hint(format!(
                    "`skopeo copy docker-archive:{shown} oci-archive:NEW.oci.tar` makes one of it"
                ))
        };
        let layout = match (&self.layout, &self.link) {
            (None, _) if has("manifest.json") => return Err(docker()),
            (_, Some(_)) => return Err(self.link.expect("it was there")),
            (Some(layout), None) => layout,
            (None, None) => {
                return Err(self.bad(format!("it has no file {}", LayoutFile::NAME)));
            }
        };
        let top = self.top.as_ref().and_then(Option::as_deref);
        if let Some(top) = top.filter(|top| has(top)) {
            return Err(self.bad(format!("{top:?} is its top folder and a file")));
        }
        let origin = format!("the archive {shown}");
        LayoutFile::check(layout, &origin)?;
        let index =
            self.index.as_ref().ok_or_else(|| self.bad(format!("it has no file {INDEX_FILE}")))?;
        let index = json::from_slice::<Index>(index, format_args!("{INDEX_FILE} in {origin}"))?;
        if !self.others.is_empty() {
            const SHOWN: usize = 3;
            let names: Vec<_> =
                self.others.iter().take(SHOWN).map(|name| format!("{name:.64?}")).collect();
            let more = self.others.len().saturating_sub(SHOWN);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            log::warn!(
                "passed over in {shown}, since a layout has no such files: {}{more}",
                names.join(", ")
            );
        }
        Ok(Found { top: top.map(str::to_owned), index, blobs: self.blobs, kept: self.kept, end })
    }
}

/// Small content that is kept in memory, where going back to it would mean decoding everything
/// before it again.
#[derive(Default)]
pub(super) struct Kept {
    blobs: HashMap<Digest, Vec<u8>>,
    /// What is given up last comes first: manifests, indexes and configs, the smaller ones before
    /// the larger ones, and then everything else.
    order: BTreeMap<(bool, usize, usize), Digest>,
    added: usize,
    total: usize,
}

impl Kept {
    pub(super) fn get(&self, digest: &Digest) -> Option<&[u8]> {
        self.blobs.get(digest).map(Vec::as_slice)
    }

    /// Keeps content, and gives up other content where there is too much.
    fn add(&mut self, digest: Digest, bytes: Vec<u8>) {
        let json = bytes.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{');
        self.total += bytes.len();
        self.added += 1;
        self.order.insert((!json, bytes.len(), self.added), digest.clone());
        self.blobs.insert(digest, bytes);
        while self.total > MAX_KEPT
            && let Some((_, digest)) = self.order.pop_last()
        {
            self.total -= self.blobs.remove(&digest).map_or(0, |bytes| bytes.len());
        }
    }
}

//! Checking a layout or an archive: everything that is there, and everything that should be.

use std::collections::{BTreeMap, HashSet};
use std::io::Read;

use crate::content::{self, Inventory};
use crate::digest::{BLOCK, Digest};
use crate::graph::Visited;
use crate::oci::Descriptor;
use crate::{Error, Kind, Result};

/// How much the entries may reach, as much as one transfer may have.
const MAX_REACHED: usize = 200_000;
/// How many problems are told; the others are counted.
const MAX_PROBLEMS: usize = 1_000;

/// What a check found.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Report {
    /// How many images the entries name.
    pub images: usize,
    /// How many other manifests they name, which are attached to images.
    pub attached: usize,
    /// How many blobs were read and hashed.
    pub blobs: usize,
    /// How many bytes they have.
    pub bytes: u64,
    /// What is wrong, a sentence each; none where all is well.
    pub problems: Vec<String>,
    /// How many more things are wrong than `problems` tells.
    pub more_problems: usize,
    /// What the entries reach and is missing or damaged.
    pub damaged: Vec<Descriptor>,
    /// How many blobs are not here, and need not be.
    pub elsewhere: usize,
    /// How many blobs nothing reaches; no fault, `gc` frees them.
    pub unreached: usize,
    /// How many bytes those have.
    pub unreached_bytes: u64,
    /// How many blobs were not brought in whole; no fault, `gc` frees them once nobody works on them.
    pub unfinished: usize,
    /// How many bytes those have.
    pub unfinished_bytes: u64,
}

impl Report {
    /// Tells a problem, once: a damaged manifest is noticed when it is followed and when it is
    /// hashed.
    fn tell(&mut self, problem: String) {
        if self.problems.len() == MAX_PROBLEMS {
            self.more_problems += 1;
        } else if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }
}

/// Reads and hashes every blob, and checks that everything the entries reach is there with the
/// right size. With `only`, just what that entry reaches is read.
///
/// # Errors
/// Where the layout or the archive itself cannot be read; what is wrong in it is in the report.
pub fn verify(source: &dyn Inventory, only: Option<&Descriptor>) -> Result<Report> {
    verify_beside(source, only, &HashSet::new())
}

/// The same, where blobs may lie elsewhere: what is missing of these is counted, and no problem.
///
/// # Errors
/// As [`verify`].
pub fn verify_beside(
    source: &dyn Inventory,
    only: Option<&Descriptor>,
    elsewhere: &HashSet<Digest>,
) -> Result<Report> {
    // Whoever deletes an image in the meantime would make a sound one look damaged.
    let _hold = source.hold();
    let entries = only.map_or_else(|| source.entries(), |entry| Ok(vec![entry.clone()]))?;
    let attached = content::attached(source, &entries);
    let of_images = entries.iter().filter(|entry| content::is_image(entry, &attached));
    let images: HashSet<_> = of_images.map(|entry| &entry.digest).collect();
    let all: HashSet<_> = entries.iter().map(|entry| &entry.digest).collect();
    let attached = all.len() - images.len();
    let report = Report { images: images.len(), attached, ..Report::default() };
    let mut walk =
        Walk { source, visited: Visited::default(), reached: BTreeMap::new(), report, full: false };
    entries.iter().for_each(|entry| walk.reach(entry, 0));
    let Walk { mut reached, mut report, .. } = walk;
    let mut blobs = source.blobs()?;
    blobs.sort_by_key(|(digest, _)| source.sequence(digest));
    for (digest, size) in blobs {
        // What is left of what is reached at the end is missing.
        let wanted = reached.remove(&digest);
        if wanted.is_none() && only.is_some() {
            continue;
        }
        let descriptor = Descriptor::new("", digest, size);
        match hash(source, &descriptor) {
            Ok(()) => {
                report.blobs += 1;
                report.bytes += size;
            }
            Err(e) => {
                report.tell(e.to_string());
                report.damaged.extend(wanted.clone());
            }
        }
        match wanted.map(|wanted| wanted.size) {
            Some(wanted) if wanted != size => {
                let digest = &descriptor.digest;
                report.tell(format!("{digest} has {size} bytes, but its descriptor says {wanted}"));
            }
            None => {
                report.unreached += 1;
                report.unreached_bytes = report.unreached_bytes.saturating_add(size);
            }
            Some(_) => {}
        }
    }
    if only.is_none() {
        let unfinished = source.unfinished()?;
        report.unfinished = unfinished.len();
        report.unfinished_bytes =
            unfinished.iter().map(|(_, size)| *size).fold(0, u64::saturating_add);
    }
    match source.check_rest() {
        Err(e) if e.kind() == Kind::Verification => report.tell(e.to_string()),
        checked => checked?,
    }
    for (digest, wanted) in reached {
        if elsewhere.contains(&digest) {
            report.elsewhere += 1;
            continue;
        }
        report.tell(format!("{digest} is missing"));
        report.damaged.push(wanted);
    }
    Ok(report)
}

fn hash(source: &dyn Inventory, descriptor: &Descriptor) -> Result<()> {
    let mut content = content::verified(source, descriptor)?;
    let mut block = vec![0; BLOCK];
    loop {
        match content.read(&mut block) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(e) => return Err(Error::io("read", source.origin(), e)),
        }
    }
}

/// The walk over everything that the entries reach.
struct Walk<'a> {
    source: &'a dyn Inventory,
    visited: Visited,
    /// What was met, as the first that names it describes it.
    reached: BTreeMap<Digest, Descriptor>,
    report: Report,
    /// Whether more is reached than is looked at.
    full: bool,
}

impl Walk<'_> {
    fn reach(&mut self, descriptor: &Descriptor, depth: usize) {
        if self.reached.len() >= MAX_REACHED {
            if !std::mem::replace(&mut self.full, true) {
                self.report.tell(format!(
                    "{} reaches more than {MAX_REACHED} pieces of content; the rest is not looked at",
                    self.source.origin()
                ));
            }
            return;
        }
        let follow = match self.visited.meet(descriptor, depth) {
            Ok(follow) => follow,
            Err(e) => return self.report.tell(e.to_string()),
        };
        let (digest, size) = (&descriptor.digest, descriptor.size);
        let bare = || Descriptor::new(descriptor.media_type.clone(), digest.clone(), size);
        let promised = self.reached.entry(digest.clone()).or_insert_with(bare).size;
        if promised != size {
            self.report.tell(format!("{digest} has two descriptors, one of which says {promised} bytes and the other {size}"));
        }
        if !follow {
            return;
        }
        match content::manifest_of(self.source, descriptor) {
            Ok(read) => {
                read.children().into_iter().for_each(|child| self.reach(child, depth + 1));
            }
            // What is missing or does not hash is told once, with the blobs.
            Err(e) if e.kind() == Kind::NotFound => {}
            Err(e) => self.report.tell(e.to_string()),
        }
    }
}

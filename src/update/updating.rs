//! An image in a registry as a source of which only the part is fetched that the seeds do not have:
//! which layers can be had in chunks, and how each of them is opened.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Scope;

use super::assembly::Assembly;
use super::plan::Plan;
use super::prepared::{self, Counted, Prepared, Want};
use super::seed::{self, Seed};
use super::{Cost, Options};
use crate::chunks::{Table, compression};
use crate::content::{self, Source};
use crate::digest::Digest;
use crate::image::{CHUNKS, Chunked, LARGE, Role, content_of};
use crate::layout::Layout;
use crate::manifest::RawManifest;
use crate::names::Tag;
use crate::oci::Descriptor;
use crate::progress::{Ended, Observer};
use crate::referrers::{self, Referrer};
use crate::registry::RemoteImage;
use crate::{Error, Kind, Result};

/// How much that is attached in chunks to one image is looked at.
const ATTACHED: usize = 8;

/// An image in a registry of which only the part is fetched that the seeds do not have: a source that
/// has the content of layers that are stored in chunks too, by its digest.
/// [`with`](super::with) makes it.
pub struct Updating<'scope, 'env> {
    scope: &'scope Scope<'scope, 'env>,
    remote: &'env RemoteImage,
    seeds: &'env [Seed],
    connections: usize,
    uses_tables: bool,
    /// The layers in chunks, by the digest for which they are asked; there may be several ways, since
    /// anybody attaches.
    ways: HashMap<Digest, Vec<Way>>,
    prepared: Mutex<HashMap<Digest, State<'env>>>,
}

/// How a layer can be had.
struct Way {
    chunked: Chunked,
    want: Want,
    /// The blob that is the content itself, where there is one.
    plain: Option<Descriptor>,
    role: Option<Role>,
}

/// What has become of a layer.
#[derive(Clone)]
enum State<'env> {
    Prepared(Arc<Prepared<'env>>),
    /// It is fetched whole, compressed where it lies so, since the registry gives no parts.
    NoParts(Arc<Chunked>),
    /// It is fetched whole, since its table is none.
    NoTable,
}

impl<'scope, 'env> Updating<'scope, 'env> {
    pub(super) fn new(
        scope: &'scope Scope<'scope, 'env>,
        remote: &'env RemoteImage,
        entry: &Descriptor,
        options: &'env Options<'_>,
        uses_tables: bool,
    ) -> Result<Self> {
        let mut updating = Updating {
            scope,
            remote,
            seeds: &options.seeds,
            connections: options.connections,
            uses_tables,
            ways: HashMap::new(),
            prepared: Mutex::default(),
        };
        for image in images(remote, entry)? {
            match updating.add(&image, options) {
                // An index may name images that are not there; whoever wants one learns it.
                Err(Error::NotFound(_)) => {}
                added => added?,
            }
        }
        Ok(updating)
    }

    /// Whether any layer can be had in chunks.
    pub(super) fn has_chunks(&self) -> bool {
        !self.ways.is_empty()
    }

    /// Finds out which layers of an image can be had in chunks.
    fn add(&mut self, image: &Descriptor, options: &Options<'_>) -> Result<()> {
        let read = content::manifest_of(self.remote, image)?;
        let Some(manifest) = read.manifest() else { return Ok(()) };
        for layer in &manifest.layers {
            // A table by itself says of a blob that is elsewhere in the image, or nowhere.
            let chunked = Chunked::of(layer)?.filter(|chunked| !chunked.is_table_only);
            let Some(chunked) = chunked else { continue };
            let way = |want| Way {
                chunked: chunked.clone(),
                want,
                plain: None,
                role: Role::of(&layer.media_type),
            };
            self.ways.insert(chunked.content.digest.clone(), vec![way(Want::Content)]);
            self.ways.insert(layer.digest.clone(), vec![way(Want::Blob)]);
        }
        let is_large =
            |layer: &&Descriptor| layer.size >= LARGE && !self.ways.contains_key(&layer.digest);
        let large: Vec<_> = manifest.layers.iter().filter(is_large).collect();
        if !self.uses_tables || large.is_empty() {
            return Ok(());
        }
        match self.attached(image, &large, options) {
            Err(e) if matches!(e.kind(), Kind::Network | Kind::Unauthorised) => Err(e),
            // Without them it takes longer, and that is all.
            Err(e) => {
                log::warn!("what is attached in chunks is not used: {e}");
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    /// Finds the chunks that are attached to the image.
    fn attached(
        &mut self,
        image: &Descriptor,
        large: &[&Descriptor],
        options: &Options<'_>,
    ) -> Result<()> {
        let subject = &image.digest;
        let listed = self.remote.listed_referrers(subject)?;
        // The list tells the type; what tells none was not made for this.
        let mut listed: Vec<_> = listed
            .into_iter()
            .filter(|listed| listed.artifact_type.as_deref() == Some(CHUNKS))
            .collect();
        if listed.len() > ATTACHED {
            log::warn!(
                "{} have chunks of {subject} attached, of which {ATTACHED} are looked at",
                listed.len()
            );
            listed.truncate(ATTACHED);
        }
        let vouched = match options.accepts {
            Some(_) if !listed.is_empty() => referrers::of(self.remote, subject)?,
            _ => Vec::new(),
        };
        for listed in listed {
            if let Some(accepts) = options.accepts {
                let is_it = |one: &&Referrer| one.descriptor().digest == listed.digest;
                let Some(referrer) = vouched.iter().find(is_it) else { continue };
                if let Err(e) = accepts(referrer) {
                    log::warn!("the chunks {} are not used: {e}", listed.digest);
                    continue;
                }
            }
            // One that is damaged is no reason to leave out another.
            match self.one_attached(&listed, subject, large) {
                Err(e) if matches!(e.kind(), Kind::Network | Kind::Unauthorised) => return Err(e),
                Err(e) => log::warn!("the chunks {} are not used: {e}", listed.digest),
                Ok(()) => {}
            }
        }
        Ok(())
    }

    /// Takes in what is attached, where it is of the image.
    fn one_attached(
        &mut self,
        listed: &Descriptor,
        subject: &Digest,
        large: &[&Descriptor],
    ) -> Result<()> {
        let manifest = self.remote.manifest(listed)?;
        let Some(manifest) = manifest.manifest() else { return Ok(()) };
        let is_of = |found: &Descriptor| found.digest == *subject;
        if !manifest.subject.as_ref().is_some_and(is_of) {
            return Ok(());
        }
        for layer in &manifest.layers {
            let Some(mut chunked) = Chunked::of(layer)? else { continue };
            let content = &mut chunked.content;
            let plain = large.iter().find(|layer| layer.digest == content.digest);
            let Some(plain) = plain.filter(|plain| plain.size == content.size) else { continue };
            *content = (*plain).clone();
            let way = Way {
                want: Want::Content,
                plain: Some((*plain).clone()),
                role: Role::of(&plain.media_type),
                chunked,
            };
            self.ways.entry(plain.digest.clone()).or_default().push(way);
        }
        Ok(())
    }

    /// Finds out what of a layer is to be fetched.
    fn prepared(&self, digest: &Digest, ways: &[Way]) -> Result<State<'env>> {
        let known = self.prepared.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(state) = { known }.get(digest) {
            return Ok(state.clone());
        }
        let mut state = State::NoTable;
        for way in ways {
            state = self.prepare(way)?;
            if !matches!(state, State::NoTable) {
                break;
            }
        }
        let mut known = self.prepared.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(known.entry(digest.clone()).or_insert(state).clone())
    }

    fn prepare(&self, way: &Way) -> Result<State<'env>> {
        let chunked = &way.chunked;
        if !self.uses_tables {
            return Ok(State::NoTable);
        }
        let Some(table_bytes) = self.table_bytes(chunked)? else {
            log::debug!("{} gives no parts of blobs", self.remote.origin());
            return Ok(State::NoParts(Arc::new(chunked.clone())));
        };
        let stored_size =
            if chunked.is_table_only { chunked.content.size } else { chunked.place.offset };
        let table = match Table::parse(&table_bytes) {
            Ok(table)
                if Digest::with(chunked.place.digest.algorithm(), &table_bytes)
                    == chunked.place.digest
                    && table.content_size() == chunked.content.size
                    && table.stored_size() == stored_size
                    && (chunked.is_table_only || table.has_frames()) =>
            {
                table
            }
            // What it says is not that of the layer.
            Ok(_) => return Ok(self.no_table(chunked, "it is another's")),
            Err(e) => return Ok(self.no_table(chunked, &e.to_string())),
        };
        let level = chunked.compression.as_deref().and_then(level_of);
        let mut spots = seed::find(self.seeds, &table, way.role);
        if way.want == Want::Blob && level.is_none() {
            // Frames that were made otherwise are others.
            spots.fill(None);
        }
        let missing =
            |n: usize, chunk: &_| spots[n].is_none() && !prepared::makes(chunk, way.want, level);
        let plan = Plan::new(&table, missing);
        if plan.whole {
            // It comes anyway.
            spots.fill(None);
        }
        let tally = Arc::new(Counted::default());
        tally.fetched.store(table_bytes.len() as u64, Ordering::Relaxed);
        tally.requests.store(1, Ordering::Relaxed);
        Ok(State::Prepared(Arc::new(Prepared {
            repository: self.remote.repository(),
            chunked: chunked.clone(),
            want: way.want,
            table: Arc::new(table),
            table_bytes: Arc::new(table_bytes),
            seeds: self.seeds,
            spots,
            plan,
            gives_parts: true,
            plain: way.plain.clone(),
            level,
            tally,
        })))
    }

    fn no_table(&self, chunked: &Chunked, why: &str) -> State<'env> {
        let (digest, origin) = (&chunked.content.digest, self.remote.origin());
        log::warn!("the chunks of {digest} in {origin} are not used: {why}");
        State::NoTable
    }

    /// The table as it lies in the registry; `None` where that gives no parts of blobs.
    fn table_bytes(&self, chunked: &Chunked) -> Result<Option<Vec<u8>>> {
        let (blob, place) = (&chunked.blob, &chunked.place);
        if !Table::may_have(place.size) {
            return Ok(Some(Vec::new()));
        }
        let repository = self.remote.repository();
        let mut bytes = Vec::new();
        let read = if place.size == blob.size {
            repository.open_blob(blob, 0)?.take(place.size).read_to_end(&mut bytes)
        } else {
            let part = repository.open_part(blob, place.offset..place.offset + place.size)?;
            let Some(mut part) = part else { return Ok(None) };
            part.read_to_end(&mut bytes)
        };
        read.map_err(|e| Error::io("read", self.remote.origin(), e))?;
        Ok(Some(bytes))
    }

    /// What a layer costs, or has cost so far where it was read; `None` where it is fetched as it is,
    /// or none of its.
    ///
    /// # Errors
    /// What the registry gives.
    pub fn cost(&self, layer: &Descriptor) -> Result<Option<Cost>> {
        let Some(ways) = self.ways.get(&layer.digest) else { return Ok(None) };
        let prepared = match self.prepared(&layer.digest, ways)? {
            State::Prepared(prepared) => prepared,
            State::NoParts(chunked) if !chunked.is_table_only => {
                let whole = Cost::whole(&chunked.blob);
                return Ok(Some(Cost { size: chunked.content.size, ..whole }));
            }
            // What is stored in chunks has no other blob.
            _ => {
                let stored = ways.iter().find(|way| way.plain.is_none());
                return Ok(stored.map(|way| Cost {
                    size: way.chunked.content.size,
                    ..Cost::whole(&way.chunked.blob)
                }));
            }
        };
        let seeded = prepared.table.chunks().iter().zip(&prepared.spots);
        let seeded = seeded.filter(|(_, spot)| spot.is_some());
        Ok(Some(Cost {
            size: prepared.chunked.content.size,
            fetched: prepared.table_bytes.len() as u64 + prepared.plan.bytes(),
            reused: seeded.map(|(chunk, _)| u64::from(chunk.size)).sum(),
            requests: 1 + prepared.plan.parts.len() as u64,
        }))
    }

    /// What the layers that were read have cost so far, of those in chunks.
    pub fn spent_in_all(&self) -> Cost {
        let known = self.prepared.lock().unwrap_or_else(PoisonError::into_inner);
        let layers: Vec<_> = known.keys().cloned().collect();
        drop(known);
        let spent = layers.iter().filter_map(|layer| self.spent(layer));
        spent.fold(Cost::default(), Cost::plus)
    }

    /// What a layer has cost so far; `None` where it was fetched as it is, or not at all.
    pub fn spent(&self, layer: &Digest) -> Option<Cost> {
        let known = self.prepared.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(State::Prepared(prepared)) = known.get(layer) else { return None };
        let tally = &prepared.tally;
        Some(Cost {
            size: prepared.chunked.content.size,
            fetched: tally.fetched.load(Ordering::Relaxed),
            reused: tally.reused.load(Ordering::Relaxed),
            requests: tally.requests.load(Ordering::Relaxed),
        })
    }

    /// Keeps in a layout the tables of layers that were brought there, so that they need not be read to
    /// know which chunks they have, when a newer version is fetched.
    ///
    /// # Errors
    /// What the layout gives.
    pub fn keep_tables(&self, layout: &Layout) -> Result<()> {
        let known = self.prepared.lock().unwrap_or_else(PoisonError::into_inner);
        for (digest, state) in known.iter() {
            let State::Prepared(prepared) = state else { continue };
            // A blob of frames has its table in itself.
            let content = &prepared.chunked.content;
            if prepared.want == Want::Content && layout.file(content)?.is_some() {
                layout.keep_table(digest, &prepared.table.to_bytes())?;
            }
        }
        Ok(())
    }

    /// Passes on to an observer what becomes of the pieces of a transfer from here, with how much of a
    /// layer was fetched.
    pub fn telling<'a>(&'a self, observer: &'a dyn Observer) -> Telling<'a, 'scope, 'env> {
        Telling { updating: self, observer }
    }

    /// A layer without its table: from the frames, where they are to be used or there is nothing else.
    fn whole(
        &self,
        ways: &[Way],
        frames: Option<&Chunked>,
        offset: u64,
    ) -> Result<Box<dyn Read + '_>> {
        let Some(way) = ways.first() else {
            return Err(Error::usage("a layer that can be had in no way"));
        };
        if way.want == Want::Blob {
            return self.remote.open(&way.chunked.blob, offset);
        }
        let frames = frames.filter(|chunked| !chunked.is_table_only);
        let chunked = match (frames, &way.plain) {
            (Some(chunked), _) => chunked,
            (None, Some(plain)) => return self.remote.open(plain, offset),
            (None, None) => &way.chunked,
        };
        let mut content = content_of(self.remote, chunked)?;
        io::copy(&mut content.by_ref().take(offset), &mut io::sink())
            .map_err(|e| Error::io("read", self.remote.origin(), e))?;
        Ok(content)
    }
}

/// An observer that is told how much of a layer was fetched; see [`Updating::telling`].
pub struct Telling<'a, 'scope, 'env> {
    updating: &'a Updating<'scope, 'env>,
    observer: &'a dyn Observer,
}

impl Observer for Telling<'_, '_, '_> {
    fn started(&self, piece: &Descriptor) {
        self.observer.started(piece);
    }

    fn opened(&self, piece: &Descriptor, offset: u64) {
        self.observer.opened(piece, offset);
    }

    fn advanced(&self, piece: &Descriptor, bytes: u64) {
        self.observer.advanced(piece, bytes);
    }

    fn counts(&self) -> bool {
        self.observer.counts()
    }

    fn ended(&self, piece: &Descriptor, how: Ended) {
        let how = match (how, self.updating.spent(&piece.digest)) {
            (Ended::Copied, Some(Cost { fetched, requests, .. })) => {
                Ended::Updated { fetched, requests }
            }
            _ => how,
        };
        self.observer.ended(piece, how);
    }
}

/// The images of an index, or the one that an entry is.
fn images(remote: &RemoteImage, entry: &Descriptor) -> Result<Vec<Descriptor>> {
    Ok(match content::manifest_of(remote, entry)?.index() {
        Some(index) => index.manifests.clone(),
        None => vec![entry.clone()],
    })
}

/// The level with which frames of the same bytes can be made here, by what a layer says of its own.
fn level_of(said: &str) -> Option<u8> {
    let level = said.rsplit('/').next()?.parse().ok()?;
    (compression(level) == said).then_some(level)
}

impl Source for Updating<'_, '_> {
    fn origin(&self) -> String {
        self.remote.origin()
    }

    fn entries(&self) -> Result<Vec<Descriptor>> {
        self.remote.entries()
    }

    fn open(&self, descriptor: &Descriptor, offset: u64) -> Result<Box<dyn Read + '_>> {
        let digest = &descriptor.digest;
        let Some(ways) = self.ways.get(digest) else {
            return self.remote.open(descriptor, offset);
        };
        let prepared = match self.prepared(digest, ways)? {
            State::Prepared(prepared) => prepared,
            State::NoParts(chunked) => return self.whole(ways, Some(&chunked), offset),
            State::NoTable => return self.whole(ways, None, offset),
        };
        let chunked = prepared.chunked.clone();
        match Assembly::start(self.scope, prepared, self.connections, offset) {
            Some(assembly) => Ok(Box::new(assembly)),
            None => self.whole(ways, Some(&chunked), offset),
        }
    }

    fn file(&self, _: &Descriptor) -> Result<Option<(File, u64)>> {
        Ok(None)
    }

    fn manifest(&self, descriptor: &Descriptor) -> Result<Arc<RawManifest>> {
        self.remote.manifest(descriptor)
    }

    fn sequence(&self, _: &Digest) -> Option<u64> {
        None
    }

    fn listed_referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>> {
        self.remote.listed_referrers(subject)
    }

    fn tagged(&self, tags: &[Tag]) -> Result<Vec<Descriptor>> {
        self.remote.tagged(tags)
    }
}

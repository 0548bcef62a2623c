//! The cache: a store of its own, in which what clients ask for lies once it has come. A hundred
//! who ask for the same are one transfer.
//!
//! No entry of its index names what this brings there, so that it may go again; what somebody else
//! has put there under a name stays. A file's time tells when it was used last.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};

use super::content::{Content, State};
use super::failure::Failure;
use super::metrics::Metrics;
use crate::content::Source;
use crate::digest::{BLOCK, Digest, Hasher};
use crate::layout::Layout;
use crate::names::Host;
use crate::oci::Descriptor;
use crate::{Error, Result};

/// How many pieces come from one registry at once; further ones wait.
const AT_ONCE: usize = 8;

/// What is on its way here.
#[derive(Default)]
struct Coming {
    /// By the registry that it comes from: one that stalls keeps no other one waiting.
    lines: HashMap<Host, Line>,
    /// How many pieces have come as a whole, and do not have their names yet.
    unnamed: usize,
}

/// What comes from one registry.
#[derive(Default)]
struct Line {
    /// How many threads bring something.
    threads: usize,
    /// What waits for its turn, for as long as somebody waits for it.
    waiting: VecDeque<(Weak<Content>, Arc<dyn Upstream>)>,
}

/// Where content comes from that the cache does not have.
pub(super) trait Upstream: Send + Sync {
    /// The registry that has it.
    fn host(&self) -> &Host;

    /// Runs `work` with a source that has it.
    ///
    /// # Errors
    /// What `work` gives, and what keeps the source from being opened.
    fn with(&self, work: &mut dyn FnMut(&dyn Source) -> Result<()>) -> Result<()>;
}

/// Content of images, in a folder.
pub(super) struct Cache {
    layout: Layout,
    /// How many bytes it may have.
    most: u64,
    /// What is being read.
    contents: Mutex<HashMap<Digest, Weak<Content>>>,
    /// What was hashed since the server started, or came here since.
    sound: Mutex<HashSet<Digest>>,
    coming: Mutex<Coming>,
    named: Condvar,
    metrics: Arc<Metrics>,
}

impl Cache {
    /// Opens the cache, made where it is missing.
    ///
    /// # Errors
    /// As [`Layout::open_or_create`].
    pub fn open(path: &Path, most: u64, metrics: Arc<Metrics>) -> Result<Self> {
        // Its place is known by this in what goes wrong, and is told to no client.
        let path = std::path::absolute(path).map_err(|e| Error::io("find", path, e))?;
        let layout = Layout::open_or_create(&path)?;
        let cache = Cache {
            layout,
            most,
            contents: Mutex::default(),
            sound: Mutex::default(),
            coming: Mutex::default(),
            named: Condvar::new(),
            metrics,
        };
        cache.make_room(0);
        Ok(cache)
    }

    /// The store that it is.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The content that a descriptor describes. Where it is not there, it begins to come.
    pub fn content(
        self: &Arc<Self>,
        descriptor: &Descriptor,
        upstream: Arc<dyn Upstream>,
    ) -> Arc<Content> {
        let mut contents = self.contents.lock().unwrap_or_else(PoisonError::into_inner);
        let known = contents.get(&descriptor.digest).and_then(Weak::upgrade);
        if let Some(known) = known
            && !known.has_failed()
            && known.descriptor().size == descriptor.size
        {
            return known;
        }
        contents.retain(|_, content| content.strong_count() > 0);
        let content = Arc::new(Content::awaited(descriptor));
        contents.insert(descriptor.digest.clone(), Arc::downgrade(&content));
        drop(contents);
        if let Some(file) = self.known_sound(descriptor) {
            content.is_now(State::Whole(file));
            return content;
        }
        self.line_up(&content, upstream);
        content
    }

    /// Has content come, now or when something else has.
    fn line_up(self: &Arc<Self>, content: &Arc<Content>, upstream: Arc<dyn Upstream>) {
        let mut coming = self.coming.lock().unwrap_or_else(PoisonError::into_inner);
        let from = upstream.host().clone();
        let line = coming.lines.entry(from.clone()).or_default();
        // Nobody can fill the queue and go away.
        line.waiting.retain(|(content, _)| content.strong_count() > 0);
        line.waiting.push_back((Arc::downgrade(content), upstream));
        if line.threads >= AT_ONCE {
            return;
        }
        let cache = self.clone();
        let bring = move || {
            while let Some((content, upstream)) = cache.next(&from) {
                cache.bring(&content, &*upstream);
            }
        };
        match std::thread::Builder::new().name("fill".into()).spawn(bring) {
            Ok(_) => line.threads += 1,
            // Another one will come to it.
            Err(_) if line.threads > 0 => {}
            Err(e) => {
                line.waiting.clear();
                content.is_now(State::Failed(Error::io("start", "a thread", e).into()));
            }
        }
    }

    /// What is to come next from a registry; nothing where the thread that asks may end.
    fn next(&self, from: &Host) -> Option<(Arc<Content>, Arc<dyn Upstream>)> {
        let mut coming = self.coming.lock().unwrap_or_else(PoisonError::into_inner);
        let line = coming.lines.get_mut(from)?;
        while let Some((content, upstream)) = line.waiting.pop_front() {
            if let Some(content) = content.upgrade() {
                return Some((content, upstream));
            }
        }
        line.threads -= 1;
        None
    }

    /// Whether a piece of content is there; it is not hashed.
    pub fn has(&self, descriptor: &Descriptor) -> bool {
        self.layout.file(descriptor).is_ok_and(|file| file.is_some())
    }

    /// Whether a piece of content is there, or has come and does not have its name yet.
    pub fn has_come(&self, descriptor: &Descriptor) -> bool {
        let sound = self.sound.lock().unwrap_or_else(PoisonError::into_inner);
        sound.contains(&descriptor.digest) || self.has(descriptor)
    }

    /// The file of content that needs no further look.
    fn known_sound(&self, descriptor: &Descriptor) -> Option<Arc<File>> {
        let sound = self.sound.lock().unwrap_or_else(PoisonError::into_inner);
        if !sound.contains(&descriptor.digest) {
            return None;
        }
        let (file, _) = self.layout.file(descriptor).ok().flatten()?;
        self.layout.used(&descriptor.digest);
        Some(Arc::new(file))
    }

    /// Brings content here, and tells those who wait for it.
    fn bring(&self, content: &Content, upstream: &dyn Upstream) {
        if let Err(e) = self.try_bring(content, upstream) {
            let digest = &content.descriptor().digest;
            log::warn!("{digest} does not come, and nobody gets its end: {e}");
            content.is_now(State::Failed(Failure::from(e)));
        }
        self.make_room(0);
    }

    /// Waits until everything of which all has come has its name; what is on its way is left as it
    /// is.
    pub fn settle(&self) {
        let coming = self.coming.lock().unwrap_or_else(PoisonError::into_inner);
        let _named = self.named.wait_while(coming, |coming| coming.unnamed > 0);
    }

    fn try_bring(&self, content: &Content, upstream: &dyn Upstream) -> Result<()> {
        let descriptor = content.descriptor();
        if let Some(file) = self.hashed(content) {
            self.is_sound(&descriptor.digest);
            content.is_now(State::Whole(file));
            return Ok(());
        }
        // What has no place in any case may be a lie about its size, for which nothing else goes.
        if descriptor.size <= self.most {
            self.make_room(descriptor.size);
        }
        self.metrics.fetched(descriptor.size);
        let bring = &mut |source: &dyn Source| {
            let mut following = Following { content, file: None };
            let session = self.layout.session()?;
            let mut unnamed = None;
            let whole = |file: &File| {
                unnamed = Some(Unnamed::new(self));
                self.is_sound(&descriptor.digest);
                if let Ok(file) = file.try_clone() {
                    content.is_now(State::Whole(Arc::new(file)));
                }
            };
            let put =
                session.put_followed(source, descriptor, &mut |file| following.look(file), whole);
            drop(unnamed);
            put
        };
        upstream.with(bring)?;
        // It came, though its file could not be opened a second time.
        let is_open = matches!(*content.watch().borrow(), State::Whole(_));
        if !is_open {
            let file = self.layout.file(descriptor)?.map(|(file, _)| Arc::new(file));
            let missing = || crate::content::missing(&self.layout, &descriptor.digest);
            content.is_now(State::Whole(file.ok_or_else(missing)?));
        }
        Ok(())
    }

    /// What lies here already, hashed while it is read by others. What is damaged counts as
    /// missing.
    fn hashed(&self, content: &Content) -> Option<Arc<File>> {
        let descriptor = content.descriptor();
        let (file, _) = self.layout.file(descriptor).ok().flatten()?;
        let file = Arc::new(file);
        let mut hasher = Hasher::new(descriptor.digest.algorithm());
        let mut block = vec![0; BLOCK];
        let mut there = 0;
        loop {
            match (&*file).read(&mut block) {
                Ok(0) => break,
                Ok(n) => {
                    hasher.update(&block[..n]);
                    there += n as u64;
                    content.is_now(State::Coming(file.clone(), there));
                }
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        if there == descriptor.size && hasher.finish() == descriptor.digest {
            self.layout.used(&descriptor.digest);
            return Some(file);
        }
        log::warn!("{} is damaged in the cache, and is fetched anew", descriptor.digest);
        content.is_now(State::Awaited);
        None
    }

    fn is_sound(&self, digest: &Digest) {
        self.sound.lock().unwrap_or_else(PoisonError::into_inner).insert(digest.clone());
    }

    /// Removes what was used longest ago, so that so many bytes more may come.
    fn make_room(&self, more: u64) {
        let contents = self.contents.lock().unwrap_or_else(PoisonError::into_inner);
        let live = contents.iter().filter(|(_, content)| content.strong_count() > 0);
        let used: HashSet<_> = live.map(|(digest, _)| digest.clone()).collect();
        drop(contents);
        let is_used = |digest: &Digest| used.contains(digest);
        match self.layout.make_room(self.most.saturating_sub(more), is_used) {
            Ok(room) => {
                let mut sound = self.sound.lock().unwrap_or_else(PoisonError::into_inner);
                for (digest, _) in &room.removed {
                    sound.remove(digest);
                }
                self.metrics.evicted(room.removed.len() as u64);
                self.metrics.holds(room.left);
            }
            Err(e) => log::warn!("no room can be made in the cache: {e}"),
        }
    }
}

/// Something has come, and does not have its name yet.
struct Unnamed<'a>(&'a Cache);

impl<'a> Unnamed<'a> {
    fn new(cache: &'a Cache) -> Self {
        cache.coming.lock().unwrap_or_else(PoisonError::into_inner).unnamed += 1;
        Unnamed(cache)
    }
}

impl Drop for Unnamed<'_> {
    fn drop(&mut self) {
        self.0.coming.lock().unwrap_or_else(PoisonError::into_inner).unnamed -= 1;
        self.0.named.notify_all();
    }
}

/// Whoever sees how a file grows, for those who read it.
struct Following<'a> {
    content: &'a Content,
    /// The file, and which one it is.
    file: Option<(Arc<File>, (u64, u64))>,
}

impl Following<'_> {
    fn look(&mut self, file: &File) {
        // Whoever reads is a little later where it cannot be told.
        let Ok(metadata) = file.metadata() else { return };
        let identity = (metadata.dev(), metadata.ino());
        let known = self.file.take().filter(|(_, known)| *known == identity);
        let opened = known.or_else(|| Some((Arc::new(file.try_clone().ok()?), identity)));
        if let Some((file, _)) = &opened {
            self.content.is_now(State::Coming(file.clone(), metadata.len()));
        }
        self.file = opened;
    }
}

//! Progress: a bar on a terminal, nothing elsewhere. It watches what is read from a source, so the
//! library needs to know nothing of it.
//!
//! Bars and messages share the terminal through `output`, so that none is written over another.

use std::fmt::Write;
use std::io::{IsTerminal, Read};
use std::sync::Arc;

use indicatif::{ProgressBar, ProgressState, ProgressStyle};
use osimage::Result;
use osimage::content::{Hold, Inventory, Source};
use osimage::digest::Digest;
use osimage::graph::Node;
use osimage::manifest::RawManifest;
use osimage::oci::Descriptor;

use super::output;

/// Whether bars are drawn: on a terminal that can move its cursor.
fn draws() -> bool {
    std::io::stderr().is_terminal()
        && std::env::var_os("TERM").is_some_and(|term| !term.is_empty() && term != "dumb")
}

/// A bar with sizes as everywhere else.
fn style() -> ProgressStyle {
    let done = |state: &ProgressState, to: &mut dyn Write| {
        let size = |bytes| output::size(bytes);
        let (pos, len) = (size(state.pos()), size(state.len().unwrap_or_default()));
        let _ = write!(to, "{pos:>8} of {len:>8}");
    };
    let speed = |state: &ProgressState, to: &mut dyn Write| {
        let _ = write!(to, "{:>8}/s", output::size(state.per_sec() as u64));
    };
    ProgressStyle::with_template("{msg} [{bar:24}] {done} {speed} {eta}")
        .expect("the template is a constant")
        .with_key("done", done)
        .with_key("speed", speed)
        .progress_chars("=> ")
}

/// A bar for that many bytes; hidden where none is drawn.
pub fn bar(bytes: u64, what: &'static str) -> ProgressBar {
    match draws() {
        true => output::bars().add(ProgressBar::new(bytes).with_style(style()).with_message(what)),
        false => ProgressBar::hidden(),
    }
}

/// A source whose reading moves a bar, which goes away with it.
pub struct Watched<'a, S: ?Sized> {
    source: &'a S,
    bar: ProgressBar,
}

impl<'a, S: Source + ?Sized> Watched<'a, S> {
    /// Watches the reading of everything among the nodes that is not read yet.
    pub fn new<'n>(
        source: &'a S,
        nodes: impl IntoIterator<Item = &'n Node>,
        what: &'static str,
    ) -> Self {
        let layers = nodes.into_iter().filter(|node| node.manifest().is_none());
        Self::over(
            source,
            layers.map(|node| node.descriptor().size).fold(0, u64::saturating_add),
            what,
        )
    }

    /// Watches the reading of that many bytes.
    pub fn over(source: &'a S, bytes: u64, what: &'static str) -> Self {
        Watched { source, bar: bar(bytes, what) }
    }
}

impl<S: ?Sized> Drop for Watched<'_, S> {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

impl<S: Source + ?Sized> Source for Watched<'_, S> {
    fn origin(&self) -> String {
        self.source.origin()
    }

    fn entries(&self) -> Result<Vec<Descriptor>> {
        self.source.entries()
    }

    fn open(&self, descriptor: &Descriptor, offset: u64) -> Result<Box<dyn Read + '_>> {
        Ok(Box::new(self.bar.wrap_read(self.source.open(descriptor, offset)?)))
    }

    fn manifest(&self, descriptor: &Descriptor) -> Result<Arc<RawManifest>> {
        self.source.manifest(descriptor)
    }

    fn sequence(&self, digest: &Digest) -> Option<u64> {
        self.source.sequence(digest)
    }

    fn listed_referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>> {
        self.source.listed_referrers(subject)
    }
}

impl<S: Inventory + ?Sized> Inventory for Watched<'_, S> {
    fn blobs(&self) -> Result<Vec<(Digest, u64)>> {
        self.source.blobs()
    }

    fn check_rest(&self) -> Result<()> {
        self.source.check_rest()
    }

    fn hold(&self) -> Hold {
        self.source.hold()
    }
}

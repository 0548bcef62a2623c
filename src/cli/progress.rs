//! Progress on standard error: on a terminal a bar for each layer that is on its way, and a line
//! when it has come to its target; elsewhere a line when a layer begins, and that line too.
//!
//! Bars and messages share the terminal through `output`, so that none is written over another.

use std::collections::HashMap;
use std::fmt::Write;
use std::fs::File;
use std::io::{IsTerminal, Read};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressState, ProgressStyle};
use osimage::Result;
use osimage::content::{Hold, Inventory, Source};
use osimage::digest::Digest;
use osimage::graph::Node;
use osimage::image::{Profile, Role};
use osimage::manifest::RawManifest;
use osimage::names::Tag;
use osimage::oci::{self, Descriptor};
use osimage::progress::{Ended, Observer};
use serde::Serialize;

use super::output;

/// How wide the name of a layer is shown.
const NAME: usize = 16;
/// How often a program is told how far a layer is.
const EVERY: Duration = Duration::from_millis(200);

/// How much is shown of what goes on.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct ProgressArgs {
    /// Say nothing of what goes on; warnings and errors are said
    #[arg(long, short)]
    quiet: bool,
    /// Draw no bars; a line at the beginning and the end of each layer tells what goes on
    #[arg(long)]
    no_progress: bool,
    /// Tell what goes on as JSON on standard error, an object a line
    #[arg(long, conflicts_with_all = ["quiet", "no_progress"])]
    json_progress: bool,
}

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Bars,
    Lines,
    Json,
    Nothing,
}

/// What a command was told about it.
static WAY: OnceLock<Way> = OnceLock::new();

impl ProgressArgs {
    /// Makes these count for all that the command shows from here on.
    pub fn apply(self) {
        let way = match self {
            _ if self.quiet => Way::Nothing,
            _ if self.no_progress => Way::Lines,
            _ if self.json_progress => Way::Json,
            _ => Way::by_terminal(),
        };
        // A command has one set of arguments.
        let _ = WAY.set(way);
    }
}

impl Way {
    /// Bars are for a terminal that can move its cursor.
    fn by_terminal() -> Self {
        let moves = std::env::var_os("TERM").is_some_and(|term| !term.is_empty() && term != "dumb");
        if moves && std::io::stderr().is_terminal() { Way::Bars } else { Way::Lines }
    }

    fn current() -> Self {
        *WAY.get_or_init(Way::by_terminal)
    }
}

/// What is done to the layers, in the words of the lines.
#[derive(Debug, Clone, Copy)]
pub enum Verb {
    Send,
    Fetch,
    Copy,
    Write,
}

impl Verb {
    /// While it goes on, and when it is done.
    fn words(self) -> [&'static str; 2] {
        match self {
            Verb::Send => ["sending", "sent"],
            Verb::Fetch => ["fetching", "fetched"],
            Verb::Copy => ["copying", "copied"],
            Verb::Write => ["writing", "written"],
        }
    }
}

/// Shows the layers of a transfer.
pub struct Progress {
    verb: Verb,
    pieces: Mutex<HashMap<Digest, Shown>>,
}

/// A layer on its way.
struct Shown {
    bar: Option<ProgressBar>,
    begun: Instant,
    /// How much of it was there before.
    before: u64,
    /// Whether something of it was read.
    moves: bool,
    /// How much of it there is, and when that was told last; for programs.
    done: u64,
    told: Option<Instant>,
}

/// What goes on, for programs: a line of JSON.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Event<'a> {
    event: &'a str,
    name: &'a str,
    digest: &'a Digest,
    /// How much of it there is, of how much.
    done: u64,
    size: u64,
    /// What was fetched, where the rest was here.
    #[serde(skip_serializing_if = "Option::is_none")]
    fetched: Option<u64>,
}

impl Event<'_> {
    fn tell(event: &str, piece: &Descriptor, done: u64, fetched: Option<u64>) {
        let Descriptor { digest, size, .. } = piece;
        let event = Event { event, name: &name(piece), digest, done, size: *size, fetched };
        output::say(&output::visible(
            &serde_json::to_string(&event).expect("what is told has no way to fail"),
        ));
    }
}

impl Progress {
    pub fn new(verb: Verb) -> Self {
        Progress { verb, pieces: Mutex::default() }
    }

    fn pieces(&self) -> MutexGuard<'_, HashMap<Digest, Shown>> {
        self.pieces.lock().expect("nothing panics with this lock")
    }

    /// Says what becomes of a layer.
    fn say(&self, what: &str, piece: &Descriptor, more: &str) {
        let line = format!(
            "{what:<8} {:>9}  {:<NAME$}  {}{more}",
            output::size(piece.size),
            output::cut(&name(piece), NAME),
            piece.digest.short(),
        );
        output::say(line.trim_end());
    }
}

impl Observer for Progress {
    fn counts(&self) -> bool {
        matches!(Way::current(), Way::Bars | Way::Json)
    }

    fn started(&self, piece: &Descriptor) {
        if Way::current() != Way::Nothing && !oci::is_manifest_or_index(&piece.media_type) {
            let begun = Instant::now();
            let shown = Shown { bar: None, begun, before: 0, moves: false, done: 0, told: None };
            self.pieces().insert(piece.digest.clone(), shown);
        }
    }

    fn opened(&self, piece: &Descriptor, offset: u64) {
        let mut pieces = self.pieces();
        let Some(shown) = pieces.get_mut(&piece.digest) else { return };
        // What was there is sent or fetched after all where it is of no use.
        shown.before = if shown.moves { shown.before.min(offset) } else { offset };
        shown.done = offset;
        if let Some(bar) = &shown.bar {
            go_on(bar, offset);
        }
    }

    fn advanced(&self, piece: &Descriptor, bytes: u64) {
        let mut pieces = self.pieces();
        let Some(shown) = pieces.get_mut(&piece.digest) else { return };
        let first = !std::mem::replace(&mut shown.moves, true);
        shown.done += bytes;
        match Way::current() {
            Way::Bars => {
                let bar = shown.bar.get_or_insert_with(|| {
                    let prefix = format!("{:<NAME$}", output::cut(&name(piece), NAME));
                    let bar = output::bars().add(
                        ProgressBar::new(piece.size)
                            .with_style(style("prefix"))
                            .with_prefix(prefix),
                    );
                    go_on(&bar, shown.before);
                    bar
                });
                bar.inc(bytes);
            }
            Way::Lines if first => {
                let more = match shown.before {
                    0 => String::new(),
                    before => format!("  goes on at {}", output::size(before)),
                };
                self.say(self.verb.words()[0], piece, &more);
            }
            Way::Json if shown.told.is_none_or(|told| told.elapsed() >= EVERY) => {
                shown.told = Some(Instant::now());
                Event::tell("advanced", piece, shown.done, None);
            }
            Way::Json | Way::Lines | Way::Nothing => {}
        }
    }

    fn ended(&self, piece: &Descriptor, how: Ended) {
        let Some(shown) = self.pieces().remove(&piece.digest) else { return };
        if let Some(bar) = shown.bar {
            bar.finish_and_clear();
            output::bars().remove(&bar);
        }
        if Way::current() == Way::Json {
            let fetched = match how {
                Ended::Updated { fetched, .. } => Some(fetched),
                _ => None,
            };
            return Event::tell("ended", piece, piece.size, fetched);
        }
        match how {
            Ended::There => self.say("there", piece, ""),
            Ended::Mounted => self.say("mounted", piece, "  taken over from another repository"),
            Ended::Updated { fetched, requests } => {
                let requests =
                    if requests == 1 { "1 request".into() } else { format!("{requests} requests") };
                let what = format!("  of which {} came in {requests}", output::size(fetched));
                self.say("updated", piece, &what);
            }
            _ => {
                let new = piece.size.saturating_sub(shown.before);
                let more = match shown.before {
                    0 => String::new(),
                    before => format!("  {} were there", output::size(before)),
                };
                let more = more + &speed(new, shown.begun.elapsed());
                self.say(self.verb.words()[1], piece, &more);
            }
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        // What failed has not ended.
        for (_, shown) in self.pieces().drain() {
            shown.bar.inspect(ProgressBar::finish_and_clear);
        }
    }
}

/// Moves a bar to where a layer goes on; that is no speed.
fn go_on(bar: &ProgressBar, offset: u64) {
    bar.set_position(offset);
    bar.reset_eta();
}

/// What a layer is called: its role, its file's name, or what its media type ends in.
fn name(piece: &Descriptor) -> String {
    if let Some(role) = Role::of(&piece.media_type) {
        return role.to_string();
    }
    if let Some(title) = piece.annotations.get(oci::TITLE) {
        return output::visible(title);
    }
    let media_type = piece.media_type.split(';').next().unwrap_or_default();
    if Profile::of_config(media_type).is_some() || media_type.contains(".config.") {
        return "config".into();
    }
    let last = media_type.rsplit(['/', '.']).next().unwrap_or_default();
    output::visible(last.split('+').next().unwrap_or_default())
}

/// How fast a layer went, where it took long enough and was large enough to tell.
fn speed(bytes: u64, took: Duration) -> String {
    const SHORTEST: Duration = Duration::from_millis(100);
    const SMALLEST: u64 = 1_000_000;
    match took < SHORTEST || bytes < SMALLEST {
        true => String::new(),
        false => format!("  {}/s", output::size((bytes as f64 / took.as_secs_f64()) as u64)),
    }
}

/// A bar with sizes as everywhere else, behind a prefix or a message.
fn style(head: &str) -> ProgressStyle {
    let size = |state: &ProgressState, to: &mut dyn Write| {
        let _ = write!(to, "{:>9}", output::size(state.len().unwrap_or_default()));
    };
    let speed = |state: &ProgressState, to: &mut dyn Write| {
        let _ = write!(to, "{:>9}/s", output::size(state.per_sec() as u64));
    };
    let template = format!("{{{head}}} {{size}} [{{bar:24}}] {{percent:>3}}% {{speed}} {{eta}}");
    ProgressStyle::with_template(&template)
        .expect("the template is a constant")
        .with_key("size", size)
        .with_key("speed", speed)
        .progress_chars("=> ")
}

/// A bar for that many bytes; hidden where none is to be drawn.
pub fn bar(bytes: u64, what: &'static str) -> ProgressBar {
    match Way::current() {
        Way::Bars => {
            output::bars().add(ProgressBar::new(bytes).with_style(style("msg")).with_message(what))
        }
        Way::Lines | Way::Json | Way::Nothing => ProgressBar::hidden(),
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

    /// A bar that is seen moves with what is read here.
    fn file(&self, descriptor: &Descriptor) -> Result<Option<(File, u64)>> {
        if self.bar.is_hidden() { self.source.file(descriptor) } else { Ok(None) }
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

    fn tagged(&self, tags: &[Tag]) -> Result<Vec<Descriptor>> {
        self.source.tagged(tags)
    }
}

impl<S: Inventory + ?Sized> Inventory for Watched<'_, S> {
    fn blobs(&self) -> Result<Vec<(Digest, u64)>> {
        self.source.blobs()
    }

    fn unfinished(&self) -> Result<Vec<(PathBuf, u64)>> {
        self.source.unfinished()
    }

    fn check_rest(&self) -> Result<()> {
        self.source.check_rest()
    }

    fn hold(&self) -> Hold {
        self.source.hold()
    }
}

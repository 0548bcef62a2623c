//! The misbehaving registry: a small registry of the tests' own. By itself it does what the OCI
//! distribution specification 1.1 says; a test bends it with rules, which look at a request and
//! name a fault, and with ways, which other registries have too.

mod content;
mod upload;

use std::collections::{BTreeMap, HashMap};
use std::ops::Deref;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use osimage::digest::{Algorithm, Digest, Hasher};
use serde_json::{Value, json};

use super::answer::{Content, Response};
use super::http::{Body, HttpServer, Request, lock};
use super::token::Tokens;

/// What goes wrong with a request.
pub enum Fault {
    /// This is answered, and nothing is done. A long body is not read.
    Answer(Response),
    /// What was asked is done; the answer is what this makes of the right one.
    Change(Box<dyn FnOnce(Response) -> Response + Send>),
    /// As `Change`, once the first function has come back: what was asked waits for that.
    Wait(Box<dyn FnOnce() + Send>, Box<dyn FnOnce(Response) -> Response + Send>),
    /// The connection ends after so many bytes of the request's body.
    CutRequest(u64),
    /// After so many bytes of the request's body nothing more is read, and the connection stays
    /// open.
    StallRequest(u64),
    /// The request's body is read so many bytes at a time.
    SlowRequest(usize, Duration),
}

impl Fault {
    pub fn change(change: impl FnOnce(Response) -> Response + Send + 'static) -> Self {
        Fault::Change(Box::new(change))
    }
}

/// How registries differ.
#[derive(Clone)]
pub struct Ways {
    /// A blob can be read from an offset.
    pub ranges: bool,
    /// There is the referrers API.
    pub referrers: bool,
    /// A blob can be mounted from another repository.
    pub mounts: bool,
    /// Manifests and blobs can be deleted.
    pub deletes: bool,
    /// An upload's session keeps what came of a request that was cut; else the session is gone, as
    /// with docker-registry 2.8.
    pub keeps_cut: bool,
    /// A chunk out of order is appended, as docker-registry 2.8 does; else it is refused.
    pub appends: bool,
    /// An upload's Location is absolute.
    pub absolute: bool,
    /// So many names or referrers stand in one answer at most.
    pub page: usize,
    /// A longer request is answered with 413.
    pub body_limit: u64,
    /// The least size of a chunk, told as `OCI-Chunk-Min-Length`.
    pub chunk_min: Option<u64>,
}

/// Who may do something.
#[derive(Clone)]
pub enum Auth {
    Open,
    /// One user and the password.
    Basic(&'static str, &'static str),
    Bearer(Arc<Tokens>),
}

#[derive(Default)]
struct Store {
    repositories: BTreeMap<String, Repository>,
    uploads: HashMap<u64, Arc<Mutex<Upload>>>,
    /// Sessions that have been, so that none gets the number of another.
    begun: u64,
}

#[derive(Default)]
struct Repository {
    /// Without content where that was too long to be kept.
    blobs: HashMap<Digest, (u64, Option<Content>)>,
    manifests: BTreeMap<String, Manifest>,
    tags: BTreeMap<String, String>,
}

#[derive(Clone)]
struct Manifest {
    media_type: String,
    bytes: Vec<u8>,
    value: Value,
}

struct Upload {
    received: u64,
    hash: Hasher,
    bytes: Vec<u8>,
}

type Rule = Box<dyn FnMut(&Request) -> Option<Fault> + Send>;

struct State {
    store: Mutex<Store>,
    rules: Mutex<Vec<Rule>>,
    ways: Mutex<Ways>,
    auth: Auth,
}

/// A registry that runs until it is dropped.
pub struct Registry {
    server: HttpServer,
    state: Arc<State>,
}

impl Deref for Registry {
    type Target = HttpServer;

    fn deref(&self) -> &HttpServer {
        &self.server
    }
}

impl Registry {
    /// An open registry that speaks plain HTTP.
    pub fn start() -> Self {
        Registry::with(Auth::Open, None)
    }

    pub fn with(auth: Auth, tls: Option<Arc<rustls::ServerConfig>>) -> Self {
        let ways = Ways {
            ranges: true,
            referrers: true,
            mounts: true,
            deletes: true,
            keeps_cut: true,
            appends: false,
            absolute: false,
            page: usize::MAX,
            body_limit: u64::MAX,
            chunk_min: None,
        };
        let state = Arc::new(State {
            store: Mutex::default(),
            rules: Mutex::default(),
            ways: Mutex::new(ways),
            auth,
        });
        let server = {
            let state = state.clone();
            HttpServer::start(tls, move |request, body| state.answer(request, body))
        };
        Registry { server, state }
    }

    /// Changes the registry's ways.
    pub fn ways(&self, change: impl FnOnce(&mut Ways)) {
        change(&mut lock(&self.state.ways));
    }

    /// Adds a rule. The first rule that names a fault for a request counts.
    pub fn on(&self, rule: impl FnMut(&Request) -> Option<Fault> + Send + 'static) {
        lock(&self.state.rules).push(Box::new(rule));
    }

    /// Adds a rule for the first `times` requests of one sort (as `calls` names them).
    pub fn first(
        &self,
        times: usize,
        call: &'static str,
        mut fault: impl FnMut(&Request) -> Fault + Send + 'static,
    ) {
        let mut left = times;
        self.on(move |request| {
            if left == 0 || call_of(request) != call {
                return None;
            }
            left -= 1;
            Some(fault(request))
        });
    }

    /// Takes all rules away.
    pub fn behave(&self) {
        lock(&self.state.rules).clear();
    }

    /// What was asked, as the method and what it was asked of: `GET ping`, `HEAD blob`, `POST
    /// uploads`, `PATCH upload`, `PUT manifest`, `GET tags`.
    pub fn calls(&self) -> Vec<String> {
        self.requests().iter().map(call_of).collect()
    }

    /// How often something was asked, as `calls` names it.
    pub fn count(&self, call: &str) -> usize {
        self.calls().iter().filter(|other| *other == call).count()
    }

    /// Puts a blob into a repository.
    pub fn put_blob(&self, repository: &str, content: Content) -> Digest {
        let digest = content.digest();
        self.put_blob_as(repository, &digest, content);
        digest
    }

    /// Puts a blob there under a digest that need not be its own.
    pub fn put_blob_as(&self, repository: &str, digest: &Digest, content: Content) {
        let mut store = lock(&self.state.store);
        let repository = store.repositories.entry(repository.to_owned()).or_default();
        repository.blobs.insert(digest.clone(), (content.len(), Some(content)));
    }

    /// Puts a manifest into a repository under its digest, and under a tag; nothing is checked.
    pub fn put_manifest(
        &self,
        repository: &str,
        tag: Option<&str>,
        media_type: &str,
        bytes: impl Into<Vec<u8>>,
    ) -> Digest {
        let bytes = bytes.into();
        let digest = Digest::of(&bytes);
        let value = serde_json::from_slice(&bytes).unwrap_or_default();
        let mut store = lock(&self.state.store);
        let repository = store.repositories.entry(repository.to_owned()).or_default();
        repository.manifests.insert(
            digest.to_string(),
            Manifest { media_type: media_type.to_owned(), bytes, value },
        );
        if let Some(tag) = tag {
            repository.tags.insert(tag.to_owned(), digest.to_string());
        }
        digest
    }

    /// The digest that a tag names.
    pub fn tag(&self, repository: &str, tag: &str) -> Option<String> {
        lock(&self.state.store).repositories.get(repository)?.tags.get(tag).cloned()
    }

    /// A manifest's bytes.
    pub fn manifest(&self, repository: &str, digest: &str) -> Option<Vec<u8>> {
        lock(&self.state.store)
            .repositories
            .get(repository)?
            .manifests
            .get(digest)
            .map(|manifest| manifest.bytes.clone())
    }

    /// The digests of a repository's blobs and their sizes, in order.
    pub fn blobs(&self, repository: &str) -> Vec<(String, u64)> {
        let store = lock(&self.state.store);
        let blobs =
            store.repositories.get(repository).into_iter().flat_map(|repository| &repository.blobs);
        let mut list: Vec<_> = blobs.map(|(digest, (len, _))| (digest.to_string(), *len)).collect();
        list.sort();
        list
    }

    /// Uploads that began and did not end.
    pub fn open_uploads(&self) -> usize {
        lock(&self.state.store).uploads.len()
    }
}

/// What a path means.
enum Target<'a> {
    Ping,
    Catalog,
    Tags(&'a str),
    Manifest(&'a str, &'a str),
    Referrers(&'a str, &'a str),
    Blob(&'a str, &'a str),
    Uploads(&'a str),
    Upload(&'a str, u64),
    Unknown,
}

fn target(path: &str) -> Target<'_> {
    let Some(rest) = path.strip_prefix("/v2") else { return Target::Unknown };
    let rest = rest.strip_prefix('/').unwrap_or(rest);
    match rest {
        "" => return Target::Ping,
        "_catalog" => return Target::Catalog,
        _ => {}
    }
    if let Some(name) = rest.strip_suffix("/tags/list") {
        return Target::Tags(name);
    }
    if let Some((name, id)) = rest.rsplit_once("/blobs/uploads") {
        return match id.trim_start_matches('/') {
            "" => Target::Uploads(name),
            id => id.parse().map_or(Target::Unknown, |id| Target::Upload(name, id)),
        };
    }
    let Some((front, last)) = rest.rsplit_once('/') else { return Target::Unknown };
    match front.rsplit_once('/') {
        Some((name, "manifests")) => Target::Manifest(name, last),
        Some((name, "referrers")) => Target::Referrers(name, last),
        Some((name, "blobs")) => Target::Blob(name, last),
        _ => Target::Unknown,
    }
}

/// A request's method and what it is asked of.
pub fn call_of(request: &Request) -> String {
    let what = match target(&request.path) {
        Target::Ping => "ping",
        Target::Catalog => "catalog",
        Target::Tags(_) => "tags",
        Target::Manifest(..) => "manifest",
        Target::Referrers(..) => "referrers",
        Target::Blob(..) => "blob",
        Target::Uploads(_) => "uploads",
        Target::Upload(..) => "upload",
        Target::Unknown => "unknown",
    };
    format!("{} {what}", request.method)
}

impl State {
    fn answer(&self, request: &Request, body: &mut Body<'_>) -> Response {
        let fault = lock(&self.rules).iter_mut().find_map(|rule| rule(request));
        match fault {
            Some(Fault::Answer(response)) => response,
            Some(Fault::Change(change)) => change(self.right_answer(request, body)),
            Some(Fault::Wait(wait, change)) => {
                wait();
                change(self.right_answer(request, body))
            }
            Some(Fault::CutRequest(after)) => {
                body.stop_after(after, false);
                self.right_answer(request, body)
            }
            Some(Fault::StallRequest(after)) => {
                body.stop_after(after, true);
                self.right_answer(request, body)
            }
            Some(Fault::SlowRequest(bytes, every)) => {
                body.slow(bytes, every);
                self.right_answer(request, body)
            }
            None => self.right_answer(request, body),
        }
    }

    fn right_answer(&self, request: &Request, body: &mut Body<'_>) -> Response {
        let target = target(&request.path);
        if let Some(refusal) = self.refusal(request, &target) {
            return refusal;
        }
        let ways = lock(&self.ways).clone();
        if request
            .header("Content-Length")
            .and_then(|length| length.parse().ok())
            .is_some_and(|length: u64| length > ways.body_limit)
        {
            return Response::new(413)
                .body("<html>413 Request Entity Too Large</html>")
                .with("Content-Type", "text/html");
        }
        let answer = match (request.method.as_str(), target) {
            ("GET" | "HEAD", Target::Ping) => Ok(Response::json(200, &json!({}))),
            ("GET", Target::Catalog) => self.catalog(request, &ways),
            ("GET", Target::Tags(name)) => self.tags(request, name, &ways),
            ("GET" | "HEAD", Target::Manifest(name, reference)) => {
                self.get_manifest(name, reference)
            }
            ("PUT", Target::Manifest(name, reference)) => {
                self.put_manifest(request, body, name, reference, &ways)
            }
            ("DELETE", Target::Manifest(name, reference)) if ways.deletes => {
                self.delete_manifest(name, reference)
            }
            ("GET", Target::Referrers(name, digest)) if ways.referrers => {
                self.referrers(request, name, digest, &ways)
            }
            ("GET" | "HEAD", Target::Blob(name, digest)) => {
                self.get_blob(request, name, digest, &ways)
            }
            ("DELETE", Target::Blob(name, digest)) if ways.deletes => {
                self.delete_blob(name, digest)
            }
            ("POST", Target::Uploads(name)) => self.begin(request, body, name, &ways),
            (_, Target::Upload(name, id)) => self.upload(request, body, name, id, &ways),
            (_, Target::Unknown | Target::Referrers(..)) => {
                Err(Response::new(404).body("404 page not found\n"))
            }
            _ => Err(Response::error(405, "UNSUPPORTED", "the operation is unsupported")),
        };
        answer.unwrap_or_else(|error| error).with("Docker-Distribution-API-Version", "registry/2.0")
    }

    /// The answer to somebody who may not do this.
    fn refusal(&self, request: &Request, target: &Target<'_>) -> Option<Response> {
        let action =
            if matches!(request.method.as_str(), "GET" | "HEAD") { "pull" } else { "push" };
        let scope = match target {
            Target::Ping | Target::Unknown => None,
            Target::Catalog => Some(("registry", "catalog", "*")),
            Target::Tags(name)
            | Target::Manifest(name, _)
            | Target::Referrers(name, _)
            | Target::Blob(name, _)
            | Target::Uploads(name)
            | Target::Upload(name, _) => Some((
                "repository",
                *name,
                if request.method == "DELETE" && !name.is_empty() { "delete" } else { action },
            )),
        };
        let challenge = match &self.auth {
            Auth::Open => return None,
            Auth::Basic(user, password) => {
                if request
                    .basic()
                    .is_some_and(|(given, secret)| given == *user && secret == *password)
                {
                    return None;
                }
                "Basic realm=\"test\"".to_owned()
            }
            Auth::Bearer(tokens) => {
                let token =
                    request.header("Authorization").and_then(|value| value.strip_prefix("Bearer "));
                match token {
                    Some(token) if tokens.allows(token, scope) => return None,
                    _ => tokens.challenge(scope, token.is_some()),
                }
            }
        };
        Some(
            Response::error(401, "UNAUTHORIZED", "authentication required")
                .with("WWW-Authenticate", challenge),
        )
    }
}

/// What is answered, or the error that is.
type Answer = Result<Response, Response>;

fn hash(algorithm: Algorithm, bytes: &[u8]) -> Digest {
    let mut hasher = Hasher::new(algorithm);
    hasher.update(bytes);
    hasher.finish()
}

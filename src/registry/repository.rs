//! A repository in a registry: one function an endpoint (distribution-spec, "Endpoints").

use std::collections::HashMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use reqwest::header::{ACCEPT, CONTENT_RANGE, CONTENT_TYPE, HeaderName, RANGE};
use reqwest::{Method, StatusCode};
use serde::Deserialize;
use url::Url;

use super::Client;
use super::answer::{header, length, media_type, said_digest};
use super::asked::{Asked, Endpoint, Side};
use super::auth::Scope;
use super::host::Attempts;
use super::http::{Call, Content, Registry};
use super::pages::{self, Pages};
use super::refusal::Refusal;
use super::transport::Response;
use crate::digest::Digest;
use crate::manifest::RawManifest;
use crate::names::{RepositoryName, TagOrDigest};
use crate::oci::{self, Descriptor, Index, MAX_MANIFEST};
use crate::referrers::MAX_REFERRERS;
use crate::{Error, Kind, Result, json};

/// What a registry that knows referrers answers to a manifest with a subject (distribution-spec,
/// "Pushing Manifests with Subject").
const SUBJECT: HeaderName = HeaderName::from_static("oci-subject");

/// Every kind of document that we can read.
pub(super) const MANIFESTS: &str = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.v2+json, application/vnd.docker.distribution.manifest.list.v2+json";

/// What a repository is opened for; a registry is asked for no more than that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Access {
    /// Reading.
    Pull,
    /// Reading and writing.
    Push,
    /// Deleting.
    Delete,
}

/// A repository in a registry. What it takes of its [`Client`] it shares with it, so both may be kept
/// in one struct:
///
/// ```
/// use osimage::registry::{Access, Client, Repository, Settings, credentials::Credentials};
///
/// struct Controller {
///     client: Client,
///     releases: Repository,
/// }
///
/// # fn main() -> osimage::Result<()> {
/// let client = Client::new(Settings::new(), Credentials::from_env(Vec::new()));
/// let releases = client.repository(&"registry.example/os".parse()?, Access::Pull)?;
/// let controller = Controller { client, releases };
/// assert_eq!(controller.releases.name().path(), "os");
/// # Ok(())
/// # }
/// ```
pub struct Repository {
    pub(super) registry: Arc<Registry>,
    pub(super) name: RepositoryName,
    pub(super) scopes: Vec<Scope>,
    side: Side,
    /// Another repository of the same registry that may have what is to be pushed.
    pub(super) mount: Option<Mount>,
    /// Where the registry sends for the content of blobs, as long as that place answers; such an
    /// address is a secret.
    pub(super) places: Mutex<HashMap<Digest, Url>>,
    /// What was put with a subject (the digest) whose list the registry does not keep, and is not
    /// listed yet.
    pub(super) unlisted: Mutex<Vec<(Digest, Descriptor)>>,
}

/// Where content may be taken over from.
pub(super) struct Mount {
    pub from: String,
    /// What that takes: the repository's own scopes, and reading there.
    pub scopes: Vec<Scope>,
    /// The registry does not let us.
    pub refused: AtomicBool,
}

/// An address, and what a client must send along to get what lies there.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Locator {
    /// The address.
    pub url: String,
    /// Names and values of headers, for the registry alone.
    pub headers: Vec<(String, String)>,
}

impl Repository {
    pub(super) fn new(client: &Client, name: &RepositoryName, access: Access) -> Result<Self> {
        let path = name.path().to_owned();
        let (scope, side) = match access {
            Access::Pull => (Scope::Pull(path), Side::Source),
            Access::Push => (Scope::Push(path), Side::Target),
            Access::Delete => (Scope::Delete(path), Side::Target),
        };
        Ok(Repository {
            registry: client.registry(name.host())?,
            name: name.clone(),
            scopes: vec![scope],
            side,
            mount: None,
            places: Mutex::default(),
            unlisted: Mutex::default(),
        })
    }

    /// Names another repository, from which content is taken over where it is one of the same
    /// registry and has it (distribution-spec, "Mounting a blob from another repository"); the
    /// registry is asked for leave to read there. Where it gives none, the content is sent.
    #[must_use]
    pub fn mounting_from(mut self, from: &RepositoryName) -> Self {
        if from.host() == self.name.host() && from != &self.name {
            let mut scopes = self.scopes.clone();
            scopes.push(Scope::Pull(from.path().to_owned()));
            let from = from.path().to_owned();
            self.mount = Some(Mount { from, scopes, refused: AtomicBool::new(false) });
        }
        self
    }

    /// The repository's name.
    pub fn name(&self) -> &RepositoryName {
        &self.name
    }

    pub(super) fn url(&self, rest: &str) -> Url {
        self.registry.host.url(&format!("{}/{rest}", self.name.path()), &[])
    }

    pub(super) fn asked(&self, endpoint: Endpoint) -> Asked {
        Asked::of_repository(&self.name, endpoint, self.side)
    }

    pub(super) fn call(&self, method: Method, url: Url, endpoint: Endpoint) -> Call<'_> {
        Call::new(method, url, &self.scopes, self.asked(endpoint))
    }

    /// What a tag or a digest points to; `None` where there is nothing. It is what the registry
    /// says.
    ///
    /// # Errors
    /// [`Error::Unauthorised`], [`Error::Network`], and where the registry answers nonsense.
    pub fn find(&self, reference: impl Into<TagOrDigest>) -> Result<Option<Descriptor>> {
        let reference = reference.into();
        match self.glance(&reference)? {
            Some(found) => Ok(Some(found)),
            // Some registries, and what stands before them, know nothing of a HEAD. A tag that
            // seems to be free would be taken from its image.
            None => self.read(&reference),
        }
    }

    /// As [`find`](Self::find), but takes a registry's no to a HEAD for one: where it is wrong,
    /// only work is done again.
    pub(super) fn glance(&self, reference: impl Into<TagOrDigest>) -> Result<Option<Descriptor>> {
        let reference = reference.into();
        let call = self
            .call(
                Method::HEAD,
                self.url(&format!("manifests/{reference}")),
                Endpoint::Manifest(reference.clone()),
            )
            .header(ACCEPT, MANIFESTS);
        let response = match self.registry.call(&call, &[200, 404]) {
            Ok(response) if response.status == StatusCode::NOT_FOUND => return Ok(None),
            Ok(response) => response,
            // The answer to a GET says more of what is wrong, if it is not the HEAD alone.
            Err(e) if Refusal::behind(&e).is_some_and(Refusal::may_be_the_method) => {
                return self.read(&reference);
            }
            Err(e) => return Err(e),
        };
        // Some registries tell neither digest nor length to a HEAD; then the document itself does.
        let headers = &response.headers;
        match (media_type(headers)?, said_digest(headers)?, length(headers)?) {
            (Some(media_type), Some(digest), Some(length)) => {
                Ok(Some(Descriptor::new(media_type, digest, length)))
            }
            _ => self.read(&reference),
        }
    }

    fn read(&self, reference: &TagOrDigest) -> Result<Option<Descriptor>> {
        match self.manifest(reference) {
            Ok(found) => Ok(Some(found.descriptor().clone())),
            Err(e) if Refusal::behind(&e).is_some_and(|no| no.status() == 404) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Whether a manifest or an index is there.
    ///
    /// # Errors
    /// As [`find`](Self::find).
    pub fn has_manifest(&self, descriptor: &Descriptor) -> Result<bool> {
        let found = self.glance(&descriptor.digest)?;
        Ok(found.is_some_and(|found| found.digest == descriptor.digest))
    }

    /// Reads the manifest or the index that a tag or a digest points to. Its digest is that of the
    /// bytes that came.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Invalid`] where it is too large, is not what the digest or the
    /// registry says, or is no document that can be read in one way only.
    pub fn manifest(&self, reference: impl Into<TagOrDigest>) -> Result<RawManifest> {
        let reference = reference.into();
        let call = self
            .call(
                Method::GET,
                self.url(&format!("manifests/{reference}")),
                Endpoint::Manifest(reference.clone()),
            )
            .header(ACCEPT, MANIFESTS);
        let (response, bytes) = self.registry.fetch(&call, &[200], MAX_MANIFEST)?;
        let asked = &call.asked;
        let wanted = reference.digest();
        let digest = wanted
            .as_ref()
            .map_or_else(|| Digest::of(&bytes), |wanted| Digest::with(wanted.algorithm(), &bytes));
        let said =
            said_digest(&response.headers)?.filter(|said| said.algorithm() == digest.algorithm());
        for promised in wanted.into_iter().chain(&said) {
            if *promised != digest {
                return Err(Error::invalid(format!(
                    "{asked} hashes to {digest}, but {} promised {promised}",
                    self.name.host()
                ))
                .with_hint("do not use it; tell whoever runs the registry"));
            }
        }
        let media_type = media_type(&response.headers)?.ok_or_else(|| {
            Error::invalid(format!("{asked} comes without a type"))
                .with_hint("check that a registry answers there")
        })?;
        let descriptor = Descriptor::new(media_type, digest, bytes.len() as u64);
        RawManifest::checked(&descriptor, bytes)
            .map_err(|e| e.with_hint(format!("it came from {}; tell whoever made it", self.name)))
    }

    /// As [`manifest`](Self::manifest); `None` where there is none.
    pub(super) fn manifest_if_any(
        &self,
        reference: impl Into<TagOrDigest>,
    ) -> Result<Option<RawManifest>> {
        match self.manifest(reference) {
            Err(e) if e.kind() == Kind::NotFound => Ok(None),
            found => found.map(Some),
        }
    }

    /// Puts a manifest or an index under a tag or under its digest. Says whether the registry keeps
    /// the list of what is attached to its subject itself (distribution-spec, "Pushing
    /// Manifests with Subject").
    ///
    /// # Errors
    /// [`Error::Unauthorised`], [`Error::Network`], [`Error::Rejected`], [`Error::Invalid`] where
    /// the registry stored something else.
    pub fn put_manifest(
        &self,
        reference: impl Into<TagOrDigest>,
        manifest: &RawManifest,
    ) -> Result<bool> {
        let reference = reference.into();
        let mut attempts = Attempts::new(&self.registry.host);
        loop {
            if let Some(knows_subject) = self.try_to_put(&reference, manifest, &mut attempts)? {
                return Ok(knows_subject);
            }
        }
    }

    /// As [`put_manifest`](Self::put_manifest), but once; `None` where it failed in a way that may
    /// pass.
    pub(super) fn try_to_put(
        &self,
        reference: &TagOrDigest,
        manifest: &RawManifest,
        attempts: &mut Attempts<'_>,
    ) -> Result<Option<bool>> {
        let descriptor = manifest.descriptor();
        let call = self
            .call(
                Method::PUT,
                self.url(&format!("manifests/{reference}")),
                Endpoint::PutManifest(reference.clone()),
            )
            .made_header(CONTENT_TYPE, &descriptor.media_type)?
            .content(Content::Bytes(Bytes::copy_from_slice(manifest.bytes())));
        let Some(response) = self.registry.attempt(&call, &[201, 200, 202], attempts)? else {
            return Ok(None);
        };
        if let Some(said) = said_digest(&response.headers)?.filter(|said| {
            said.algorithm() == descriptor.digest.algorithm() && *said != descriptor.digest
        }) {
            return Err(Error::invalid(format!(
                "{} stored {said} instead of {}",
                self.name.host(),
                descriptor.digest
            ))
            .with_hint("do not use it; tell whoever runs the registry"));
        }
        Ok(Some(response.headers.contains_key(SUBJECT)))
    }

    /// Deletes a manifest by its digest, or a tag.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Unauthorised`]; [`Error::Rejected`] where the registry cannot
    /// delete.
    pub fn delete(&self, reference: impl Into<TagOrDigest>) -> Result<()> {
        let reference = reference.into();
        let call = self.call(
            Method::DELETE,
            self.url(&format!("manifests/{reference}")),
            Endpoint::DeleteManifest(reference.clone()),
        );
        let mut response = self.registry.call(&call, &[202, 200, 204, 400, 405])?;
        if response.status.is_success() {
            return Ok(());
        }
        // docker-registry takes a tag here for a digest that is none.
        let refusal = Refusal::of(&mut response, &call.asked);
        Err(Error::rejected(format!(
            "{} cannot delete {reference} of {} ({refusal})",
            self.name.host(),
            self.name.path()
        ))
        .with_hint("whoever runs the registry can allow deletion")
        .with_source(refusal))
    }

    /// Deletes a blob (distribution-spec, "Deleting Blobs"), whatever points to it.
    ///
    /// # Errors
    /// As [`delete`](Self::delete).
    pub fn delete_blob(&self, digest: &Digest) -> Result<()> {
        let call = self.call(
            Method::DELETE,
            self.url(&format!("blobs/{digest}")),
            Endpoint::DeleteBlob(digest.clone()),
        );
        self.registry.call(&call, &[202, 200, 204]).map(drop)
    }

    /// Whether a blob is there.
    ///
    /// # Errors
    /// [`Error::Unauthorised`], [`Error::Network`].
    pub fn has_blob(&self, descriptor: &Descriptor) -> Result<bool> {
        match self.head_blob(&descriptor.digest) {
            Ok(response) if response.status == StatusCode::NOT_FOUND => Ok(false),
            Ok(response) => {
                Ok(length(&response.headers)?.is_none_or(|length| length == descriptor.size))
            }
            // Who knows nothing of a HEAD gets it anew, at the worst; who we are comes out then.
            Err(e)
                if Refusal::behind(&e).is_some_and(|no| matches!(no.status(), 400 | 405 | 501)) =>
            {
                Ok(false)
            }
            Err(e) => Err(e),
        }
    }

    /// Finds a blob of which only the digest is known.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Unauthorised`], [`Error::Network`]; [`Error::Invalid`] where
    /// the registry does not tell its size.
    pub fn blob(&self, digest: &Digest) -> Result<Descriptor> {
        let described = |size| Descriptor::new("application/octet-stream", digest.clone(), size);
        let told = match self.head_blob(digest) {
            Ok(response) if response.status == StatusCode::OK => length(&response.headers)?,
            Ok(_) => None,
            Err(e) if Refusal::behind(&e).is_some_and(Refusal::may_be_the_method) => None,
            Err(e) => return Err(e),
        };
        if let Some(size) = told {
            return Ok(described(size));
        }
        // A HEAD need not tell a length (RFC 9110, 9.3.2). A part of the content tells that of the
        // whole; the body is not read.
        let call = self
            .call(Method::GET, self.url(&format!("blobs/{digest}")), Endpoint::Blob(digest.clone()))
            .header(RANGE, "bytes=0-0");
        // An empty blob has no first byte.
        let mut response = self.registry.call(&call, &[200, 206, 416])?;
        let whole = header(&response.headers, CONTENT_RANGE)?
            .and_then(|range| range.rsplit_once('/')?.1.parse().ok());
        let size = match response.status {
            StatusCode::OK => length(&response.headers)?,
            _ => whole,
        };
        if let Some(size) = size {
            return Ok(described(size));
        }
        if response.status != StatusCode::OK {
            return Err(Error::invalid(format!(
                "{} does not tell the size of {digest}",
                self.name.host()
            )));
        }
        // It comes in chunks, and only its end tells.
        let size = std::io::copy(&mut response.body, &mut std::io::sink()).map_err(|e| {
            Error::network(format!("the connection to {} broke: {e}", self.name.host()))
        })?;
        Ok(described(size))
    }

    fn head_blob(&self, digest: &Digest) -> Result<Response> {
        let call = self.call(
            Method::HEAD,
            self.url(&format!("blobs/{digest}")),
            Endpoint::Blob(digest.clone()),
        );
        self.registry.call(&call, &[200, 404])
    }

    /// The tags, in the registry's order.
    ///
    /// # Errors
    /// [`Error::NotFound`] where there is no such repository; [`Error::Invalid`] where the list has
    /// no end.
    pub fn tags(&self) -> Result<Vec<String>> {
        #[derive(Deserialize)]
        struct Page {
            tags: Option<Vec<String>>,
        }
        let asked = self.asked(Endpoint::Tags);
        pages::names(&self.registry, self.url("tags/list"), &self.scopes, &asked, |bytes| {
            Ok(serde_json::from_slice::<Page>(bytes)?.tags.unwrap_or_default())
        })
    }

    /// What is attached to a manifest, as its registry lists it (distribution-spec, "Listing
    /// Referrers"); `None` where the registry has no such list. Whether it is really attached
    /// is for the reader to check.
    ///
    /// # Errors
    /// [`Error::Invalid`] where there are too many, or the list is none.
    pub(crate) fn listed_referrers(&self, digest: &Digest) -> Result<Option<Vec<Descriptor>>> {
        let asked = self.asked(Endpoint::Referrers(digest.clone()));
        let first = self.url(&format!("referrers/{digest}"));
        // All pages together are one list.
        let mut pages = Pages::new(&self.registry, first, MAX_MANIFEST, &asked);
        let mut found = Vec::new();
        let good = &[200, 400, 404, 405, 501];
        while let Some((response, bytes)) = pages.read(&self.scopes, oci::INDEX, good)? {
            // Registries without the list answer with a page of their own, or with an error. Once one
            // has sent a page, the next one that is none leaves the list cut short.
            if response.status != StatusCode::OK
                || media_type(&response.headers)?.as_deref() != Some(oci::INDEX)
            {
                return match pages.is_first() {
                    true => Ok(None),
                    false => Err(Error::invalid(format!(
                        "a further page of {asked} is none ({})",
                        response.status
                    ))
                    .with_hint("run the command again, or tell whoever runs the registry")),
                };
            }
            found.extend(json::from_slice::<Index>(&bytes, &asked)?.manifests);
            if found.len() > MAX_REFERRERS {
                return Err(Error::invalid(format!(
                    "{asked} has more than {MAX_REFERRERS} entries; more are not read"
                )));
            }
        }
        Ok(Some(found))
    }

    /// Where a manifest lies, with the headers that this registry asks for.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Unauthorised`], [`Error::Network`].
    pub fn locate_manifest(
        &self,
        reference: impl Into<TagOrDigest>,
        media_type: &str,
    ) -> Result<Locator> {
        let reference = reference.into();
        let mut locator = self.locator(self.url(&format!("manifests/{reference}")))?;
        locator.headers.insert(0, ("Accept".to_owned(), media_type.to_owned()));
        Ok(locator)
    }

    /// Where a blob lies, with the headers that this registry asks for.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Unauthorised`], [`Error::Network`].
    pub fn locate_blob(&self, digest: &Digest) -> Result<Locator> {
        self.locator(self.url(&format!("blobs/{digest}")))
    }

    /// Where a blob's registry sends whoever fetches it, if it sends elsewhere: an address that
    /// needs no headers.
    ///
    /// # Errors
    /// As [`locate_blob`](Self::locate_blob).
    pub fn redirected_blob(&self, digest: &Digest) -> Result<Option<Locator>> {
        // A signature is often for one method only, so this is asked as it will be fetched; the
        // body is not read.
        let call = self.call(
            Method::GET,
            self.url(&format!("blobs/{digest}")),
            Endpoint::Blob(digest.clone()),
        );
        let response = self.registry.call(&call, &[200])?;
        let url = Some(response.url).filter(|url| !self.registry.host.is_own(url));
        Ok(url.map(|url| Locator { url: url.into(), headers: Vec::new() }))
    }

    fn locator(&self, url: Url) -> Result<Locator> {
        let registry = &self.registry;
        let authorization = registry.auth.authorization(&registry.host, &self.scopes)?;
        let value = authorization
            .map(|value| value.to_str().map(str::to_owned).expect("it was made of text"));
        Ok(Locator {
            url: url.into(),
            headers: value.map(|value| ("Authorization".to_owned(), value)).into_iter().collect(),
        })
    }
}

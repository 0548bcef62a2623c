//! A repository in a registry: one function an endpoint (distribution-spec, "Endpoints").

use std::collections::HashSet;
use std::io::Read;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use reqwest::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, LINK};
use reqwest::{Method, StatusCode};
use serde::Deserialize;
use url::Url;

use super::Client;
use super::answer::Refusal;
use super::auth::Scope;
use super::download::Download;
use super::http::{Attempts, Call, Content, Host};
use super::transport::Response;
use crate::digest::Digest;
use crate::manifest::RawManifest;
use crate::names::{RepositoryName, TagOrDigest};
use crate::oci::{self, Descriptor, Index, MAX_MANIFEST};
use crate::referrers::MAX_REFERRERS;
use crate::{Error, Result, json};

/// How many pages of a list are read, and how many names.
const MAX_PAGES: usize = 1_000;
const MAX_NAMES: usize = 100_000;
/// How many bytes all pages of a list of names may have.
const MAX_LIST: usize = 32 * 1024 * 1024;

/// The digest that a registry says content has.
pub(super) const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
/// What a registry that knows referrers answers to a manifest with a subject (distribution-spec,
/// "Pushing Manifests with Subject").
const SUBJECT: HeaderName = HeaderName::from_static("oci-subject");

/// Every kind of document that we can read.
pub(super) const MANIFESTS: &str = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.v2+json, application/vnd.docker.distribution.manifest.list.v2+json";

/// What a repository is opened for; a registry is asked for no more than that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Reading.
    Pull,
    /// Reading and writing.
    Push,
    /// Deleting.
    Delete,
}

/// A repository in a registry.
pub struct Repository<'a> {
    pub(super) client: &'a Client,
    pub(super) host: Arc<Host>,
    pub(super) name: RepositoryName,
    pub(super) scopes: Vec<Scope>,
    /// Another repository of the same registry that may have what is to be pushed.
    pub(super) mount_from: Option<String>,
    /// What was put with a subject (the digest) whose list the registry does not keep, and is not
    /// listed yet.
    pub(super) unlisted: Mutex<Vec<(Digest, Descriptor)>>,
}

/// An address, and what a client must send along to get what lies there.
#[derive(Debug, Clone)]
pub struct Locator {
    /// The address.
    pub url: Url,
    /// Names and values of headers, for the registry alone.
    pub headers: Vec<(String, String)>,
}

impl<'a> Repository<'a> {
    pub(super) fn new(client: &'a Client, name: &RepositoryName, access: Access) -> Result<Self> {
        let path = name.path().to_owned();
        let scope = match access {
            Access::Pull => Scope::Pull(path),
            Access::Push => Scope::Push(path),
            Access::Delete => Scope::Delete(path),
        };
        Ok(Repository {
            client,
            host: client.host(name.host())?,
            name: name.clone(),
            scopes: vec![scope],
            mount_from: None,
            unlisted: Mutex::default(),
        })
    }

    /// Names another repository, from which, where it is of the same registry, content is taken over where it has
    /// it (distribution-spec, "Mounting a blob from another repository"); the registry is asked
    /// for leave to read there.
    #[must_use]
    pub fn mounting_from(mut self, from: &RepositoryName) -> Self {
        if from.host() == self.name.host() && from != &self.name {
            self.scopes.push(Scope::Pull(from.path().to_owned()));
            self.mount_from = Some(from.path().to_owned());
        }
        self
    }

    /// The repository's name.
    pub fn name(&self) -> &RepositoryName {
        &self.name
    }

    pub(super) fn url(&self, rest: &str) -> Url {
        self.host.url(&format!("{}/{rest}", self.name.path()), &[])
    }

    pub(super) fn call(&self, method: Method, url: Url) -> Call<'_> {
        Call::new(method, url, &self.scopes)
    }

    /// What a tag or a digest points to, without reading it; `None` where there is nothing. It is
    /// what the registry says.
    ///
    /// # Errors
    /// [`Error::Unauthorised`], [`Error::Network`], and where the registry answers nonsense.
    pub fn find(&self, reference: impl Into<TagOrDigest>) -> Result<Option<Descriptor>> {
        let reference = reference.into();
        let what = format!("the manifest {reference} of {}", self.name);
        let call = self
            .call(Method::HEAD, self.url(&format!("manifests/{reference}")))
            .header(ACCEPT, MANIFESTS);
        let response = self.client.call(&self.host, &call, &[200, 404], &what)?;
        if response.status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        // Some registries tell neither digest nor length to a HEAD; then the document itself does.
        let length =
            header(&response.headers, CONTENT_LENGTH).and_then(|length| length.parse().ok());
        match (media_type(&response.headers), said_digest(&response)?, length) {
            (Some(media_type), Some(digest), Some(length)) => {
                Ok(Some(Descriptor::new(media_type, digest, length)))
            }
            _ => self.manifest(&reference).map(|found| Some(found.descriptor().clone())),
        }
    }

    /// Whether a manifest or an index is there.
    ///
    /// # Errors
    /// As [`find`](Self::find).
    pub fn has_manifest(&self, descriptor: &Descriptor) -> Result<bool> {
        Ok(self.find(&descriptor.digest)?.is_some_and(|found| found.digest == descriptor.digest))
    }

    /// Reads the manifest or the index that a tag or a digest points to. Its digest is that of the
    /// bytes that came.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Invalid`] where it is too large, is not what the digest or the
    /// registry says, or is no document that can be read in one way only.
    pub fn manifest(&self, reference: impl Into<TagOrDigest>) -> Result<RawManifest> {
        let reference = reference.into();
        let what = format!("the manifest {reference} of {}", self.name);
        let call = self
            .call(Method::GET, self.url(&format!("manifests/{reference}")))
            .header(ACCEPT, MANIFESTS);
        let (response, bytes) =
            self.client.fetch(&self.host, &call, &[200], MAX_MANIFEST, &what)?;
        let wanted = reference.digest();
        let digest = wanted
            .as_ref()
            .map_or_else(|| Digest::of(&bytes), |wanted| Digest::with(wanted.algorithm(), &bytes));
        let said = said_digest(&response)?.filter(|said| said.algorithm() == digest.algorithm());
        for promised in wanted.into_iter().chain(&said) {
            if *promised != digest {
                return Err(Error::invalid(format!(
                    "{what} hashes to {digest}, but {} promised {promised}",
                    self.name.host()
                ))
                .with_hint("do not use it; tell whoever runs the registry"));
            }
        }
        let media_type = media_type(&response.headers).ok_or_else(|| {
            Error::invalid(format!("{what} comes without a type"))
                .with_hint("check that a registry answers there")
        })?;
        let descriptor = Descriptor::new(media_type, digest, bytes.len() as u64);
        RawManifest::parse(&descriptor, bytes)
            .map_err(|e| e.with_hint(format!("it came from {}; tell whoever made it", self.name)))
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
        let mut attempts = Attempts::new(self.client, &self.host);
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
        let what = format!("putting the manifest {reference} into {}", self.name);
        let call = self.call(Method::PUT, self.url(&format!("manifests/{reference}")));
        let call = call
            .header(CONTENT_TYPE, &descriptor.media_type)
            .content(Content::Bytes(Bytes::copy_from_slice(manifest.bytes())));
        let Some(response) =
            self.client.attempt(&self.host, &call, &[201, 200, 202], &what, attempts)?
        else {
            return Ok(None);
        };
        if let Some(said) = said_digest(&response)?.filter(|said| {
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
        let what = format!("deleting {reference} in {}", self.name);
        let call = self.call(Method::DELETE, self.url(&format!("manifests/{reference}")));
        let mut response =
            self.client.call(&self.host, &call, &[202, 200, 204, 400, 405], &what)?;
        if response.status.is_success() {
            return Ok(());
        }
        // docker-registry takes a tag here for a digest that is none.
        let words = Refusal::of(&mut response).words();
        Err(Error::rejected(format!(
            "{} cannot delete {reference} of {} ({words})",
            self.name.host(),
            self.name.path()
        ))
        .with_hint("whoever runs the registry can allow deletion"))
    }

    /// Whether a blob is there.
    ///
    /// # Errors
    /// [`Error::Unauthorised`], [`Error::Network`].
    pub fn has_blob(&self, descriptor: &Descriptor) -> Result<bool> {
        let response = self.head_blob(&descriptor.digest, &[200, 404])?;
        let length =
            header(&response.headers, CONTENT_LENGTH).and_then(|length| length.parse::<u64>().ok());
        Ok(response.status == StatusCode::OK
            && length.is_none_or(|length| length == descriptor.size))
    }

    /// Finds a blob of which only the digest is known.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Unauthorised`], [`Error::Network`]; [`Error::Invalid`] where
    /// the registry does not tell its size.
    pub fn blob(&self, digest: &Digest) -> Result<Descriptor> {
        let response = self.head_blob(digest, &[200])?;
        let length =
            header(&response.headers, CONTENT_LENGTH).and_then(|length| length.parse().ok());
        let length = length.ok_or_else(|| {
            Error::invalid(format!("{} does not tell the size of {digest}", self.name.host()))
        })?;
        Ok(Descriptor::new("application/octet-stream", digest.clone(), length))
    }

    fn head_blob(&self, digest: &Digest, good: &[u16]) -> Result<Response> {
        let what = format!("the blob {digest} of {}", self.name);
        let call = self.call(Method::HEAD, self.url(&format!("blobs/{digest}")));
        self.client.call(&self.host, &call, good, &what)
    }

    /// Opens a blob at an offset in bytes; a connection that breaks is taken up again. What comes
    /// out is not checked.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Unauthorised`], [`Error::Network`]; [`Error::Invalid`] where
    /// it has another size.
    pub fn open_blob(
        &self,
        descriptor: &Descriptor,
        offset: u64,
    ) -> Result<impl Read + use<'_, 'a>> {
        Download::open(self, descriptor, offset)
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
        let what = format!("the list of the tags of {}", self.name);
        pages(self.client, &self.host, self.url("tags/list"), &self.scopes, &what, |bytes| {
            Ok(serde_json::from_slice::<Page>(bytes)?.tags.unwrap_or_default())
        })
    }

    /// What is attached to a manifest, as its registry lists it (distribution-spec, "Listing
    /// Referrers"); `None` where the registry has no such list. Whether it is really attached
    /// is for the reader to check.
    ///
    /// # Errors
    /// [`Error::Invalid`] where there are too many, or the list is none.
    pub(super) fn listed_referrers(&self, digest: &Digest) -> Result<Option<Vec<Descriptor>>> {
        let what = format!("the list of what is attached to {digest} in {}", self.name);
        let (mut found, mut visited, mut left) = (Vec::new(), HashSet::new(), MAX_MANIFEST);
        let mut next = Some(self.url(&format!("referrers/{digest}")));
        while let Some(url) = next {
            check_page(&url, &mut visited, &what)?;
            let call = self.call(Method::GET, url.clone()).header(ACCEPT, oci::INDEX);
            let (response, bytes) =
                self.client.fetch(&self.host, &call, &[200, 400, 404, 405], MAX_MANIFEST, &what)?;
            // Registries without the list answer with a page of their own, or with an error.
            if response.status != StatusCode::OK
                || media_type(&response.headers).as_deref() != Some(oci::INDEX)
            {
                return Ok(None);
            }
            // All pages together are one list.
            left = left
                .checked_sub(bytes.len() as u64)
                .ok_or_else(|| too_large(&what, MAX_MANIFEST))?;
            found.extend(json::from_slice::<Index>(&bytes, format_args!("{what}"))?.manifests);
            if found.len() > MAX_REFERRERS {
                return Err(Error::invalid(format!(
                    "{what} has more than {MAX_REFERRERS} entries; more are not read"
                )));
            }
            next = next_page(&self.host, &url, &response.headers)?;
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
    pub fn redirected_blob(&self, digest: &Digest) -> Result<Option<Url>> {
        let what = format!("the blob {digest} of {}", self.name);
        // A signature is often for one method only, so this is asked as it will be fetched; the
        // body is not read.
        let call = self.call(Method::GET, self.url(&format!("blobs/{digest}")));
        let response = self.client.call(&self.host, &call, &[200], &what)?;
        Ok(Some(response.url).filter(|url| url.origin() != self.host.base.origin()))
    }

    fn locator(&self, url: Url) -> Result<Locator> {
        let authorization = self.client.authorization(&self.host, &self.scopes)?;
        let value = authorization
            .map(|value| value.to_str().map(str::to_owned).expect("it was made of text"));
        Ok(Locator {
            url,
            headers: value.map(|value| ("Authorization".to_owned(), value)).into_iter().collect(),
        })
    }
}

/// Every name of a list that comes in pages.
pub(super) fn pages(
    client: &Client,
    host: &Host,
    first: Url,
    scopes: &[Scope],
    what: &str,
    parse: impl Fn(&[u8]) -> Result<Vec<String>, serde_json::Error>,
) -> Result<Vec<String>> {
    let (mut names, mut visited, mut left) = (Vec::new(), HashSet::new(), MAX_LIST);
    let mut next = Some(first);
    while let Some(url) = next {
        check_page(&url, &mut visited, what)?;
        let call = Call::new(Method::GET, url.clone(), scopes).header(ACCEPT, "application/json");
        let (response, bytes) = client.fetch(host, &call, &[200], MAX_MANIFEST, what)?;
        left = left.checked_sub(bytes.len()).ok_or_else(|| too_large(what, MAX_LIST))?;
        let page = parse(&bytes).map_err(|_| {
            Error::invalid(format!("{what} is not one"))
                .with_hint("check that a registry answers there")
        })?;
        names.extend(page);
        if names.len() > MAX_NAMES {
            return Err(Error::invalid(format!(
                "{what} has more than {MAX_NAMES} names; more are not read"
            )));
        }
        next = next_page(host, &url, &response.headers)?;
    }
    Ok(names)
}

fn too_large(what: &str, limit: impl std::fmt::Display) -> Error {
    Error::invalid(format!("{what} is larger than {limit} bytes; more is not read"))
        .with_hint("tell whoever runs the registry")
}

fn check_page(url: &Url, visited: &mut HashSet<Url>, what: &str) -> Result<()> {
    if !visited.insert(url.clone()) {
        return Err(Error::invalid(format!("{what} leads back to a page that was read"))
            .with_hint("tell whoever runs the registry"));
    }
    if visited.len() > MAX_PAGES {
        return Err(Error::invalid(format!(
            "{what} has more than {MAX_PAGES} pages; more are not read"
        )));
    }
    Ok(())
}

/// The next page of a list (RFC 8288; distribution-spec, "Listing Tags").
pub(super) fn next_page(host: &Host, url: &Url, headers: &HeaderMap) -> Result<Option<Url>> {
    let links = headers
        .get_all(LINK)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    for link in links {
        let Some((target, parameters)) =
            link.trim().strip_prefix('<').and_then(|rest| rest.split_once('>'))
        else {
            continue;
        };
        let is_next = parameters
            .split(';')
            .any(|parameter| matches!(parameter.trim(), "rel=\"next\"" | "rel=next"));
        if is_next {
            return host.own_url(url, target, "to the next page of a list").map(Some);
        }
    }
    Ok(None)
}

pub(super) fn header(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

/// The type that a registry says, without its parameters.
fn media_type(headers: &HeaderMap) -> Option<String> {
    let text = header(headers, CONTENT_TYPE)?.split(';').next()?.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

/// The digest that a registry says.
fn said_digest(response: &Response) -> Result<Option<Digest>> {
    header(&response.headers, CONTENT_DIGEST).map(str::parse).transpose()
}

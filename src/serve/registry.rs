//! A registry that is read only, over those behind it (distribution-spec, "Pull"): clients of
//! registries get through it what machines boot, checked and once.

use std::sync::Arc;

use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Method, Response, StatusCode};
use serde_json::json;

use super::body::Body;
use super::failure::Failure;
use super::folder::{From, Served};
use super::images::Images;
use super::reply::{self, Asking, Lasting, text_value};
use super::route::{Api, Image, parameter};
use crate::digest::Digest;
use crate::names::{RepositoryName, TagOrDigest};
use crate::oci::{self, Index};

const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
const VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");
const FILTERS: HeaderName = HeaderName::from_static("oci-filters-applied");
/// How many tags stand in one answer at most.
const MOST_TAGS: usize = 1000;

/// Answers what is asked of a registry.
pub(super) async fn answer(
    asking: &Asking<'_>,
    api: &Api,
    query: &str,
    images: &Arc<Images>,
) -> Response<Body> {
    let unknown = match api {
        Api::Manifest(_) => "MANIFEST_UNKNOWN",
        Api::Blob(..) => "BLOB_UNKNOWN",
        _ => "NAME_UNKNOWN",
    };
    let answered = match api {
        Api::Base => Ok(json_reply(StatusCode::OK, &json!({}))),
        Api::Wrong(code) => {
            let status = match *code {
                "NAME_INVALID" | "DIGEST_INVALID" => StatusCode::BAD_REQUEST,
                _ => StatusCode::NOT_FOUND,
            };
            Ok(error(status, code, "there is no such thing here"))
        }
        Api::Manifest(image) => manifest(asking, image, images).await,
        Api::Blob(repository, digest) => blob(asking, repository, digest, images).await,
        Api::Tags(repository) => tags(repository, query, images).await,
        Api::Referrers(repository, digest) => referrers(repository, digest, query, images).await,
    };
    let mut response = answered.unwrap_or_else(|failure| {
        let told = failure.told(images.cache().layout().path());
        let code = match told.status() {
            StatusCode::NOT_FOUND => unknown,
            StatusCode::FORBIDDEN => "DENIED",
            _ => "UNKNOWN",
        };
        let mut response = error(told.status(), code, &told.to_string());
        response.extensions_mut().insert(failure);
        response
    });
    response.headers_mut().insert(VERSION, HeaderValue::from_static("registry/2.0"));
    response
}

/// The no to everything that would write.
pub(super) fn read_only() -> Response<Body> {
    error(StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED", "this registry is read only")
}

async fn manifest(
    asking: &Asking<'_>,
    image: &Image,
    images: &Arc<Images>,
) -> Result<Response<Body>, Failure> {
    let root = images.manifest(&image.repository, &image.wanted).await?;
    let descriptor = root.descriptor();
    let mut served = Served::made("", &descriptor.media_type, root.bytes().to_vec());
    // A digest of another algorithm stays the one that was asked for.
    served.descriptor = descriptor.clone();
    let lasting = match image.wanted {
        TagOrDigest::Digest(_) => Lasting::ForEver,
        TagOrDigest::Tag(_) => Lasting::Now,
    };
    let mut response = reply::file(asking, &served, lasting, images.cache()).await?;
    let digest = text_value(&descriptor.digest.to_string());
    response.headers_mut().insert(CONTENT_DIGEST, digest);
    Ok(response)
}

async fn blob(
    asking: &Asking<'_>,
    repository: &RepositoryName,
    digest: &Digest,
    images: &Arc<Images>,
) -> Result<Response<Body>, Failure> {
    let (descriptor, upstream) = images.blob(repository, digest, true).await?;
    let media_type = "application/octet-stream".to_owned();
    let from = From::Cache { upstream, whole: false };
    let served = Served { name: String::new(), descriptor, media_type, from };
    let mut response = reply::file(asking, &served, Lasting::ForEver, images.cache()).await?;
    response.headers_mut().insert(CONTENT_DIGEST, text_value(&digest.to_string()));
    Ok(response)
}

/// The tags, sorted, in pages where the client wants them so (distribution-spec, "Listing Tags").
async fn tags(
    repository: &RepositoryName,
    query: &str,
    images: &Arc<Images>,
) -> Result<Response<Body>, Failure> {
    let all = images.tags(repository).await?;
    let last = parameter(query, "last").unwrap_or_default();
    let most = match parameter(query, "n").map(|n| n.parse::<usize>()) {
        None => MOST_TAGS,
        Some(Ok(n)) => n.min(MOST_TAGS),
        Some(Err(_)) => return Ok(error(StatusCode::BAD_REQUEST, "UNSUPPORTED", "n is a number")),
    };
    let after: Vec<_> = all.iter().filter(|tag| **tag > last).collect();
    let page: Vec<_> = after.iter().take(most).collect();
    let name = repository.path();
    let mut response = json_reply(StatusCode::OK, &json!({"name": name, "tags": page}));
    if let Some(end) = page.last().filter(|_| page.len() < after.len()) {
        let host = repository.host();
        let next = format!("</v2/{name}/tags/list?ns={host}&n={most}&last={end}>; rel=\"next\"");
        response.headers_mut().insert(header::LINK, text_value(&next));
    }
    Ok(response)
}

/// What is attached to an image (distribution-spec, "Listing Referrers"); nothing, where the image
/// is not there.
async fn referrers(
    repository: &RepositoryName,
    digest: &Digest,
    query: &str,
    images: &Arc<Images>,
) -> Result<Response<Body>, Failure> {
    let mut found = match images.referrers(repository, digest).await {
        Err(failure) if failure.status() == StatusCode::NOT_FOUND => {
            if !images.has_any_of(repository) {
                return Err(failure);
            }
            Vec::new()
        }
        found => found?,
    };
    let filter = parameter(query, "artifactType");
    if let Some(kind) = &filter {
        found.retain(|it| it.artifact_type.as_ref() == Some(kind));
    }
    let mut index = Index::over(found);
    index.media_type = Some(oci::INDEX.to_owned());
    let bytes = index.to_bytes()?;
    let mut response = reply::text(StatusCode::OK, bytes);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(oci::INDEX));
    if filter.is_some() {
        headers.insert(FILTERS, HeaderValue::from_static("artifactType"));
    }
    Ok(response)
}

fn json_reply(status: StatusCode, value: &serde_json::Value) -> Response<Body> {
    let mut response = reply::text(status, value.to_string());
    let kind = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// An error in the form of registries (distribution-spec, "Error Codes").
fn error(status: StatusCode, code: &str, message: &str) -> Response<Body> {
    json_reply(status, &json!({"errors": [{"code": code, "message": message}]}))
}

/// Whether a request is one for a registry that would write.
pub(super) fn would_write(method: &Method, path: &str) -> bool {
    (path == "/v2" || path.starts_with("/v2/")) && !matches!(*method, Method::GET | Method::HEAD)
}

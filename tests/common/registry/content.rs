//! What the tests' registry answers about manifests, blobs, names and referrers (distribution
//! specification 1.1, "Pull", "Content discovery").

use super::*;

/// A manifest may be this long.
const MANIFEST_LIMIT: u64 = 4 << 20;

impl State {
    pub(super) fn catalog(&self, request: &Request, ways: &Ways) -> Answer {
        let names: Vec<String> = lock(&self.store).repositories.keys().cloned().collect();
        Ok(page(request, ways, names, |names| json!({"repositories": names})))
    }

    pub(super) fn tags(&self, request: &Request, name: &str, ways: &Ways) -> Answer {
        let names: Vec<String> =
            self.repository(name, |repository| Ok(repository.tags.keys().cloned().collect()))?;
        Ok(page(request, ways, names, |names| json!({"name": name, "tags": names})))
    }

    fn repository<T>(
        &self,
        name: &str,
        then: impl FnOnce(&mut Repository) -> Result<T, Response>,
    ) -> Result<T, Response> {
        let mut store = lock(&self.store);
        let unknown =
            || Response::error(404, "NAME_UNKNOWN", "repository name not known to registry");
        then(store.repositories.get_mut(name).ok_or_else(unknown)?)
    }

    pub(super) fn get_manifest(&self, name: &str, reference: &str) -> Answer {
        let (digest, manifest) = self.repository(name, |repository| repository.find(reference))?;
        let response = Response::new(200)
            .with("Content-Type", &manifest.media_type)
            .with("Docker-Content-Digest", digest);
        Ok(response.body(manifest.bytes))
    }

    pub(super) fn put_manifest(
        &self,
        request: &Request,
        body: &mut Body<'_>,
        name: &str,
        reference: &str,
        ways: &Ways,
    ) -> Answer {
        let invalid = |message: &str| Response::error(400, "MANIFEST_INVALID", message);
        let bytes = body
            .whole(MANIFEST_LIMIT)
            .map_err(|_| Response::none())?
            .ok_or_else(|| Response::new(413))?;
        let value: Value =
            serde_json::from_slice(&bytes).map_err(|error| invalid(&error.to_string()))?;
        let algorithm =
            reference.parse().map_or(Algorithm::Sha256, |digest: Digest| digest.algorithm());
        let digest = hash(algorithm, &bytes).to_string();
        if reference.contains(':') && reference != digest {
            return Err(Response::error(
                400,
                "DIGEST_INVALID",
                "provided digest did not match uploaded content",
            ));
        }
        let media_type = request.header("Content-Type").unwrap_or_default().to_owned();
        if value["mediaType"].as_str().is_some_and(|inside| inside != media_type) {
            return Err(invalid("the media type is not that of the request"));
        }
        let mut store = lock(&self.store);
        let repository = store.repositories.entry(name.to_owned()).or_default();
        repository.has_all_of(&value)?;
        repository
            .manifests
            .insert(digest.clone(), Manifest { media_type, bytes, value: value.clone() });
        if !reference.contains(':') {
            repository.tags.insert(reference.to_owned(), digest.clone());
        }
        let mut response =
            Response::new(201).with("Location", format!("/v2/{name}/manifests/{digest}"));
        if let Some(subject) = value["subject"]["digest"].as_str().filter(|_| ways.referrers) {
            response = response.with("OCI-Subject", subject);
        }
        Ok(response.with("Docker-Content-Digest", digest))
    }

    pub(super) fn delete_manifest(&self, name: &str, reference: &str) -> Answer {
        self.repository(name, |repository| {
            if repository.tags.remove(reference).is_none() {
                repository.find(reference)?;
                repository.manifests.remove(reference);
                repository.tags.retain(|_, digest| digest != reference);
            }
            Ok(Response::new(202))
        })
    }

    pub(super) fn referrers(
        &self,
        request: &Request,
        name: &str,
        digest: &str,
        ways: &Ways,
    ) -> Answer {
        let filter = request.query("artifactType");
        let mut found = Vec::new();
        if let Some(repository) = lock(&self.store).repositories.get(name) {
            for (own, manifest) in repository
                .manifests
                .iter()
                .filter(|(_, manifest)| manifest.value["subject"]["digest"] == digest)
            {
                let value = &manifest.value;
                let artifact_type =
                    value["artifactType"].as_str().or(value["config"]["mediaType"].as_str());
                if filter.is_some() && filter != artifact_type {
                    continue;
                }
                let mut descriptor = json!({"mediaType": manifest.media_type, "digest": own, "size": manifest.bytes.len()});
                descriptor["artifactType"] = json!(artifact_type);
                if value["annotations"].is_object() {
                    descriptor["annotations"] = value["annotations"].clone();
                }
                found.push((own.clone(), descriptor));
            }
        }
        let descriptors: HashMap<_, _> = found.iter().cloned().collect();
        let index = |names: &[String]| {
            let manifests: Vec<_> = names.iter().map(|name| descriptors[name].clone()).collect();
            json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": manifests})
        };
        let response =
            page(request, ways, found.into_iter().map(|(name, _)| name).collect(), index);
        let response = response.with("Content-Type", "application/vnd.oci.image.index.v1+json");
        Ok(if filter.is_some() {
            response.with("OCI-Filters-Applied", "artifactType")
        } else {
            response
        })
    }

    pub(super) fn get_blob(
        &self,
        request: &Request,
        name: &str,
        digest: &str,
        ways: &Ways,
    ) -> Answer {
        let unknown = || Response::error(404, "BLOB_UNKNOWN", "blob unknown to registry");
        let parsed: Digest =
            digest.parse().map_err(|_| Response::error(400, "DIGEST_INVALID", "not a digest"))?;
        let (len, content) = self.repository(name, |repository| {
            repository.blobs.get(&parsed).cloned().ok_or_else(unknown)
        })?;
        let response = Response::new(200)
            .with("Content-Type", "application/octet-stream")
            .with("Docker-Content-Digest", digest);
        let Some(content) = content else {
            if request.method == "HEAD" {
                return Ok(response.claiming(len));
            }
            return Err(Response::error(500, "UNKNOWN", "the content was too long to be kept"));
        };
        let response = if ways.ranges { response.with("Accept-Ranges", "bytes") } else { response };
        match request.header("Range").filter(|_| ways.ranges) {
            Some(range) => Ok(part(response, &content, range)),
            None => Ok(response.content(content)),
        }
    }

    pub(super) fn delete_blob(&self, name: &str, digest: &str) -> Answer {
        let unknown = || Response::error(404, "BLOB_UNKNOWN", "blob unknown to registry");
        let digest: Digest = digest.parse().map_err(|_| unknown())?;
        self.repository(name, |repository| {
            repository.blobs.remove(&digest).map(|_| Response::new(202)).ok_or_else(unknown)
        })
    }
}

impl Repository {
    /// A manifest by its tag or digest, with its digest.
    fn find(&self, reference: &str) -> Result<(String, Manifest), Response> {
        let digest = self.tags.get(reference).map_or(reference, String::as_str);
        let manifest = self
            .manifests
            .get(digest)
            .ok_or_else(|| Response::error(404, "MANIFEST_UNKNOWN", "manifest unknown"))?;
        Ok((digest.to_owned(), manifest.clone()))
    }

    /// Whether everything that a manifest needs is there; its subject need not be.
    fn has_all_of(&self, manifest: &Value) -> Result<(), Response> {
        let missing = |digest: &str| {
            Err(Response::error(
                404,
                "MANIFEST_BLOB_UNKNOWN",
                &format!("{digest} is unknown to registry"),
            ))
        };
        let digests = |list: &Value| -> Vec<String> {
            let entries = list.as_array().into_iter().flatten();
            entries.map(|entry| entry["digest"].as_str().unwrap_or_default().to_owned()).collect()
        };
        let config = manifest["config"]["digest"].as_str().map(str::to_owned);
        for digest in digests(&manifest["layers"]).into_iter().chain(config) {
            if !digest.parse().is_ok_and(|parsed: Digest| self.blobs.contains_key(&parsed)) {
                return missing(&digest);
            }
        }
        match digests(&manifest["manifests"])
            .iter()
            .find(|digest| !self.manifests.contains_key(*digest))
        {
            Some(digest) => missing(digest),
            None => Ok(()),
        }
    }
}

/// A part of the names, after `last` and `n` at most, with a link to the next (distribution
/// specification, "Listing Tags").
fn page(
    request: &Request,
    ways: &Ways,
    mut names: Vec<String>,
    show: impl Fn(&[String]) -> Value,
) -> Response {
    names.sort();
    if let Some(last) = request.query("last") {
        names.retain(|name| name.as_str() > last);
    }
    let asked = request.query("n").and_then(|n| n.parse().ok());
    let most = asked.unwrap_or(usize::MAX).min(ways.page);
    let shown = &names[..most.min(names.len())];
    let response = Response::json(200, &show(shown));
    match shown.last().filter(|_| shown.len() < names.len()) {
        Some(last) => {
            let filter = request
                .query("artifactType")
                .map_or(String::new(), |filter| format!("&artifactType={filter}"));
            response.with(
                "Link",
                format!("<{}?n={most}&last={last}{filter}>; rel=\"next\"", request.path),
            )
        }
        None => response,
    }
}

/// The part of the content that a Range header asks for (RFC 9110, 14.2).
fn part(response: Response, content: &Content, range: &str) -> Response {
    let bounds = range.strip_prefix("bytes=").and_then(|range| range.split_once('-'));
    let Some(start) = bounds.and_then(|(start, _)| start.parse::<u64>().ok()) else {
        return response.content(content.clone());
    };
    let end = bounds
        .and_then(|(_, end)| end.parse::<u64>().ok())
        .map_or(content.len(), |end| (end + 1).min(content.len()));
    if start >= end {
        return Response::new(416).with("Content-Range", format!("bytes */{}", content.len()));
    }
    let mut response =
        response.with("Content-Range", format!("bytes {start}-{}/{}", end - 1, content.len()));
    response.status = 206;
    response.content(content.slice(start, end - start))
}

//! Uploads of the tests' registry (distribution specification 1.1, "Pushing blobs").

use super::*;

/// Of an upload that is longer only the length and the digest are kept.
const KEEP_LIMIT: u64 = 64 << 20;

impl State {
    /// POST: mounts a blob, takes it whole, or begins a session.
    pub(super) fn begin(
        &self,
        request: &Request,
        body: &mut Body<'_>,
        name: &str,
        ways: &Ways,
    ) -> Answer {
        let mount = request.query("mount").and_then(|digest| digest.parse::<Digest>().ok());
        if let Some(digest) = mount.filter(|_| ways.mounts) {
            let mut store = lock(&self.store);
            let from = request.query("from").and_then(|from| store.repositories.get(from));
            if let Some(blob) = from.and_then(|from| from.blobs.get(&digest)).cloned() {
                store
                    .repositories
                    .entry(name.to_owned())
                    .or_default()
                    .blobs
                    .insert(digest.clone(), blob);
                return Ok(created(name, &digest));
            }
        }
        let (id, upload) = {
            let mut store = lock(&self.store);
            store.repositories.entry(name.to_owned()).or_default();
            store.begun += 1;
            let id = store.begun;
            let upload = Arc::new(Mutex::new(Upload {
                received: 0,
                hash: Hasher::new(Algorithm::Sha256),
                bytes: Vec::new(),
            }));
            store.uploads.insert(id, upload.clone());
            (id, upload)
        };
        if request.query("digest").is_some() {
            return self.finish(request, body, name, id, &upload, ways);
        }
        let response = progress(request, 202, name, id, 0, ways);
        Ok(match ways.chunk_min {
            Some(least) => response.with("OCI-Chunk-Min-Length", least),
            None => response,
        })
    }

    /// PATCH, PUT, GET and DELETE of a session.
    pub(super) fn upload(
        &self,
        request: &Request,
        body: &mut Body<'_>,
        name: &str,
        id: u64,
        ways: &Ways,
    ) -> Answer {
        let unknown =
            || Response::error(404, "BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry");
        let upload = lock(&self.store).uploads.get(&id).cloned().ok_or_else(unknown)?;
        match request.method.as_str() {
            "PATCH" => {
                let mut upload = lock(&upload);
                self.append(request, body, name, id, &mut upload, ways)?;
                Ok(progress(request, 202, name, id, upload.received, ways))
            }
            "PUT" => self.finish(request, body, name, id, &upload, ways),
            "GET" => Ok(progress(request, 204, name, id, lock(&upload).received, ways)),
            "DELETE" => {
                lock(&self.store).uploads.remove(&id);
                Ok(Response::new(204))
            }
            _ => Err(Response::error(405, "UNSUPPORTED", "the operation is unsupported")),
        }
    }

    fn append(
        &self,
        request: &Request,
        body: &mut Body<'_>,
        name: &str,
        id: u64,
        upload: &mut Upload,
        ways: &Ways,
    ) -> Result<(), Response> {
        let start = request
            .header("Content-Range")
            .and_then(|range| range.split('-').next()?.parse::<u64>().ok());
        if start.is_some_and(|start| start != upload.received) && !ways.appends {
            return Err(progress(request, 416, name, id, upload.received, ways));
        }
        let read = body.each(u64::MAX, |piece| {
            upload.received += piece.len() as u64;
            upload.hash.update(piece);
            if upload.received <= KEEP_LIMIT {
                upload.bytes.extend_from_slice(piece);
            } else {
                upload.bytes = Vec::new();
            }
        });
        read.map_err(|_| {
            if !ways.keeps_cut {
                lock(&self.store).uploads.remove(&id);
            }
            Response::none()
        })
    }

    fn finish(
        &self,
        request: &Request,
        body: &mut Body<'_>,
        name: &str,
        id: u64,
        upload: &Mutex<Upload>,
        ways: &Ways,
    ) -> Answer {
        let invalid = || {
            Response::error(400, "DIGEST_INVALID", "provided digest did not match uploaded content")
        };
        let mut upload = lock(upload);
        let digest: Digest =
            request.query("digest").and_then(|digest| digest.parse().ok()).ok_or_else(invalid)?;
        self.append(request, body, name, id, &mut upload, ways)?;
        let mut store = lock(&self.store);
        store.uploads.remove(&id);
        let actual = match digest.algorithm() {
            Algorithm::Sha256 => upload.hash.clone().finish(),
            other => hash(other, &upload.bytes),
        };
        if actual != digest {
            return Err(invalid());
        }
        let content = (upload.received <= KEEP_LIMIT)
            .then(|| Content::bytes(std::mem::take(&mut upload.bytes)));
        let repository = store.repositories.entry(name.to_owned()).or_default();
        repository.blobs.insert(digest.clone(), (upload.received, content));
        Ok(created(name, &digest))
    }
}

fn created(name: &str, digest: &Digest) -> Response {
    Response::new(201)
        .with("Location", format!("/v2/{name}/blobs/{digest}"))
        .with("Docker-Content-Digest", digest)
}

/// Where an upload stands. The Location has a query of its own, to which a client must add.
fn progress(
    request: &Request,
    status: u16,
    name: &str,
    id: u64,
    received: u64,
    ways: &Ways,
) -> Response {
    let origin = match request.header("Host").filter(|_| ways.absolute) {
        Some(host) => format!("{}://{host}", if request.tls { "https" } else { "http" }),
        None => String::new(),
    };
    Response::new(status)
        .with("Location", format!("{origin}/v2/{name}/blobs/uploads/{id}?_state=at%3D{received}"))
        .with("Range", format!("0-{}", received.saturating_sub(1)))
        .with("Docker-Upload-UUID", id)
}

//! From a request to its answer.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime};

use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};

use super::body::Body;
use super::connection::{Answers, Client};
use super::failure::Failure;
use super::folder::{From, Served, TEXT, goes_whole};
use super::hosts::Hosts;
use super::images::Images;
use super::log::Record;
use super::metrics::Metrics;
use super::page;
use super::registry;
use super::reply::{self, Asking, Lasting, Observer, Told};
use super::route::{self, MAX_PATH, Machine, Route};
use crate::Result as Done;
use crate::digest::Digest;
use crate::image::Role;
use crate::names::{RepositoryName, Tag};
use crate::netboot;

const HTML: &str = "text/html; charset=utf-8";
/// What a browser may do with the page: nothing but its own style.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; \
                      form-action 'none'; frame-ancestors 'none'";

/// The file about machines, which may be read anew.
#[derive(Default)]
pub(super) struct KnownHosts {
    file: Option<PathBuf>,
    hosts: Mutex<Arc<Hosts>>,
}

impl KnownHosts {
    /// Reads the file, where there is one.
    ///
    /// # Errors
    /// As [`Hosts::load`].
    pub fn load(file: Option<PathBuf>) -> Done<Self> {
        let known = KnownHosts { file, hosts: Mutex::default() };
        known.are_now(known.read()?);
        Ok(known)
    }

    /// Reads it again; what was read before goes on to hold.
    ///
    /// # Errors
    /// As [`Hosts::load`].
    pub fn read(&self) -> Done<Hosts> {
        Ok(self.file.as_deref().map(Hosts::load).transpose()?.unwrap_or_default())
    }

    /// This holds from now on.
    pub fn are_now(&self, hosts: Hosts) {
        *self.hosts.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(hosts);
    }

    /// What it says now.
    pub fn get(&self) -> Arc<Hosts> {
        self.hosts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Everything that is served.
pub(super) struct Site {
    pub images: Arc<Images>,
    pub metrics: Arc<Metrics>,
    pub hosts: Arc<KnownHosts>,
    pub observer: Arc<Observer>,
}

impl Answers for Site {
    async fn answer(
        self: &Arc<Self>,
        request: Request<Incoming>,
        client: Client,
    ) -> Response<Told> {
        let begun = Instant::now();
        let mut record = Record {
            time: SystemTime::now(),
            client: client.address,
            method: request.method().as_str().to_owned(),
            path: shown(request.uri()),
            status: 0,
            bytes: 0,
            took: begun.elapsed(),
            error: None,
        };
        let asking = Asking {
            method: request.method(),
            headers: request.headers(),
            traffic: &client.traffic,
            by_kernel: client.is_plain,
        };
        let waiting = client.traffic.wait();
        let found = self.find(&asking, request.uri()).await;
        drop(waiting);
        let cache = self.images.cache();
        let mut response = found.unwrap_or_else(|failure| reply::failure(failure, cache));
        let failure = response.extensions_mut().remove::<Failure>();
        record.error = failure.map(|failure| failure.to_string());
        record.status = response.status().as_u16();
        if request.method() == Method::HEAD {
            *response.body_mut() = Body::empty();
        }
        let headers = response.headers_mut();
        // What an image has is nobody's page.
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        let (observer, metrics) = (self.observer.clone(), self.metrics.clone());
        let traffic = client.traffic;
        response.map(|body| Told::new(body, record, begun, traffic, observer, metrics))
    }

    fn count(&self, come: bool) {
        match come {
            true => self.metrics.connected(),
            false => self.metrics.disconnected(),
        }
    }
}

/// What is told of an address: no query, but for what a machine says of itself.
fn shown(uri: &hyper::Uri) -> String {
    match (uri.query(), route::parse(uri.path(), uri.query().unwrap_or_default())) {
        (Some(_), Some(Route::Script(machine))) => format!("{}?{}", uri.path(), machine.shown()),
        _ => uri.path().to_owned(),
    }
}

/// The address by which the server was asked for, where the client says it in a way that can be
/// repeated.
fn server(asking: &Asking<'_>) -> Option<String> {
    let host = asking.headers.get(header::HOST)?.to_str().ok()?;
    page::server(host, asking.by_kernel)
}

impl Site {
    async fn find(&self, asking: &Asking<'_>, uri: &hyper::Uri) -> Result<Response<Body>, Failure> {
        if registry::would_write(asking.method, uri.path()) {
            return Ok(registry::read_only());
        }
        if !matches!(*asking.method, Method::GET | Method::HEAD) {
            let mut response = reply::text(StatusCode::METHOD_NOT_ALLOWED, "only reading\n");
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
            return Ok(response);
        }
        if uri.path().len() > MAX_PATH {
            return Err(Failure::new(StatusCode::URI_TOO_LONG, "the path is too long"));
        }
        let query = uri.query().unwrap_or_default();
        match route::parse(uri.path(), query).ok_or_else(Failure::unknown)? {
            Route::Registry(api) => Ok(registry::answer(asking, &api, query, &self.images).await),
            Route::Health => Ok(reply::text(StatusCode::OK, "ok\n")),
            Route::Metrics => Ok(reply::text(StatusCode::OK, self.metrics.text())),
            Route::Boot { image, wanted, file } => {
                let found = self.images.find(&image.repository, &image.wanted).await?;
                let folder = self.images.folder(&found, wanted).await?;
                let lasting = match image.wanted.digest() {
                    Some(_) => Lasting::ForEver,
                    None => Lasting::Now,
                };
                if file == netboot::SCRIPT {
                    let script = folder.script(&server(asking).unwrap_or_default(), &[])?;
                    let served = Served::made("", TEXT, script);
                    return reply::file(asking, &served, Lasting::Now, self.images.cache()).await;
                }
                let served = folder.file(&file).ok_or_else(Failure::unknown)?;
                reply::file(asking, served, lasting, self.images.cache()).await
            }
            Route::Script(machine) => {
                let server = server(asking).unwrap_or_default();
                let script = self.script(&machine, &server).await?;
                let served = Served::made("", TEXT, script);
                reply::file(asking, &served, Lasting::Now, self.images.cache()).await
            }
            Route::Sysupdate(updates) => {
                let served = updates.find(&self.images).await?;
                reply::file(asking, &served, Lasting::Now, self.images.cache()).await
            }
            Route::Layer { repository, digest, image } => {
                let served = self.layer(&repository, &digest, image.as_ref()).await?;
                reply::file(asking, &served, Lasting::ForEver, self.images.cache()).await
            }
            Route::Page => {
                let server = server(asking).unwrap_or_else(|| "http://SERVER".to_owned());
                let text = page::page(&self.images, &server).await;
                let mut response = reply::text(StatusCode::OK, text);
                let headers = response.headers_mut();
                headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(HTML));
                headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
                Ok(response)
            }
        }
    }

    /// The script with which a machine boots: what is said of it, else the only image there is.
    async fn script(&self, machine: &Machine, server: &str) -> Result<String, Failure> {
        let (uuid, mac) = (machine.uuid.as_deref(), machine.mac.as_deref());
        let (image, append) = match self.hosts.get().find(uuid, mac) {
            Some(boots) => (boots.image.clone(), boots.append.clone()),
            None => (self.images.only().ok_or_else(Failure::unknown)?, Vec::new()),
        };
        let found = self.images.find(image.repository(), &image.tag_or_digest()?).await?;
        let arch = machine.arch.as_deref();
        let wanted = arch.and_then(route::architecture);
        let folder = match self.images.folder(&found, wanted).await {
            // An iPXE for the BIOS is one of 32 bits on any machine.
            Err(failure) if arch == Some("i386") && failure.status() == StatusCode::NOT_FOUND => {
                self.images.folder(&found, route::architecture("amd64")).await?
            }
            folder => folder?,
        };
        Ok(folder.script(server, &append)?)
    }

    /// A layer by its digest. Firmware that asks so must know what it gets by the type alone.
    async fn layer(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        image: Option<&Tag>,
    ) -> Result<Served, Failure> {
        if let Some(tag) = image {
            self.images.learn_all(repository, &tag.into()).await?;
        }
        let (descriptor, upstream) = self.images.blob(repository, digest, false).await?;
        let role = Role::of(&descriptor.media_type);
        let is_efi = image.is_none() || role == Some(Role::Uki);
        let media_type = if is_efi { "application/efi" } else { "application/octet-stream" };
        let from = From::Cache { upstream, whole: is_efi || goes_whole(role) };
        Ok(Served { name: String::new(), descriptor, media_type: media_type.to_owned(), from })
    }
}

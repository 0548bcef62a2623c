//! From a request to its answer.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};

use super::body::Body;
use super::connection::{Answers, Client};
use super::failure::Failure;
use super::images::Images;
use super::log::Record;
use super::metrics::Metrics;
use super::registry;
use super::reply::{self, Asking, Lasting, Observer, Told};
use super::route::{self, MAX_PATH, Route};

/// Everything that is served.
pub(super) struct Site {
    pub images: Arc<Images>,
    pub metrics: Arc<Metrics>,
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
            path: request.uri().path().to_owned(),
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
        let mut response = match self.find(&asking, request.uri()).await {
            Ok(response) => response,
            Err(failure) => {
                record.error = Some(failure.to_string());
                reply::failure(&failure)
            }
        };
        record.status = response.status().as_u16();
        if request.method() == Method::HEAD {
            *response.body_mut() = Body::empty();
        }
        let headers = response.headers_mut();
        // What an image has is nobody's page.
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        let (observer, metrics) = (self.observer.clone(), self.metrics.clone());
        response.map(|body| Told::new(body, record, begun, observer, metrics))
    }

    fn count(&self, come: bool) {
        match come {
            true => self.metrics.connected(),
            false => self.metrics.disconnected(),
        }
    }
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
                let served = folder.file(&file)?;
                let lasting = match image.wanted.digest() {
                    Some(_) => Lasting::ForEver,
                    None => Lasting::Now,
                };
                reply::file(asking, served, lasting, self.images.cache()).await
            }
            Route::Page => Err(Failure::unknown()),
        }
    }
}

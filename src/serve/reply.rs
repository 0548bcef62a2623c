//! Answers: a file or a part of it, a text, a no; and the record of each when it is over.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Method, Response, StatusCode};

use super::answer::{self, Part};
use super::body::{Body, Data, Traffic};
use super::cache::Cache;
use super::failure::Failure;
use super::folder::{From, Served, TEXT, entity_tag};
use super::images::blocking;
use super::log::Record;
use super::metrics::Metrics;

/// How long what an address stands for may be kept by whoever got it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lasting {
    /// A digest is in the address.
    ForEver,
    /// It may be another one at the next moment.
    Now,
}

/// What a request came with, as far as files go.
pub(super) struct Asking<'a> {
    pub method: &'a Method,
    pub headers: &'a HeaderMap,
    pub traffic: &'a Arc<Traffic>,
    pub by_kernel: bool,
}

/// Answers with a file, or with what is asked for of it.
///
/// # Errors
/// What keeps it from coming.
pub(super) async fn file(
    asking: &Asking<'_>,
    served: &Served,
    lasting: Lasting,
    cache: &Arc<Cache>,
) -> Result<Response<Body>, Failure> {
    let size = served.descriptor.size;
    let tag = entity_tag(&served.descriptor.digest);
    let part = answer::part(asking.method, asking.headers, &tag, size);
    let mut response = Response::new(Body::empty());
    *response.status_mut() = part.status();
    let headers = response.headers_mut();
    headers.insert(header::ETAG, text_value(&tag));
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    let lasts = match lasting {
        Lasting::ForEver => "public, max-age=31536000, immutable",
        Lasting::Now => "no-cache",
    };
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(lasts));
    match part {
        Part::Range(start, end) => {
            let range = format!("bytes {start}-{}/{size}", end - 1);
            headers.insert(header::CONTENT_RANGE, text_value(&range));
        }
        Part::NoSuchRange => {
            headers.insert(header::CONTENT_RANGE, text_value(&format!("bytes */{size}")));
        }
        Part::Whole | Part::NotModified | Part::Failed => {}
    }
    let Some((start, end)) = part.bytes(size) else { return Ok(response) };
    headers.insert(header::CONTENT_TYPE, text_value(&served.media_type));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(end - start));
    if asking.method == Method::HEAD {
        return Ok(response);
    }
    *response.body_mut() = match &served.from {
        From::Memory(bytes) => {
            let at = |position| usize::try_from(position).unwrap_or(bytes.len());
            Body::Bytes(bytes.slice(at(start)..at(end)))
        }
        From::Cache { upstream, whole } => {
            let (cache, descriptor) = (cache.clone(), served.descriptor.clone());
            let upstream = upstream.clone();
            let opened = move || Ok::<_, Failure>(cache.content(&descriptor, upstream));
            let content = blocking(opened).await?;
            content.ready(start, *whole, || asking.traffic.moves()).await?;
            Body::of(content, (start, end), asking.traffic, asking.by_kernel)
        }
    };
    Ok(response)
}

/// Text of ours as a header's value.
pub(super) fn text_value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// Answers with a text.
pub(super) fn text(status: StatusCode, text: impl Into<Bytes>) -> Response<Body> {
    let text = text.into();
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(TEXT));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(text.len()));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    *response.body_mut() = Body::Bytes(text);
    response
}

/// Answers with why it cannot be answered, as far as a client gets to hear that; the failure goes
/// along, for the log.
pub(super) fn failure(failure: Failure, cache: &Cache) -> Response<Body> {
    let told = failure.told(cache.layout().path());
    let mut response = text(told.status(), format!("{told}\n"));
    response.extensions_mut().insert(failure);
    response
}

/// Whoever gets to know of each request.
pub(super) type Observer = dyn Fn(&Record) + Send + Sync;

/// A body with the record of its request, which is told when all of it has gone, or the connection
/// has.
pub(super) struct Told {
    body: Body,
    record: Record,
    begun: Instant,
    traffic: Arc<Traffic>,
    observer: Arc<Observer>,
    metrics: Arc<Metrics>,
}

impl Told {
    pub fn new(
        body: Body,
        record: Record,
        begun: Instant,
        traffic: Arc<Traffic>,
        observer: Arc<Observer>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Told { body, record, begun, traffic, observer, metrics }
    }
}

impl http_body::Body for Told {
    type Data = Data;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Data>>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                let len = frame.data_ref().map_or(0, bytes::Buf::remaining);
                self.record.bytes += len as u64;
            }
            Poll::Ready(Some(Err(e))) => self.record.error = Some(e.to_string()),
            _ => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        self.record.took = self.begun.elapsed();
        if self.record.error.is_none() && !http_body::Body::is_end_stream(&self.body) {
            let who = if self.traffic.is_given_up() {
                "the server ended"
            } else {
                "the client went away"
            };
            self.record.error = Some(who.to_owned());
        }
        self.metrics.answered(self.record.status, self.record.bytes);
        (self.observer)(&self.record);
    }
}

//! Reading a blob from a registry: a connection that breaks is taken up where it ended.

use std::io::{self, Read};
use std::ops::Range;

use reqwest::header::{CONTENT_RANGE, RANGE};
use reqwest::{Method, StatusCode};

use super::answer::{header, length};
use super::asked::Endpoint;
use super::failure::Failure;
use super::host::Attempts;
use super::http::Call;
use super::repository::Repository;
use super::transport::{Incoming, Response};
use crate::oci::Descriptor;
use crate::{Error, Result, words};

/// A blob that is being read.
pub(super) struct Download<'a> {
    repository: &'a Repository,
    descriptor: Descriptor,
    /// What has been given to the reader.
    position: u64,
    /// Where the part of the blob that is wanted ends.
    end: u64,
    /// Nothing where nothing of the blob is left to come.
    body: Option<Incoming>,
    /// How much of the body lies before the position, where a registry begins anew.
    skip: u64,
    attempts: Attempts<'a>,
    /// The farthest position at which the connection broke.
    broke_at: u64,
}

impl Repository {
    /// Opens a blob at an offset in bytes; a connection that breaks is taken up again. What comes
    /// out is not checked.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Unauthorised`], [`Error::Network`]; [`Error::Invalid`] where
    /// it has another size.
    pub fn open_blob(&self, descriptor: &Descriptor, offset: u64) -> Result<impl Read + use<'_>> {
        let end = descriptor.size;
        // Beyond the end, nothing is asked: there is no such range (RFC 9110, 15.5.17).
        let (body, skip) = match offset > 0 && offset >= end {
            true => (None, 0),
            false => connect(self, descriptor, offset, end)?,
        };
        Ok(Download::new(self, descriptor, offset..end, body, skip))
    }

    /// Opens some bytes of a blob, and no others; a connection that breaks is taken up again. What
    /// comes out is not checked. `None` where the registry gives all of a blob or nothing: ranges
    /// are something that it should know (distribution-spec, "Pulling blobs"), and need not.
    ///
    /// Where it sends elsewhere for the content, it is not asked again for the next part while that
    /// place answers.
    ///
    /// # Errors
    /// As [`open_blob`](Self::open_blob).
    ///
    /// # Panics
    /// Where there are no such bytes.
    pub fn open_part(
        &self,
        descriptor: &Descriptor,
        part: Range<u64>,
    ) -> Result<Option<impl Read + use<'_>>> {
        assert!(part.start < part.end && part.end <= descriptor.size, "a part of the blob");
        let mut call = call_for(self, descriptor, part.start, part.end)?;
        // The lock is taken again below, so it is not held.
        let known = {
            let places = self.places.lock().expect("nothing panics with this lock");
            places.get(&descriptor.digest).cloned()
        };
        let is_it = |response: &Response| gives(response, descriptor, &part);
        if let Some(place) = known {
            let url = std::mem::replace(&mut call.url, place);
            // Its time may be over.
            match self.registry.once(&call) {
                Ok(response) if is_it(&response) => {
                    let body = Some(response.body);
                    return Ok(Some(Download::new(self, descriptor, part, body, 0)));
                }
                Ok(_) => log::debug!("{} is asked again where the content lies", self.name.host()),
                Err(why) => log::debug!("the place of the content does not answer: {why}"),
            }
            self.places.lock().expect("nothing panics with this lock").remove(&descriptor.digest);
            call.url = url;
        }
        let response = self.registry.call(&call, &[200, 206, 416])?;
        if !is_it(&response) {
            return Ok(None);
        }
        if !self.registry.host.is_own(&response.url) {
            let mut places = self.places.lock().expect("nothing panics with this lock");
            places.insert(descriptor.digest.clone(), response.url.clone());
        }
        Ok(Some(Download::new(self, descriptor, part, Some(response.body), 0)))
    }
}

/// Whether an answer is just the bytes that were asked for (RFC 9110, 14.4).
fn gives(response: &Response, descriptor: &Descriptor, part: &Range<u64>) -> bool {
    let range = header(&response.headers, CONTENT_RANGE).ok().flatten().unwrap_or_default();
    let bytes = format!("bytes {}-{}/", part.start, part.end - 1);
    let total = range.strip_prefix(&bytes);
    let len = length(&response.headers).ok().flatten();
    let is_part = response.status == StatusCode::PARTIAL_CONTENT
        && total.is_some_and(|total| total == "*" || total == descriptor.size.to_string());
    // For all of it, nobody is asked for a range.
    let is_all = response.status == StatusCode::OK && *part == (0..descriptor.size);
    (is_part || is_all) && len.is_none_or(|len| len == part.end - part.start)
}

impl<'a> Download<'a> {
    fn new(
        repository: &'a Repository,
        descriptor: &Descriptor,
        part: Range<u64>,
        body: Option<Incoming>,
        skip: u64,
    ) -> Self {
        Download {
            repository,
            descriptor: descriptor.clone(),
            position: part.start,
            end: part.end,
            body,
            skip,
            attempts: Attempts::new(&repository.registry.host),
            broke_at: part.start,
        }
    }

    /// Goes on after a break.
    fn resume(&mut self, failure: Failure) -> Result<()> {
        // What drips gains nothing: another connection may be faster, but not for ever.
        if self.position > self.broke_at && !matches!(failure, Failure::Slow(_)) {
            self.attempts.progress();
        }
        self.broke_at = self.broke_at.max(self.position);
        self.attempts.again_after(failure)?;
        (self.body, self.skip) =
            connect(self.repository, &self.descriptor, self.position, self.end)?;
        Ok(())
    }
}

/// The request for a blob's bytes between two offsets.
fn call_for<'a>(
    repository: &'a Repository,
    descriptor: &Descriptor,
    offset: u64,
    end: u64,
) -> Result<Call<'a>> {
    let digest = &descriptor.digest;
    let call = repository.call(
        Method::GET,
        repository.url(&format!("blobs/{digest}")),
        Endpoint::Blob(digest.clone()),
    );
    match offset > 0 || end < descriptor.size {
        // Some understand only a range with both its ends.
        true => call.made_header(RANGE, &format!("bytes={offset}-{}", end - 1)),
        false => Ok(call),
    }
}

/// Asks for a blob's bytes between two offsets; gives the body, which may go on behind them, and how
/// much of it is to be passed over.
fn connect(
    repository: &Repository,
    descriptor: &Descriptor,
    offset: u64,
    end: u64,
) -> Result<(Option<Incoming>, u64)> {
    let call = call_for(repository, descriptor, offset, end)?;
    let response = repository.registry.call(&call, &[200, 206])?;
    let what = &call.asked;
    let host = &repository.name.host();
    // A registry may know nothing of ranges and send everything (RFC 9110, 14.2).
    let partial = response.status == StatusCode::PARTIAL_CONTENT;
    let (skip, end) = if partial { (0, end) } else { (offset, descriptor.size) };
    if partial && offset > 0 {
        let range = header(&response.headers, CONTENT_RANGE)?.unwrap_or_default();
        if !range.starts_with(&format!("bytes {offset}-")) {
            let range = words::foreign(range);
            return Err(Error::invalid(format!(
                "{host} was asked for {what} from byte {offset} on, and sends {range:?}"
            ))
            .with_hint("tell whoever runs the registry"));
        }
    }
    let length = length(&response.headers)?;
    let expected = end - (offset - skip).min(end);
    if let Some(length) = length.filter(|length| *length != expected) {
        return Err(Error::invalid(format!("{what} has {length} bytes at {host}, and should have {expected}"))
            .with_hint("the registry's copy is damaged; push the image again, or tell whoever runs the registry"));
    }
    Ok((Some(response.body), skip))
}

impl Read for Download<'_> {
    /// What counts is bytes: at the end it is over, however the connection ends. What comes beyond a
    /// blob's own end is given out too, for who checks it; what comes beyond a part's is not.
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        loop {
            let is_whole = self.position >= self.end;
            if is_whole && self.end < self.descriptor.size {
                // The connection serves another request only once its answer has been read to its
                // end.
                self.body.take().map(|mut body| body.read(&mut [0])).transpose().ok();
                return Ok(0);
            }
            let Some(body) = &mut self.body else { return Ok(0) };
            let before = self.skip > 0;
            let target = if before {
                usize::try_from(self.skip).map_or(buf.len(), |skip| skip.min(buf.len()))
            } else if self.end < self.descriptor.size {
                let left = self.end - self.position;
                usize::try_from(left).map_or(buf.len(), |left| left.min(buf.len()))
            } else {
                buf.len()
            };
            let why = match body.read(&mut buf[..target]) {
                Ok(0) | Err(_) if is_whole => return Ok(0),
                Ok(0) => Failure::Broken("it ended early".to_owned().into()),
                Ok(n) if before => {
                    self.skip -= n as u64;
                    continue;
                }
                Ok(n) => {
                    self.position += n as u64;
                    return Ok(n);
                }
                Err(e) => Failure::broken_by(e),
            };
            self.resume(why).map_err(io::Error::other)?;
        }
    }
}

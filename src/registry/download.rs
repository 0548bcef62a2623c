//! Reading a blob from a registry: a connection that breaks is taken up where it ended.

use std::io::{self, Read};

use reqwest::header::{CONTENT_RANGE, RANGE};
use reqwest::{Method, StatusCode};

use super::answer::{header, length};
use super::asked::Endpoint;
use super::failure::Failure;
use super::host::Attempts;
use super::repository::Repository;
use super::transport::Incoming;
use crate::oci::Descriptor;
use crate::{Error, Result, words};

/// A blob that is being read.
pub(super) struct Download<'a> {
    repository: &'a Repository,
    descriptor: Descriptor,
    /// What has been given to the reader.
    position: u64,
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
        Download::open(self, descriptor, offset)
    }
}

impl<'a> Download<'a> {
    fn open(repository: &'a Repository, descriptor: &Descriptor, offset: u64) -> Result<Self> {
        let (body, skip) = connect(repository, descriptor, offset)?;
        Ok(Download {
            repository,
            descriptor: descriptor.clone(),
            position: offset,
            body,
            skip,
            attempts: Attempts::new(&repository.registry.host),
            broke_at: offset,
        })
    }

    /// Goes on after a break.
    fn resume(&mut self, failure: Failure) -> Result<()> {
        // What drips gains nothing: another connection may be faster, but not for ever.
        if self.position > self.broke_at && !matches!(failure, Failure::Slow(_)) {
            self.attempts.progress();
        }
        self.broke_at = self.broke_at.max(self.position);
        self.attempts.again_after(failure)?;
        (self.body, self.skip) = connect(self.repository, &self.descriptor, self.position)?;
        Ok(())
    }
}

/// Asks for a blob from an offset on; gives the body, and how much of it is to be passed over.
/// Beyond the end, nothing is asked: there is no such range (RFC 9110, 15.5.17).
fn connect(
    repository: &Repository,
    descriptor: &Descriptor,
    offset: u64,
) -> Result<(Option<Incoming>, u64)> {
    if offset > 0 && offset >= descriptor.size {
        return Ok((None, 0));
    }
    let digest = &descriptor.digest;
    let mut call = repository.call(
        Method::GET,
        repository.url(&format!("blobs/{digest}")),
        Endpoint::Blob(digest.clone()),
    );
    if offset > 0 {
        // Some understand only a range with both its ends.
        let last = descriptor.size - 1;
        call = call.made_header(RANGE, &format!("bytes={offset}-{last}"))?;
    }
    let response = repository.registry.call(&call, &[200, 206])?;
    let what = &call.asked;
    let (host, size) = (&repository.name.host(), descriptor.size);
    // A registry may know nothing of ranges and send everything (RFC 9110, 14.2).
    let skip = if response.status == StatusCode::PARTIAL_CONTENT { 0 } else { offset };
    if skip == 0 && offset > 0 {
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
    let expected = size - (offset - skip).min(size);
    if let Some(length) = length.filter(|length| *length != expected) {
        return Err(Error::invalid(format!("{what} has {length} bytes at {host}, and should have {expected}"))
            .with_hint("the registry's copy is damaged; push the image again, or tell whoever runs the registry"));
    }
    Ok((Some(response.body), skip))
}

impl Read for Download<'_> {
    /// What counts is bytes: at the blob's size it is over, however the connection ends. What comes
    /// beyond is given out too, for who checks it.
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        loop {
            let is_whole = self.position >= self.descriptor.size;
            let Some(body) = &mut self.body else { return Ok(0) };
            let before = self.skip > 0;
            let target = if before {
                usize::try_from(self.skip).map_or(buf.len(), |skip| skip.min(buf.len()))
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

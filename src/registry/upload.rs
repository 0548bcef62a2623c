//! Putting a blob into a registry (distribution-spec, "Pushing Blobs").
//!
//! One streamed `PUT` where nothing goes wrong. After a break the registry is asked how far it got:
//! some go on from there, others have dropped what they had and the blob begins anew. Chunks are
//! used only where a body is too large for what stands in between.

use std::io::Read;
use std::num::NonZero;

use reqwest::header::{
    CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderMap, HeaderName, LOCATION, RANGE,
};
use reqwest::{Method, StatusCode};
use url::Url;

use super::answer::Refusal;
use super::http::{Attempts, Content};
use super::repository::{Repository, header};
use super::transport::{Failure, Response};
use crate::content::Source;
use crate::oci::Descriptor;
use crate::progress::Ended;
use crate::{Error, Result};

/// The first size of a chunk after a 413, in bytes; it is halved until one passes.
const FIRST_CHUNK: u64 = 64 << 20;
/// Smaller chunks are not tried: the trouble lies elsewhere.
const LEAST_CHUNK: u64 = 256 << 10;
/// The least size of a chunk that a registry takes (distribution-spec, "Pushing a blob in chunks").
const CHUNK_MIN_LENGTH: HeaderName = HeaderName::from_static("oci-chunk-min-length");

/// An upload that has begun.
struct Session {
    url: Url,
    /// How much the registry has.
    offset: u64,
    least_chunk: u64,
    /// It goes on from where the registry said that it broke.
    resumed: bool,
}

/// How one step ended.
enum Step {
    Done,
    /// The registry has so much now, and wants the next piece.
    Next,
    /// The body is too large for the registry or for what stands before it.
    TooLarge,
    /// Something that may pass.
    Failed(Trouble),
    /// What the registry has is not what was sent: the blob begins anew.
    Lost(Trouble),
}

enum Trouble {
    Failure(Failure),
    Refusal(Refusal),
}

impl Repository<'_> {
    /// Puts a blob, from where `source` has it.
    ///
    /// # Errors
    /// What the source gives; [`Error::Unauthorised`], [`Error::Network`]; [`Error::Invalid`] where
    /// the registry finds that the content is not what its digest says.
    pub(super) fn put_blob(&self, descriptor: &Descriptor, source: &dyn Source) -> Result<Ended> {
        let mut chunk = self.client.settings.chunk_size.map(NonZero::get);
        let mut attempts = Attempts::new(self.client, &self.host);
        let Some(mut session) = self.begin(descriptor)? else {
            return Ok(Ended::Mounted);
        };
        let mut reached = 0;
        loop {
            let step = match chunk {
                None if session.offset == 0 => self.put_whole(&session, descriptor, source)?,
                _ if session.offset < descriptor.size => {
                    let size = chunk
                        .unwrap_or(u64::MAX)
                        .max(session.least_chunk)
                        .min(descriptor.size - session.offset);
                    self.patch(&mut session, size, descriptor, source)?
                }
                _ => self.finish(&session, descriptor)?,
            };
            if session.offset > reached {
                attempts.progress();
                reached = session.offset;
            }
            let again = match step {
                Step::Done => return Ok(Ended::Copied),
                Step::Next => false,
                Step::TooLarge => {
                    chunk = Some(self.smaller(chunk, descriptor)?);
                    true
                }
                Step::Failed(trouble) => {
                    let slow = matches!(trouble, Trouble::Failure(Failure::Slow(_)));
                    self.wait(&mut attempts, trouble, descriptor)?;
                    // Only the answer may have been lost.
                    if self.has_blob(descriptor)? {
                        return Ok(Ended::Copied);
                    }
                    let begins = !self.ask_how_far(&mut session, descriptor);
                    if slow {
                        reached = reached.max(session.offset);
                    }
                    begins
                }
                Step::Lost(trouble) => {
                    self.wait(&mut attempts, trouble, descriptor)?;
                    true
                }
            };
            if again {
                match self.begin(descriptor)? {
                    Some(begun) => session = begun,
                    None => return Ok(Ended::Mounted),
                }
            }
        }
    }

    fn what(&self, descriptor: &Descriptor) -> String {
        format!("putting the blob {} into {}", descriptor.digest, self.name)
    }

    /// Begins an upload; `None` where the blob could be taken over from another repository.
    fn begin(&self, descriptor: &Descriptor) -> Result<Option<Session>> {
        let digest = descriptor.digest.to_string();
        let mut url = self.url("blobs/uploads/");
        if let Some(from) = &self.mount_from {
            url.query_pairs_mut().append_pair("mount", &digest).append_pair("from", from);
        }
        let call = self.call(Method::POST, url).header(CONTENT_LENGTH, "0");
        let response = self.client.call(&self.host, &call, &[202, 201], &self.what(descriptor))?;
        if response.status == StatusCode::CREATED {
            return Ok(None);
        }
        let url = self.location(&call.url, &response.headers)?.ok_or_else(|| {
            Error::invalid(format!("{} begins an upload without saying where", self.name.host()))
                .with_hint("check that a registry answers there")
        })?;
        let least = header(&response.headers, CHUNK_MIN_LENGTH)
            .and_then(|text| text.parse().ok())
            .unwrap_or(0);
        Ok(Some(Session { url, offset: 0, least_chunk: least, resumed: false }))
    }

    /// Where the upload goes on; at the registry itself, since what is uploaded is for nobody else.
    fn location(&self, from: &Url, headers: &HeaderMap) -> Result<Option<Url>> {
        header(headers, LOCATION).map(|text| self.host.own_url(from, text, "an upload")).transpose()
    }

    /// The content between two offsets.
    fn piece<'s>(
        &self,
        descriptor: &Descriptor,
        source: &'s dyn Source,
        offset: u64,
        len: u64,
    ) -> Result<Box<dyn Read + 's>> {
        Ok(Box::new(source.open(descriptor, offset)?.take(len)))
    }

    /// Sends the whole blob with the request that ends the upload.
    fn put_whole(
        &self,
        session: &Session,
        descriptor: &Descriptor,
        source: &dyn Source,
    ) -> Result<Step> {
        let open = || self.piece(descriptor, source, 0, descriptor.size);
        let call = self
            .call(Method::PUT, ending(&session.url, descriptor))
            .header(CONTENT_TYPE, "application/octet-stream");
        let call = call.content(Content::Stream(descriptor.size, &open));
        self.judge(self.client.once(&self.host, &call), &[201], session, descriptor)
            .map(|step| step.err().unwrap_or(Step::Done))
    }

    /// Sends a piece.
    fn patch(
        &self,
        session: &mut Session,
        size: u64,
        descriptor: &Descriptor,
        source: &dyn Source,
    ) -> Result<Step> {
        let (start, end) = (session.offset, session.offset + size);
        let open = || self.piece(descriptor, source, start, size);
        let call = self
            .call(Method::PATCH, session.url.clone())
            .header(CONTENT_TYPE, "application/octet-stream");
        let call = call
            .header(CONTENT_RANGE, &format!("{start}-{}", end - 1))
            .content(Content::Stream(size, &open));
        let response =
            match self.judge(self.client.once(&self.host, &call), &[202], session, descriptor)? {
                Ok(response) => response,
                Err(step) => return Ok(step),
            };
        if let Some(url) = self.location(&call.url, &response.headers)? {
            session.url = url;
        }
        // A registry may append what does not belong at its end, and say yes; only the range tells.
        // What lies before that end is then nothing to go on from.
        match range_end(&response.headers) {
            Some(reached) if reached != end => {
                let error = format!(
                    "{} has {reached} bytes of {} after {end} were sent",
                    self.name.host(),
                    descriptor.digest
                );
                Ok(Step::Lost(Trouble::Failure(Failure::Broken(error))))
            }
            _ => {
                session.offset = end;
                Ok(Step::Next)
            }
        }
    }

    /// Ends an upload of which the registry has everything.
    fn finish(&self, session: &Session, descriptor: &Descriptor) -> Result<Step> {
        let call =
            self.call(Method::PUT, ending(&session.url, descriptor)).header(CONTENT_LENGTH, "0");
        self.judge(self.client.once(&self.host, &call), &[201], session, descriptor)
            .map(|step| step.err().unwrap_or(Step::Done))
    }

    /// Tells what an answer means: `Ok` for one that was hoped for, else what to do.
    fn judge(
        &self,
        answer: Result<Response, Failure>,
        good: &[u16],
        session: &Session,
        descriptor: &Descriptor,
    ) -> Result<Result<Response, Step>> {
        let mut response = match answer {
            Ok(response) if good.contains(&response.status.as_u16()) => return Ok(Ok(response)),
            Ok(response) => response,
            Err(Failure::Own(error)) => return Err(error),
            Err(failure) => return Ok(Err(Step::Failed(Trouble::Failure(failure)))),
        };
        let refusal = Refusal::of(&mut response);
        // An upload that the registry does not know any more, or whose place it disputes, may begin
        // anew.
        let lost = matches!(refusal.status.as_u16(), 404 | 416) && refusal.code != "NAME_UNKNOWN"
            || refusal.code == "BLOB_UPLOAD_INVALID";
        if refusal.status == StatusCode::PAYLOAD_TOO_LARGE {
            return Ok(Err(Step::TooLarge));
        }
        if refusal.is_temporary() || lost {
            return Ok(Err(Step::Failed(Trouble::Refusal(refusal))));
        }
        // Our content may be sound, and where the registry said that it broke wrong.
        if session.resumed && refusal.code == "DIGEST_INVALID" {
            return Ok(Err(Step::Lost(Trouble::Refusal(refusal))));
        }
        Err(refusal.error(&self.host, self.name.path(), &self.what(descriptor)))
    }

    fn wait(
        &self,
        attempts: &mut Attempts<'_>,
        trouble: Trouble,
        descriptor: &Descriptor,
    ) -> Result<()> {
        match trouble {
            Trouble::Failure(failure) => attempts.again_after(failure),
            Trouble::Refusal(refusal) => {
                let error = || refusal.error(&self.host, self.name.path(), &self.what(descriptor));
                attempts.again(&refusal.words(), refusal.delay, error)
            }
        }
    }

    /// Asks how much of an upload has arrived, to go on from there; `false` where it must begin
    /// anew.
    fn ask_how_far(&self, session: &mut Session, descriptor: &Descriptor) -> bool {
        let call = self.call(Method::GET, session.url.clone());
        let Ok(response) = self.client.once(&self.host, &call) else { return false };
        let reached = range_end(&response.headers).unwrap_or(0);
        // Nothing is `0-0` for some, as one byte is.
        if response.status != StatusCode::NO_CONTENT || reached <= 1 || reached > descriptor.size {
            return false;
        }
        match self.location(&call.url, &response.headers) {
            Ok(url) => session.url = url.unwrap_or_else(|| session.url.clone()),
            Err(_) => return false,
        }
        (session.offset, session.resumed) = (reached, true);
        true
    }

    /// The next smaller chunk.
    fn smaller(&self, chunk: Option<u64>, descriptor: &Descriptor) -> Result<u64> {
        let next = chunk.map_or(FIRST_CHUNK, |chunk| chunk / 2);
        let next =
            if descriptor.size <= next { descriptor.size / 2 } else { next }.max(LEAST_CHUNK);
        if chunk.is_some_and(|chunk| chunk <= LEAST_CHUNK) || descriptor.size <= LEAST_CHUNK {
            return Err(Error::rejected(format!(
                "{} takes no piece of {}, however small (413)",
                self.name.host(),
                descriptor.digest
            ))
            .with_hint(
                "raise the limit for a request's body at the registry, or at the proxy before it",
            ));
        }
        log::warn!(
            "{}: too large a body; sending {} in pieces of {next} bytes",
            self.name.host(),
            descriptor.digest
        );
        Ok(next)
    }
}

/// The address that ends an upload: the digest goes behind what the registry put there itself.
fn ending(url: &Url, descriptor: &Descriptor) -> Url {
    let mut url = url.clone();
    url.query_pairs_mut().append_pair("digest", &descriptor.digest.to_string());
    url
}

/// How many bytes a registry has, from `Range: 0-N` (distribution-spec, "Pushing a blob in
/// chunks").
fn range_end(headers: &HeaderMap) -> Option<u64> {
    let (start, end) =
        header(headers, RANGE)?.trim().trim_start_matches("bytes=").split_once('-')?;
    let end: u64 = end.parse().ok()?;
    (start == "0").then(|| end.saturating_add(1))
}

//! Putting a blob into a registry (distribution-spec, "Pushing Blobs").
//!
//! One streamed `PUT` where nothing goes wrong. After a break the registry is asked how far it got:
//! some go on from there, others have dropped what they had and the blob begins anew. So it is with
//! an upload that an earlier run has begun. Chunks are used only where a body is too large for what
//! stands in between.

use std::io::Read;
use std::num::NonZero;
use std::sync::atomic::Ordering;

use reqwest::header::{
    CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderMap, HeaderName, LOCATION, RANGE,
};
use reqwest::{Method, StatusCode};
use url::Url;

use super::answer::header;
use super::asked::Endpoint;
use super::auth::Scope;
use super::begun::Begun;
use super::failure::Failure;
use super::host::Attempts;
use super::http::{Call, Content};
use super::refusal::Refusal;
use super::repository::Repository;
use super::transport::{Piece, Response};
use crate::content::Source;
use crate::oci::Descriptor;
use crate::progress::Ended;
use crate::{Error, Kind, Result};

/// The first size of a chunk after a 413, in bytes; it is halved until one passes.
const FIRST_CHUNK: u64 = 64 << 20;
/// Smaller chunks are not tried: the trouble lies elsewhere.
const LEAST_CHUNK: u64 = 256 << 10;
/// The least size of a chunk that a registry takes (distribution-spec, "Pushing a blob in chunks").
const CHUNK_MIN_LENGTH: HeaderName = HeaderName::from_static("oci-chunk-min-length");

/// What a registry answers where it has taken a piece: 202 (distribution-spec, "Pushing a blob in
/// chunks"), or what it thinks of instead.
const TAKEN: &[u16] = &[202, 200, 201, 204];
/// What it answers where the upload has ended.
const ENDED: &[u16] = &[201];

/// An upload that has begun.
struct Session {
    url: Url,
    /// How much the registry has.
    offset: u64,
    least_chunk: u64,
    /// It goes on from where the registry said that it broke.
    resumed: bool,
}

impl Session {
    /// Nothing was put into it yet.
    fn is_new(&self) -> bool {
        self.offset == 0 && !self.resumed
    }
}

/// How one step ended.
enum Step {
    Done,
    /// The registry has so much now, and wants the next piece.
    Next,
    /// The body is too large for the registry or for what stands before it.
    TooLarge,
    /// The registry takes no content with the request that ends an upload.
    NotWhole,
    /// Something that may pass.
    Failed(Trouble),
    /// What the registry has is not what was sent: the blob begins anew.
    Lost(Trouble),
}

enum Trouble {
    Failure(Failure),
    Refusal(Refusal),
}

impl Repository {
    /// Puts a blob, from where `source` has it.
    ///
    /// # Errors
    /// What the source gives; [`Error::Unauthorised`], [`Error::Network`]; [`Error::Invalid`] where
    /// the registry finds that the content is not what its digest says.
    pub(crate) fn put_blob(&self, descriptor: &Descriptor, source: &dyn Source) -> Result<Ended> {
        let settings = &self.registry.host.settings;
        let folder = settings.uploads.as_deref();
        let begun = folder.and_then(|folder| Begun::open(folder, &self.name, descriptor));
        let ended = self.upload(descriptor, source, begun.as_ref(), settings.chunk_size);
        match &ended {
            // What broke may go on; a registry's no, and what is wrong, is no beginning.
            Err(e) if !matches!(e, Error::Invalid(_) | Error::Rejected(_) | Error::NotFound(_)) => {
                begun.into_iter().for_each(Begun::leave);
            }
            _ => begun.into_iter().for_each(Begun::forget),
        }
        ended
    }

    /// As [`put_blob`](Self::put_blob), in pieces of so many bytes, whatever the settings say.
    pub(crate) fn put_in_pieces(
        &self,
        descriptor: &Descriptor,
        source: &dyn Source,
        size: NonZero<u64>,
    ) -> Result<Ended> {
        self.upload(descriptor, source, None, Some(size))
    }

    fn upload(
        &self,
        descriptor: &Descriptor,
        source: &dyn Source,
        begun: Option<&Begun>,
        pieces: Option<NonZero<u64>>,
    ) -> Result<Ended> {
        let mut chunk = pieces.map(NonZero::get);
        // Whether the request that ends the upload may bring everything.
        let mut whole = chunk.is_none();
        let mut attempts = Attempts::new(&self.registry.host);
        let before = begun.and_then(|begun| self.of_earlier_run(begun, descriptor));
        let mut is_earlier = before.is_some();
        let mut session = match before {
            Some(session) => session,
            None => match self.begin(descriptor)? {
                Some(session) => session,
                None => return Ok(Ended::Mounted),
            },
        };
        let mut reached = session.offset;
        loop {
            begun.inspect(|begun| begun.remember(&session.url));
            let step = match chunk {
                None if whole && session.offset == 0 => {
                    self.put_whole(&session, descriptor, source)
                }
                _ if session.offset < descriptor.size => {
                    let size = chunk
                        .unwrap_or(u64::MAX)
                        .max(session.least_chunk)
                        .min(descriptor.size - session.offset);
                    self.patch(&mut session, size, descriptor, source)
                }
                _ => self.finish(&session, descriptor),
            };
            // What an earlier run began may be what the registry does not like.
            if is_earlier && is_refused(&step) {
                // It may be that only its answer was lost.
                if self.has_blob(descriptor)? {
                    return Ok(Ended::Copied);
                }
                self.tell_forgotten(descriptor);
                is_earlier = false;
                match self.begin(descriptor)? {
                    Some(begun) => session = begun,
                    None => return Ok(Ended::Mounted),
                }
                continue;
            }
            let step = step?;
            if session.offset > reached {
                attempts.progress();
                reached = session.offset;
            }
            let again = match step {
                Step::Done => return Ok(Ended::Copied),
                Step::Next => false,
                Step::NotWhole => {
                    log::debug!("{}: no blob in one request; sending it in two", self.name.host());
                    whole = false;
                    true
                }
                Step::TooLarge => {
                    chunk = Some(self.smaller(chunk, descriptor)?);
                    true
                }
                Step::Failed(trouble) => {
                    let slow = matches!(trouble, Trouble::Failure(Failure::Slow(_)));
                    self.wait(&mut attempts, trouble)?;
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
                    self.wait(&mut attempts, trouble)?;
                    true
                }
            };
            if again {
                is_earlier = false;
                match self.begin(descriptor)? {
                    Some(begun) => session = begun,
                    None => return Ok(Ended::Mounted),
                }
            }
        }
    }

    /// The upload that an earlier run has begun, where the registry still has something of it.
    fn of_earlier_run(&self, begun: &Begun, descriptor: &Descriptor) -> Option<Session> {
        let at = self.url("blobs/uploads/");
        // It goes to nobody but the registry itself, whatever the file says.
        let url = self.registry.host.own_url(&at, begun.address()?, "an upload").ok()?;
        let mut session = Session { url, offset: 0, least_chunk: 0, resumed: false };
        if self.ask_how_far(&mut session, descriptor) {
            return Some(session);
        }
        self.tell_forgotten(descriptor);
        None
    }

    fn tell_forgotten(&self, descriptor: &Descriptor) {
        log::warn!(
            "{} has kept nothing of the upload of {} that was cut off; it begins anew",
            self.name.host(),
            descriptor.digest
        );
    }

    fn step(&self, method: Method, url: Url, descriptor: &Descriptor) -> Call<'_> {
        self.call(method, url, Endpoint::PutBlob(descriptor.digest.clone()))
    }

    /// Begins an upload; `None` where the blob could be taken over from another repository.
    fn begin(&self, descriptor: &Descriptor) -> Result<Option<Session>> {
        let mount = self.mount.as_ref().filter(|mount| !mount.refused.load(Ordering::Relaxed));
        if let Some(mount) = mount {
            let mut url = self.url("blobs/uploads/");
            url.query_pairs_mut()
                .append_pair("mount", &descriptor.digest.to_string())
                .append_pair("from", &mount.from);
            match self.ask_to_begin(url, &mount.scopes, descriptor) {
                // Who may not read there sends the content, as if there were nothing to take over.
                Err(e) if may_be_the_mount(&e) => {
                    log::debug!("{}: nothing comes from {}: {e}", self.name, mount.from);
                    mount.refused.store(true, Ordering::Relaxed);
                }
                begun => return begun,
            }
        }
        self.ask_to_begin(self.url("blobs/uploads/"), &self.scopes, descriptor)
    }

    fn ask_to_begin(
        &self,
        url: Url,
        scopes: &[Scope],
        descriptor: &Descriptor,
    ) -> Result<Option<Session>> {
        let asked = self.asked(Endpoint::PutBlob(descriptor.digest.clone()));
        let call = Call::new(Method::POST, url, scopes, asked).header(CONTENT_LENGTH, "0");
        let response = self.registry.call(&call, &[202, 201])?;
        if response.status == StatusCode::CREATED {
            return Ok(None);
        }
        let url = self.location(&call.url, &response.headers)?.ok_or_else(|| {
            Error::invalid(format!("{} begins an upload without saying where", self.name.host()))
                .with_hint("check that a registry answers there")
        })?;
        let least = header(&response.headers, CHUNK_MIN_LENGTH)?
            .and_then(|text| text.parse().ok())
            .unwrap_or(0);
        Ok(Some(Session { url, offset: 0, least_chunk: least, resumed: false }))
    }

    /// Where the upload goes on; at the registry itself, since what is uploaded is for nobody else.
    fn location(&self, from: &Url, headers: &HeaderMap) -> Result<Option<Url>> {
        header(headers, LOCATION)?
            .map(|text| self.registry.host.own_url(from, text, "an upload"))
            .transpose()
    }

    /// The content between two offsets.
    fn piece<'s>(
        &self,
        descriptor: &Descriptor,
        source: &'s dyn Source,
        offset: u64,
        len: u64,
    ) -> Result<Piece<'s>> {
        let reader = Box::new(source.open(descriptor, offset)?.take(len));
        let file = source.file(descriptor)?.map(|(file, start)| (file, start + offset));
        Ok(Piece { reader, file })
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
            .step(Method::PUT, ending(&session.url, descriptor), descriptor)
            .header(CONTENT_TYPE, "application/octet-stream")
            .content(Content::Stream(descriptor.size, &open));
        // Some know nothing of content in the request that ends an upload, and say that there is no
        // such thing.
        let answer = self.registry.once(&call);
        if session.is_new()
            && descriptor.size > 0
            && answer.as_ref().is_ok_and(|no| matches!(no.status.as_u16(), 404 | 405))
        {
            return Ok(Step::NotWhole);
        }
        self.judge(answer, &call, ENDED, session).map(|step| step.err().unwrap_or(Step::Done))
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
            .step(Method::PATCH, session.url.clone(), descriptor)
            .header(CONTENT_TYPE, "application/octet-stream")
            .made_header(CONTENT_RANGE, &format!("{start}-{}", end - 1))?
            .content(Content::Stream(size, &open));
        let response = match self.judge(self.registry.once(&call), &call, TAKEN, session)? {
            Ok(response) => response,
            Err(step) => return Ok(step),
        };
        if let Some(url) = self.location(&call.url, &response.headers)? {
            session.url = url;
        }
        // A registry may append what does not belong at its end, and say yes; only the range tells.
        // What lies before that end is then nothing to go on from.
        match range_end(&response.headers)? {
            Some(reached) if reached != end => {
                let error = format!(
                    "{} has {reached} bytes of {} after {end} were sent",
                    self.name.host(),
                    descriptor.digest
                );
                Ok(Step::Lost(Trouble::Failure(Failure::Broken(error.into()))))
            }
            _ => {
                session.offset = end;
                Ok(Step::Next)
            }
        }
    }

    /// Ends an upload of which the registry has everything.
    fn finish(&self, session: &Session, descriptor: &Descriptor) -> Result<Step> {
        let call = self
            .step(Method::PUT, ending(&session.url, descriptor), descriptor)
            .header(CONTENT_LENGTH, "0");
        self.judge(self.registry.once(&call), &call, ENDED, session)
            .map(|step| step.err().unwrap_or(Step::Done))
    }

    /// Tells what an answer means: `Ok` for one that was hoped for, else what to do.
    fn judge(
        &self,
        answer: Result<Response, Failure>,
        call: &Call<'_>,
        good: &[u16],
        session: &Session,
    ) -> Result<Result<Response, Step>> {
        let mut response = match answer {
            Ok(response) if good.contains(&response.status.as_u16()) => return Ok(Ok(response)),
            Ok(response) => response,
            Err(Failure::Own(error)) => return Err(error),
            Err(failure) => return Ok(Err(Step::Failed(Trouble::Failure(failure)))),
        };
        let refusal = Refusal::of(&mut response, &call.asked);
        // An upload that the registry does not know any more, or whose place it disputes, may begin
        // anew.
        let lost = matches!(refusal.status(), 404 | 416) && refusal.code() != "NAME_UNKNOWN"
            || refusal.code() == "BLOB_UPLOAD_INVALID";
        if refusal.status() == 413 {
            return Ok(Err(Step::TooLarge));
        }
        if refusal.is_temporary() || lost {
            return Ok(Err(Step::Failed(Trouble::Refusal(refusal))));
        }
        // Our content may be sound, and where the registry said that it broke wrong.
        if session.resumed && refusal.code() == "DIGEST_INVALID" {
            return Ok(Err(Step::Lost(Trouble::Refusal(refusal))));
        }
        Err(refusal.error())
    }

    fn wait(&self, attempts: &mut Attempts<'_>, trouble: Trouble) -> Result<()> {
        match trouble {
            Trouble::Failure(failure) => attempts.again_after(failure),
            Trouble::Refusal(refusal) => {
                attempts.again(&refusal, refusal.delay(), || refusal.error())
            }
        }
    }

    /// Asks how much of an upload has arrived, to go on from there; `false` where it must begin
    /// anew.
    fn ask_how_far(&self, session: &mut Session, descriptor: &Descriptor) -> bool {
        let call = self.step(Method::GET, session.url.clone(), descriptor);
        let Ok(response) = self.registry.once(&call) else { return false };
        let reached = range_end(&response.headers).ok().flatten().unwrap_or(0);
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

/// Whether a registry may have said no to taking content over, and not to an upload.
fn may_be_the_mount(error: &Error) -> bool {
    match Refusal::behind(error) {
        Some(refusal) => !refusal.is_temporary() && refusal.status() < 500,
        // No token for two repositories at once.
        None => error.kind() == Kind::Unauthorised,
    }
}

/// Whether a registry has said no to a step, and not only the connection broke.
fn is_refused(step: &Result<Step>) -> bool {
    match step {
        Ok(Step::Failed(Trouble::Refusal(_)) | Step::Lost(_)) => true,
        Ok(_) => false,
        Err(e) => Refusal::behind(e).is_some(),
    }
}

/// How many bytes a registry has, from `Range: 0-N` (distribution-spec, "Pushing a blob in
/// chunks").
fn range_end(headers: &HeaderMap) -> Result<Option<u64>> {
    let range = header(headers, RANGE)?.unwrap_or_default().trim().trim_start_matches("bytes=");
    let Some(("0", end)) = range.split_once('-') else { return Ok(None) };
    Ok(end.parse().ok().map(|end: u64| end.saturating_add(1)))
}

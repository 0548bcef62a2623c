//! What the tests' own servers answer: content that need not be in memory, and ways of sending it
//! wrongly.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use osimage::digest::{Algorithm, Digest, Hasher};

use super::http::{Connection, Request};

/// Content is made and sent in pieces of this size.
const PIECE: usize = 256 * 1024;
/// Content that is made up bears the number of each page at the page's start.
const PAGE: u64 = 4096;

/// Bytes of a known length, or without end.
#[derive(Clone)]
pub struct Content {
    kind: Kind,
    start: u64,
    len: u64,
}

#[derive(Clone)]
enum Kind {
    Bytes(Arc<Vec<u8>>),
    /// Zeros, but for the page's number and the seed at the start of each page.
    Pages(u64),
}

impl Content {
    pub fn bytes(bytes: impl Into<Vec<u8>>) -> Self {
        let bytes = bytes.into();
        Content { start: 0, len: bytes.len() as u64, kind: Kind::Bytes(Arc::new(bytes)) }
    }

    /// Content of any size that takes no memory; it differs everywhere, so that bytes from the
    /// wrong place are noticed.
    pub fn pages(seed: u64, len: u64) -> Self {
        Content { kind: Kind::Pages(seed), start: 0, len }
    }

    pub fn endless() -> Self {
        Content::pages(1, u64::MAX)
    }

    pub fn len(&self) -> u64 {
        self.len
    }

    /// A part; what lies beyond the end is left out.
    #[must_use]
    pub fn slice(&self, start: u64, len: u64) -> Self {
        let start = start.min(self.len);
        Content {
            kind: self.kind.clone(),
            start: self.start + start,
            len: len.min(self.len - start),
        }
    }

    /// Gives all of it, piece by piece, while `take` wants more.
    pub fn each(
        &self,
        piece: usize,
        mut take: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut buffer = vec![0; piece.min(PIECE)];
        let mut at = 0;
        while at < self.len {
            let count = (self.len - at).min(buffer.len() as u64) as usize;
            self.fill(self.start + at, &mut buffer[..count]);
            take(&buffer[..count])?;
            at += count as u64;
        }
        Ok(())
    }

    fn fill(&self, from: u64, buffer: &mut [u8]) {
        match &self.kind {
            Kind::Bytes(bytes) => {
                buffer.copy_from_slice(&bytes[from as usize..from as usize + buffer.len()]);
            }
            Kind::Pages(seed) => {
                buffer.fill(0);
                let mut page = from / PAGE;
                while page * PAGE < from + buffer.len() as u64 {
                    for (index, byte) in (page ^ seed << 48).to_le_bytes().into_iter().enumerate() {
                        let place = (page * PAGE + index as u64).checked_sub(from);
                        if let Some(slot) = place.and_then(|place| buffer.get_mut(place as usize)) {
                            *slot = byte;
                        }
                    }
                    page += 1;
                }
            }
        }
    }

    pub fn to_vec(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let _ = self.each(PIECE, |piece| {
            bytes.extend_from_slice(piece);
            Ok(())
        });
        bytes
    }

    pub fn digest(&self) -> Digest {
        let mut hash = Hasher::new(Algorithm::Sha256);
        let _ = self.each(PIECE, |piece| {
            hash.update(piece);
            Ok(())
        });
        hash.finish()
    }
}

/// How the length of an answer is told.
#[derive(Clone, Copy)]
enum Length {
    True,
    Claimed(u64),
    Chunked,
    /// Not at all: the connection's end is the content's.
    Untold,
}

/// An answer. Status 0 is none: the connection ends.
#[derive(Clone)]
pub struct Response {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub content: Content,
    sending: Box<Sending>,
}

/// How an answer is sent.
#[derive(Clone)]
struct Sending {
    length: Length,
    cut: Option<u64>,
    stall: Option<u64>,
    drip: Option<(usize, Duration)>,
    /// Sent as it stands, in place of everything else.
    raw: Option<Vec<u8>>,
}

impl Response {
    pub fn new(status: u16) -> Self {
        let sending =
            Sending { length: Length::True, cut: None, stall: None, drip: None, raw: None };
        Response {
            status,
            headers: Vec::new(),
            content: Content::bytes(""),
            sending: Box::new(sending),
        }
    }

    /// The connection ends without an answer.
    pub fn none() -> Self {
        Response::new(0)
    }

    fn sent(mut self, how: impl FnOnce(&mut Sending)) -> Self {
        how(&mut self.sending);
        self
    }

    /// These bytes, be they HTTP or not, and the connection's end.
    pub fn raw(bytes: impl Into<Vec<u8>>) -> Self {
        let bytes = bytes.into();
        Response::new(599).sent(|sending| sending.raw = Some(bytes))
    }

    pub fn json(status: u16, value: &serde_json::Value) -> Self {
        Response::new(status).with("Content-Type", "application/json").body(value.to_string())
    }

    /// An error as the distribution specification words it.
    pub fn error(status: u16, code: &str, message: &str) -> Self {
        Response::json(status, &serde_json::json!({"errors": [{"code": code, "message": message}]}))
    }

    pub fn redirect(status: u16, location: &str) -> Self {
        Response::new(status).with("Location", location)
    }

    /// Sets a header, in place of the one of that name.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl ToString) -> Self {
        self.headers.retain(|(other, _)| !other.eq_ignore_ascii_case(name));
        self.and(name, value)
    }

    /// Adds a header beside others of that name.
    #[must_use]
    pub fn and(mut self, name: &str, value: impl ToString) -> Self {
        self.headers.push((name.to_owned(), value.to_string()));
        self
    }

    /// Leaves a header out.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(other, _)| !other.eq_ignore_ascii_case(name));
        self
    }

    #[must_use]
    pub fn body(self, bytes: impl Into<Vec<u8>>) -> Self {
        self.content(Content::bytes(bytes))
    }

    #[must_use]
    pub fn content(mut self, content: Content) -> Self {
        self.content = content;
        self
    }

    /// One bit of the content is wrong. Only for content that fits into memory.
    #[must_use]
    pub fn flipped(self, at: u64) -> Self {
        let mut bytes = self.content.to_vec();
        if let Some(byte) = bytes.get_mut(at as usize) {
            *byte ^= 1;
        }
        self.body(bytes)
    }

    /// The Content-Length is this, whatever is sent.
    #[must_use]
    pub fn claiming(self, length: u64) -> Self {
        self.sent(|sending| sending.length = Length::Claimed(length))
    }

    /// Without a Content-Length, in chunks.
    #[must_use]
    pub fn chunked(self) -> Self {
        self.sent(|sending| sending.length = Length::Chunked)
    }

    /// Without a Content-Length, up to the connection's end.
    #[must_use]
    pub fn untold(self) -> Self {
        self.sent(|sending| sending.length = Length::Untold)
    }

    /// The connection ends after so many bytes of the content.
    #[must_use]
    pub fn cut(self, after: u64) -> Self {
        self.sent(|sending| sending.cut = Some(after))
    }

    /// After so many bytes of the content nothing more comes, and the connection stays open.
    #[must_use]
    pub fn stall(self, after: u64) -> Self {
        self.sent(|sending| sending.stall = Some(after))
    }

    /// A few bytes at a time.
    #[must_use]
    pub fn drip(self, bytes: usize, every: Duration) -> Self {
        self.sent(|sending| sending.drip = Some((bytes, every)))
    }

    /// Whether the connection breaks off rather than ends.
    pub fn cuts(&self) -> bool {
        self.sending.cut.is_some_and(|after| after < self.content.len)
    }

    /// Sends it; tells whether the connection can go on.
    pub fn write(
        &self,
        request: &Request,
        connection: &mut Connection,
        goes_on: bool,
    ) -> io::Result<bool> {
        if self.status == 0 {
            return Ok(false);
        }
        if let Some(raw) = &self.sending.raw {
            connection.write(raw)?;
            return Ok(false);
        }
        let bare = request.method == "HEAD" || matches!(self.status, 204 | 304);
        let honest = matches!(self.sending.length, Length::True | Length::Chunked)
            && self.sending.cut.is_none();
        let goes_on = goes_on && (honest || bare);
        let mut head = format!("HTTP/1.1 {} {}\r\n", self.status, reason(self.status));
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        match self.sending.length {
            // A length in the headers is that of what a GET would give.
            _ if self
                .headers
                .iter()
                .any(|(name, _)| name.eq_ignore_ascii_case("Content-Length")) => {}
            Length::True if self.status == 204 => {}
            Length::True => head.push_str(&format!("Content-Length: {}\r\n", self.content.len)),
            Length::Claimed(length) => head.push_str(&format!("Content-Length: {length}\r\n")),
            Length::Chunked => head.push_str("Transfer-Encoding: chunked\r\n"),
            Length::Untold => {}
        }
        if !goes_on {
            head.push_str("Connection: close\r\n");
        }
        head.push_str("\r\n");
        connection.write(head.as_bytes())?;
        if !bare {
            self.write_content(connection)?;
        }
        Ok(goes_on)
    }

    fn write_content(&self, connection: &mut Connection) -> io::Result<()> {
        let chunked = matches!(self.sending.length, Length::Chunked);
        let (size, pause) = self.sending.drip.unwrap_or((PIECE, Duration::ZERO));
        let end =
            [self.sending.cut, self.sending.stall].into_iter().flatten().min().unwrap_or(u64::MAX);
        let sent = self.content.slice(0, end);
        sent.each(size, |piece| {
            if chunked {
                connection.write(format!("{:x}\r\n", piece.len()).as_bytes())?;
            }
            connection.write(piece)?;
            if chunked {
                connection.write(b"\r\n")?;
            }
            if connection.pause(pause) {
                Ok(())
            } else {
                Err(io::ErrorKind::ConnectionAborted.into())
            }
        })?;
        if self.sending.stall.is_some() && !self.cuts() {
            connection.stall();
        } else if chunked && !self.cuts() {
            connection.write(b"0\r\n\r\n")?;
        }
        Ok(())
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        206 => "Partial Content",
        301..=308 => "Redirect",
        401 => "Unauthorized",
        404 => "Not Found",
        429 => "Too Many Requests",
        500.. => "Server Error",
        _ => "Other",
    }
}

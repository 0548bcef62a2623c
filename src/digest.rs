//! Digests: strict parsing, hashing, and readers that check what passes through them.

use std::fmt;
use std::io::{self, Read};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256, Sha512};

use crate::{Error, Result, json, words};

/// How much is read at a time while hashing and copying. Measured: 256 KiB copies 1.1 GB/s on one
/// thread; blocks of several MiB fall out of the processor's cache and cost four times as much.
pub(crate) const BLOCK: usize = 256 * 1024;

/// The registered digest algorithms (image-spec, descriptor.md, "Registered algorithms").
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Algorithm {
    /// SHA-256, which everything that osimage writes uses.
    Sha256,
    /// SHA-512, which is read.
    Sha512,
}

impl Algorithm {
    /// The name before the colon, which is also the folder below `blobs/`.
    pub fn name(self) -> &'static str {
        match self {
            Algorithm::Sha256 => "sha256",
            Algorithm::Sha512 => "sha512",
        }
    }

    fn hex_len(self) -> usize {
        match self {
            Algorithm::Sha256 => 64,
            Algorithm::Sha512 => 128,
        }
    }

    /// The algorithm of that name, if it is a registered one.
    pub fn from_name(name: &str) -> Option<Self> {
        [Algorithm::Sha256, Algorithm::Sha512].into_iter().find(|a| a.name() == name)
    }
}

/// A content digest such as `sha256:41c4…`.
///
/// Only strict parsing makes one: a registered algorithm and exactly as many lower-case hex digits
/// as it has. So a `Digest` can be a part of a path or of a URL without further checks, wherever it
/// came from, JSON included.
///
/// ```
/// use osimage::digest::Digest;
/// let digest = Digest::of(b"");
/// assert_eq!(digest.to_string(), "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
/// assert!("sha256:../../etc/passwd".parse::<Digest>().is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest {
    algorithm: Algorithm,
    hex: String,
}

impl Digest {
    /// The SHA-256 digest of some bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Digest::with(Algorithm::Sha256, bytes)
    }

    /// The digest of some bytes by an algorithm.
    pub fn with(algorithm: Algorithm, bytes: &[u8]) -> Self {
        let mut hasher = Hasher::new(algorithm);
        hasher.update(bytes);
        hasher.finish()
    }

    /// A digest from its two parts, as they stand in a layout's paths.
    ///
    /// # Errors
    /// [`Error::Invalid`] where the digits are not exactly that algorithm's.
    pub fn from_parts(algorithm: Algorithm, hex: &str) -> Result<Self> {
        if hex.len() != algorithm.hex_len()
            || !hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        {
            let (name, len, hex) = (algorithm.name(), algorithm.hex_len(), words::foreign(hex));
            return Err(Error::invalid(format!(
                "{hex:?} is not a {name} digest: it needs {len} hex digits in lower case"
            )));
        }
        Ok(Digest { algorithm, hex: hex.to_owned() })
    }

    /// The algorithm.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The hex digits, without the algorithm.
    pub fn hex(&self) -> &str {
        &self.hex
    }

    /// The first twelve digits: what a table shows as the image's id.
    pub fn short(&self) -> &str {
        &self.hex[..12]
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm.name(), self.hex)
    }
}

impl FromStr for Digest {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (name, hex) = text.split_once(':').ok_or_else(|| {
            let shown = words::foreign(text);
            Error::invalid(format!("{shown:?} is not a digest: it has no algorithm"))
        })?;
        let algorithm = Algorithm::from_name(name).ok_or_else(|| {
            let shown = words::foreign(text);
            Error::invalid(format!(
                "{shown:?} is not a digest that can be checked: only sha256 and sha512 are known"
            ))
        })?;
        Digest::from_parts(algorithm, hex)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let json::Key(text) = json::Key::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl json::Document for Digest {
    fn write(&self, out: &mut json::Writer) {
        // A digest has nothing that JSON would escape.
        out.json(&format!("\"{self}\""));
    }
}

/// A running hash.
#[derive(Clone)]
pub struct Hasher(State);

#[derive(Clone)]
enum State {
    Sha256(Sha256),
    Sha512(Box<Sha512>),
}

impl Hasher {
    /// A hash of nothing yet.
    pub fn new(algorithm: Algorithm) -> Self {
        Hasher(match algorithm {
            Algorithm::Sha256 => State::Sha256(Sha256::new()),
            Algorithm::Sha512 => State::Sha512(Box::new(Sha512::new())),
        })
    }

    /// Takes more bytes in.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            State::Sha256(h) => h.update(bytes),
            State::Sha512(h) => h.update(bytes),
        }
    }

    /// Takes all in that a reader gives; gives how many bytes that were.
    pub(crate) fn read_all(&mut self, from: &mut dyn Read) -> io::Result<u64> {
        let mut block = vec![0; BLOCK];
        let mut size = 0;
        loop {
            match from.read(&mut block) {
                Ok(0) => return Ok(size),
                Ok(n) => {
                    self.update(&block[..n]);
                    size += n as u64;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }

    /// The digest of everything that was taken in.
    pub fn finish(self) -> Digest {
        let (algorithm, bytes) = match self.0 {
            State::Sha256(h) => (Algorithm::Sha256, h.finalize().to_vec()),
            State::Sha512(h) => (Algorithm::Sha512, h.finalize().to_vec()),
        };
        let nibbles = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
        let hex = nibbles.map(|nibble| char::from(b"0123456789abcdef"[usize::from(nibble)]));
        let hex = hex.collect();
        Digest { algorithm, hex }
    }
}

/// A reader that passes exactly the content that a digest and a size promise.
///
/// Reading stops with an error as soon as there is more than the promised size, and at the end
/// where the content is shorter or its digest differs; so whoever reads to the end without an error
/// has what was promised.
pub struct Verifying<R> {
    inner: R,
    digest: Digest,
    left: u64,
    hasher: Option<Hasher>,
    origin: String,
}

impl<R: Read> Verifying<R> {
    /// Checks `inner` against `digest` and `size` (bytes); `origin` says in errors where the
    /// content comes from.
    pub fn new(inner: R, digest: &Digest, size: u64, origin: impl Into<String>) -> Self {
        Self::rest(inner, digest, size, Hasher::new(digest.algorithm()), origin)
    }

    /// Checks what comes after bytes that `before` has taken in; `left` (bytes) is what is to come.
    pub(crate) fn rest(
        inner: R,
        digest: &Digest,
        left: u64,
        before: Hasher,
        origin: impl Into<String>,
    ) -> Self {
        let (digest, origin) = (digest.clone(), origin.into());
        Verifying { inner, digest, left, hasher: Some(before), origin }
    }

    fn refuse(&self, why: &str) -> io::Error {
        let (origin, digest) = (&self.origin, &self.digest);
        io::Error::new(
            io::ErrorKind::InvalidData,
            Error::invalid(format!("the content of {digest} in {origin} {why}"))
                .with_hint("it is damaged or was changed; get the image again"),
        )
    }
}

impl<R: Read> Read for Verifying<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        let n = self.inner.read(buf)?;
        if n as u64 > self.left {
            return Err(self.refuse("is longer than its descriptor says"));
        }
        self.left -= n as u64;
        match (&mut self.hasher, n) {
            (Some(hasher), 1..) => hasher.update(&buf[..n]),
            (Some(_), 0) if self.left > 0 => {
                return Err(self.refuse(&format!("ends {} bytes before its size", self.left)));
            }
            (hasher @ Some(_), 0) => {
                let actual = hasher.take().expect("matched").finish();
                if actual != self.digest {
                    return Err(self.refuse(&format!("hashes to {actual}")));
                }
            }
            (None, _) => {}
        }
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_strict_digests_parse() {
        let hex = "a".repeat(64);
        assert!(format!("sha256:{hex}").parse::<Digest>().is_ok());
        assert!(format!("sha512:{hex}{hex}").parse::<Digest>().is_ok());
        for bad in [
            "",
            "sha256",
            "sha256:",
            "sha256:../../x",
            &hex,
            &format!("sha256:{}", "A".repeat(64)),
            &format!("sha256:{}", "a".repeat(63)),
            &format!("sha256:{}", "a".repeat(65)),
            &format!("SHA256:{hex}"),
            &format!("md5:{}", "a".repeat(32)),
            &format!("sha256:{hex} "),
            &format!("sha256:{}/", "a".repeat(63)),
        ] {
            assert!(bad.parse::<Digest>().is_err(), "{bad:?} must not parse");
            let json = serde_json::to_string(bad).unwrap();
            assert!(
                serde_json::from_str::<Digest>(&json).is_err(),
                "{bad:?} must not parse inside JSON"
            );
        }
    }

    #[test]
    fn a_verifying_reader_passes_only_what_was_promised() {
        let content = b"a kernel".as_slice();
        let digest = Digest::of(content);
        let read = |bytes: &[u8], size: u64| {
            let mut out = Vec::new();
            Verifying::new(bytes, &digest, size, "the test")
                .read_to_end(&mut out)
                .map(|_| out)
                .map_err(|e| e.to_string())
        };
        assert_eq!(read(content, 8).unwrap(), content);
        assert!(read(b"a kernel!", 8).unwrap_err().contains("longer"));
        assert!(read(b"a kerne", 8).unwrap_err().contains("ends 1 bytes before"));
        assert!(read(b"a Kernel", 8).unwrap_err().contains("hashes to"));
    }
}

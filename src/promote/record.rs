//! The record of a promotion: which image became what a name stands for, from where, when, in the
//! place of which other one, and by whose key (docs/FORMATS.md, "Promotion").

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::image::artifact;
use crate::image::build::BlobSink;
use crate::json::{self, Object};
use crate::memory::Memory;
use crate::names::Reference;
use crate::oci::{self, Annotations, Descriptor};
use crate::trust::{Predicate, Signing};
use crate::{Error, Result};

/// What a record says.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Record {
    /// What the image was called where it came from.
    pub from: Reference,
    /// The name that it was promoted to.
    pub to: Reference,
    /// The image.
    pub digest: Digest,
    /// What the name stood for before.
    pub previous: Option<Digest>,
    /// The stage that the name is of, where stages were asked for.
    pub stage: Option<String>,
    /// The fingerprints of the keys that sign the record; whether they did, their signatures tell.
    pub by: Vec<Digest>,
    /// When it was, to the millisecond.
    pub time: SystemTime,
}

/// The record in JSON; the order of the fields is that of the bytes.
#[derive(Serialize, Deserialize)]
struct Written {
    from: String,
    to: String,
    digest: Digest,
    #[serde(skip_serializing_if = "Option::is_none")]
    previous: Option<Digest>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stage: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    by: Vec<Digest>,
    time: String,
}

impl Record {
    /// The type of the statement, where it is signed.
    pub const PREDICATE: &str = "urn:osimage:promotion:v1";
    /// The type of the artifact and of its only file, where it is not.
    pub const ARTIFACT: &str = "application/vnd.osimage.promotion.v1+json";

    /// Reads one.
    ///
    /// # Errors
    /// [`Error::Invalid`] where it is none.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let Object(read): Object<Written> = json::from_slice(bytes, "the record of a promotion")?;
        let name = |text: &str| -> Result<Reference> {
            text.parse().map_err(|e| Error::invalid(format!("the record of a promotion: {e}")))
        };
        let time = humantime::parse_rfc3339(&read.time).map_err(|_| {
            Error::invalid(format!("the record of a promotion has no time, but {:?}", read.time))
        })?;
        Ok(Record {
            from: name(&read.from)?,
            to: name(&read.to)?,
            digest: read.digest,
            previous: read.previous,
            stage: read.stage,
            by: read.by,
            time,
        })
    }

    /// When it was, in RFC 3339.
    pub fn time(&self) -> String {
        shown(self.time)
    }

    /// Its bytes.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let written = Written {
            from: self.from.to_string(),
            to: self.to.to_string(),
            digest: self.digest.clone(),
            previous: self.previous.clone(),
            stage: self.stage.clone(),
            by: self.by.clone(),
            time: self.time(),
        };
        serde_json::to_vec(&written).expect("it is texts")
    }

    /// What is to be attached to the image: an attestation of each key or, where nobody signs, an
    /// artifact with the record as it is. All of it goes to `sink`.
    ///
    /// # Errors
    /// What the keys and the sink give.
    pub(super) fn attachments(
        &self,
        image: &Descriptor,
        signing: Option<&Signing<'_>>,
        sink: &dyn BlobSink,
    ) -> Result<Vec<Descriptor>> {
        let bytes = self.to_bytes();
        if let Some(signing) = signing {
            let predicate = Predicate::new(Self::PREDICATE, bytes)?;
            // It was not there a moment ago, so nothing is looked for.
            let made = signing.attest(&Memory::default(), image, &predicate, sink)?;
            return Ok(made.entries().to_vec());
        }
        let layer = Descriptor::of(Self::ARTIFACT, &bytes);
        sink.bytes(bytes)?;
        let annotations = Annotations::from_iter([(oci::CREATED, self.time())]);
        Ok(vec![artifact::manifest(Self::ARTIFACT, image, vec![layer], &annotations, sink)?])
    }
}

/// A time to the millisecond, as records have it: promotions follow each other within a second.
pub(super) fn to_the_millisecond(time: SystemTime) -> SystemTime {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let millis = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
    SystemTime::UNIX_EPOCH + Duration::from_millis(millis)
}

/// A time in RFC 3339; without a fraction where it has none.
fn shown(time: SystemTime) -> String {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    match since.subsec_millis() {
        0 => humantime::format_rfc3339_seconds(time).to_string(),
        _ => humantime::format_rfc3339_millis(time).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = concat!(
        r#"{"from":"r.example/os:beta","to":"r.example/os:stable","#,
        r#""digest":"sha256:efc2f1d052d480bf73c04808d959caf874da1fa877924d0cb85d9ac56476547b","#,
        r#""previous":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","#,
        r#""stage":"stable","#,
        r#""by":["sha256:43878b34f30953baf29876bcb83a0ec27ddd7c87cb13b059ab0e56cd06a93730"],"#,
        r#""time":"2026-01-31T12:00:00.250Z"}"#
    );

    #[test]
    fn a_record_is_written_as_it_was_read() {
        let record = Record::parse(WHOLE.as_bytes()).unwrap();
        assert_eq!(String::from_utf8(record.to_bytes()).unwrap(), WHOLE);
        let bare = Record {
            previous: None,
            stage: None,
            by: Vec::new(),
            time: SystemTime::UNIX_EPOCH,
            ..record
        };
        let bytes = bare.to_bytes();
        assert!(
            String::from_utf8(bytes.clone())
                .unwrap()
                .ends_with(r#"6547b","time":"1970-01-01T00:00:00Z"}"#)
        );
        assert_eq!(Record::parse(&bytes).unwrap(), bare);
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_no_record() {
        for (from, to) in [
            (r#""to":"#, r#""to":"r.example/os:x","to":"#),
            ("r.example/os:beta", "os:beta"),
            ("2026-01-31T12:00:00.250Z", "yesterday"),
            (r#""digest":"sha256:"#, r#""digest":"sha256:0"#),
            (r#","time""#, r#","at""#),
        ] {
            let other = WHOLE.replacen(from, to, 1);
            assert_ne!(other, WHOLE, "{from}");
            assert!(Record::parse(other.as_bytes()).is_err(), "{other}");
        }
    }
}

//! Statements about images, and their signing: in-toto's statement in DSSE's envelope.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use crate::digest::Digest;
use crate::json::{self, Members, Object};
use crate::oci::Annotations;
use crate::{Error, Result};

/// The type of what is signed: in-toto's, in JSON.
pub(super) const IN_TOTO: &str = "application/vnd.in-toto+json";
/// What a statement calls itself (in-toto attestation framework, "Statement"), and called itself
/// before.
const STATEMENT: &str = "https://in-toto.io/Statement/v1";
const STATEMENT_0: &str = "https://in-toto.io/Statement/v0.1";
/// What is said of an image that is only signed.
pub(super) const SIGNED: &str = "https://sigstore.dev/cosign/sign/v1";
/// How many subjects a statement may have, and how many digests each.
const MAX_SUBJECTS: usize = 10_000;
const MAX_DIGESTS: usize = 16;

/// A statement about an image.
#[derive(Debug)]
pub(super) struct Statement {
    /// The digests that it is about, `ALGORITHM:HEX`.
    subjects: Vec<String>,
    pub predicate_type: String,
    /// What the signer added to the first subject.
    pub annotations: Annotations,
}

impl Statement {
    /// Reads one. A key that counts and stands twice makes it none.
    ///
    /// # Errors
    /// [`Error::Invalid`].
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Read<'a> {
            #[serde(rename = "_type")]
            kind: String,
            subject: Subjects,
            predicate_type: String,
            /// It is there, or `null`, or not; what it says is for whoever asked for it.
            #[serde(borrow, default)]
            #[allow(dead_code, reason = "a second one is an error")]
            predicate: Option<&'a RawValue>,
        }
        let Object(read): Object<Read<'_>> = serde_json::from_slice(bytes).map_err(|e| {
            let why = crate::words::foreign(&e.to_string());
            Error::invalid(format!("the statement cannot be read: {why}"))
        })?;
        if ![STATEMENT, STATEMENT_0].contains(&read.kind.as_str()) {
            return Err(Error::invalid("what is signed is no statement of in-toto"));
        }
        Ok(Statement {
            subjects: read.subject.digests,
            predicate_type: read.predicate_type,
            annotations: read.subject.annotations,
        })
    }

    /// Whether it is about the image of a digest.
    pub fn is_about(&self, digest: &Digest) -> bool {
        self.subjects.contains(&digest.to_string())
    }
}

/// The digests of what a statement is about, and what was added to the first.
struct Subjects {
    digests: Vec<String>,
    annotations: Annotations,
}

impl<'de> Deserialize<'de> for Subjects {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Few;
        impl<'de> Visitor<'de> for Few {
            type Value = Subjects;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of subjects")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Subjects, A::Error> {
                let mut all = Subjects { digests: Vec::new(), annotations: Annotations::default() };
                let mut count = 0;
                while let Some(Object(subject)) = access.next_element::<Object<Subject>>()? {
                    if count == MAX_SUBJECTS {
                        return Err(A::Error::custom(format!(
                            "it is about more than {MAX_SUBJECTS} subjects"
                        )));
                    }
                    if subject.digest.0.len() > MAX_DIGESTS {
                        return Err(A::Error::custom(format!(
                            "a subject has more than {MAX_DIGESTS} digests"
                        )));
                    }
                    let digests = subject.digest.0.into_iter();
                    all.digests
                        .extend(digests.map(|(algorithm, hex)| format!("{algorithm}:{hex}")));
                    if count == 0 {
                        all.annotations = subject.annotations.unwrap_or_default();
                    }
                    count += 1;
                }
                Ok(all)
            }
        }
        deserializer.deserialize_seq(Few)
    }
}

#[derive(Deserialize)]
struct Subject {
    #[serde(default)]
    digest: Members<String>,
    /// Those that are not all texts count as none.
    #[serde(default, deserialize_with = "texts")]
    annotations: Option<Annotations>,
}

fn texts<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Annotations>, D::Error> {
    let raw: &RawValue = Deserialize::deserialize(deserializer)?;
    Ok(serde_json::from_str(raw.get()).ok())
}

/// Makes a statement about one image. `predicate` is JSON, and stands in it as it is.
///
/// # Errors
/// [`Error::Invalid`] where the predicate is no JSON.
pub(super) fn statement(
    digest: &Digest,
    name: Option<&str>,
    predicate_type: &str,
    predicate: &[u8],
    annotations: &Annotations,
) -> Result<Vec<u8>> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Written<'a> {
        #[serde(rename = "_type")]
        kind: &'a str,
        subject: [About<'a>; 1],
        predicate_type: &'a str,
        predicate: &'a RawValue,
    }
    #[derive(Serialize)]
    struct About<'a> {
        #[serde(skip_serializing_if = "Option::is_none")]
        name: Option<&'a str>,
        digest: BTreeMap<&'a str, &'a str>,
        annotations: BTreeMap<&'a str, &'a str>,
    }
    let predicate: &RawValue = serde_json::from_slice(predicate).map_err(|e| {
        let why = crate::words::foreign(&e.to_string());
        Error::invalid(format!("what is to be attested is no JSON: {why}"))
    })?;
    let about = About {
        name,
        digest: BTreeMap::from([(digest.algorithm().name(), digest.hex())]),
        annotations: annotations.iter().collect(),
    };
    let written = Written { kind: STATEMENT, subject: [about], predicate_type, predicate };
    Ok(serde_json::to_vec(&written).expect("it is texts"))
}

/// What is signed of a payload (DSSE protocol, "PAE").
pub(super) fn signed_bytes(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let start = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len());
    [start.as_bytes(), payload].concat()
}

/// An envelope (DSSE, "envelope"): what is signed, and one signature. Several would let a bad one
/// stand beside a good one.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Envelope {
    payload: Base64,
    payload_type: String,
    signatures: [Object<EnvelopeSignature>; 1],
}

#[derive(Debug, Serialize, Deserialize)]
struct EnvelopeSignature {
    sig: Base64,
}

/// Bytes in base64.
#[derive(Debug)]
struct Base64(Vec<u8>);

impl Serialize for Base64 {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Base64 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = json::Key::deserialize(deserializer)?.0;
        STANDARD.decode(&*text).map(Base64).map_err(serde::de::Error::custom)
    }
}

impl Envelope {
    /// A statement with its signature.
    pub fn new(statement: Vec<u8>, signature: Vec<u8>) -> Self {
        Envelope {
            payload: Base64(statement),
            payload_type: IN_TOTO.to_owned(),
            signatures: [Object(EnvelopeSignature { sig: Base64(signature) })],
        }
    }

    /// The statement's bytes, and the signature.
    ///
    /// # Errors
    /// [`Error::Invalid`] where it holds something else.
    pub fn open(self) -> Result<(Vec<u8>, Vec<u8>)> {
        if self.payload_type != IN_TOTO {
            return Err(Error::invalid("what is signed is no statement of in-toto"));
        }
        let [Object(signature)] = self.signatures;
        Ok((self.payload.0, signature.sig.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "efc2f1d052d480bf73c04808d959caf874da1fa877924d0cb85d9ac56476547b";

    fn digest() -> Digest {
        format!("sha256:{HEX}").parse().unwrap()
    }

    #[test]
    fn a_statement_is_read_as_it_was_made() {
        let annotations = Annotations::from_iter([("build", "7")]);
        let bytes = statement(&digest(), Some("os"), SIGNED, b"{ }", &annotations).unwrap();
        assert_eq!(
            String::from_utf8(bytes.clone()).unwrap(),
            format!(
                r#"{{"_type":"{STATEMENT}","subject":[{{"name":"os","digest":{{"sha256":"{HEX}"}},"annotations":{{"build":"7"}}}}],"predicateType":"{SIGNED}","predicate":{{ }}}}"#
            )
        );
        let read = Statement::parse(&bytes).unwrap();
        assert!(read.is_about(&digest()));
        assert!(!read.is_about(&Digest::of(b"")));
        assert_eq!(read.annotations, annotations);
        assert_eq!(signed_bytes("a/b", b"xyz"), b"DSSEv1 3 a/b 3 xyz");
        assert!(statement(&digest(), None, SIGNED, b"{} {}", &annotations).is_err());
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_no_statement() {
        let whole = statement(&digest(), None, SIGNED, b"{}", &Annotations::default()).unwrap();
        let whole = String::from_utf8(whole).unwrap();
        for (from, to) in [
            (r#""sha256""#, r#""sha256":"00","sha256""#),
            (r#""predicateType""#, r#""predicateType":"x","predicateType""#),
            (r#""predicate":"#, r#""predicate":7,"predicate":"#),
            (r#""subject""#, r#""subject":[],"subject""#),
            (&format!(r#"{{"sha256":"{HEX}"}}"#), &format!(r#"[["sha256","{HEX}"]]"#)),
            ("Statement/v1", "Statement/v2"),
        ] {
            let other = whole.replacen(from, to, 1);
            assert_ne!(other, whole, "{from}");
            assert!(Statement::parse(other.as_bytes()).is_err(), "{other}");
        }
    }

    #[test]
    fn an_envelope_holds_one_signature() {
        let one = serde_json::to_string(&Envelope::new(b"{}".to_vec(), vec![1])).unwrap();
        let read = |text: &str| serde_json::from_str::<Envelope>(text);
        assert_eq!(read(&one).unwrap().open().unwrap(), (b"{}".to_vec(), vec![1]));
        for (from, to) in [
            (r#"{"sig":"AQ=="}"#, r#"{"sig":"AQ=="},{"sig":"AQ=="}"#),
            (r#"{"sig":"AQ=="}"#, ""),
            (r#"{"sig":"AQ=="}"#, r#"["AQ=="]"#),
            ("AQ==", "AQ"),
            ("AQ==", "AR=="),
            (r#""payload":"#, r#""payload":"e30=","payload":"#),
        ] {
            let other = one.replacen(from, to, 1);
            assert_ne!(other, one, "{from}");
            assert!(read(&other).is_err(), "{other}");
        }
        assert!(read(&one.replace("in-toto", "other")).unwrap().open().is_err());
    }
}

//! The JSON of bundles and statements, read without room for two meanings and within limits.
//!
//! Readers differ in which of two equal keys they take, in whether `dsse_envelope` is
//! `dsseEnvelope` (protobuf's JSON has both), and in which of two signatures they look at. What
//! they could differ about is refused before anything is verified.

use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::trust::statement::{IN_TOTO, Statement};
use crate::{Error, Result, words};

/// The largest bundle: what it attests may be a list of all that a system consists of. Who looks for
/// signatures alone reads less.
pub(super) const MAX_BUNDLE: usize = 32 << 20;
/// How many entries of logs, timestamps and certificates a bundle may have, of each.
const MAX_EVIDENCE: usize = 16;

/// What a bundle consists of, as far as it is looked into here.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Bundle {
    #[serde(rename = "mediaType")]
    _media_type: String,
    verification_material: Material,
    dsse_envelope: Option<Envelope>,
    message_signature: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Material {
    certificate: Option<IgnoredAny>,
    x509_certificate_chain: Option<Chain>,
    public_key: Option<IgnoredAny>,
    tlog_entries: Option<Vec<IgnoredAny>>,
    timestamp_verification_data: Option<Timestamps>,
}

#[derive(Deserialize)]
struct Chain {
    certificates: Vec<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Timestamps {
    rfc3161_timestamps: Option<Vec<IgnoredAny>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    payload_type: String,
    signatures: Vec<IgnoredAny>,
}

/// With what a bundle was signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signer {
    Certificate,
    Key,
}

/// What a bundle's signature is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signed {
    Statement,
    Content,
}

/// Looks at a bundle as a whole: its text, with what it was signed, and what.
///
/// # Errors
/// [`Error::Invalid`] where it could be read in two ways or is beyond a limit.
pub(super) fn bundle(bytes: &[u8]) -> Result<(&str, Signer, Signed)> {
    let broken = |why: &dyn fmt::Display| {
        let why = words::foreign(&why.to_string());
        Error::invalid(format!("the bundle cannot be read: {why}"))
    };
    if bytes.len() > MAX_BUNDLE {
        return Err(broken(&format!("it is larger than {} MiB", MAX_BUNDLE >> 20)));
    }
    let text = unambiguous(bytes).map_err(|e| broken(&e))?;
    let bundle: Bundle = serde_json::from_str(text).map_err(|e| broken(&e))?;
    let material = &bundle.verification_material;
    let signer = match (&material.certificate, &material.x509_certificate_chain) {
        (Some(_), None) if material.public_key.is_none() => Signer::Certificate,
        (None, Some(_)) if material.public_key.is_none() => Signer::Certificate,
        (None, None) if material.public_key.is_some() => Signer::Key,
        _ => return Err(broken(&"it needs one certificate, one chain or one key, not several")),
    };
    let signed = match (&bundle.dsse_envelope, &bundle.message_signature) {
        (Some(envelope), None) => {
            let (kind, signatures) = (&envelope.payload_type, envelope.signatures.len());
            if kind != IN_TOTO {
                return Err(broken(&format!("what is signed is {kind:?} and no statement")));
            }
            if signatures != 1 {
                return Err(broken(&format!("its envelope has {signatures} signatures, not one")));
            }
            Signed::Statement
        }
        (None, Some(_)) => Signed::Content,
        _ => return Err(broken(&"it needs either an envelope or a signature")),
    };
    let stamps = material.timestamp_verification_data.as_ref();
    for (what, count) in [
        ("certificates", material.x509_certificate_chain.as_ref().map(|it| it.certificates.len())),
        ("entries of logs", material.tlog_entries.as_ref().map(Vec::len)),
        ("timestamps", stamps.and_then(|it| it.rfc3161_timestamps.as_ref()).map(Vec::len)),
    ] {
        if let Some(count) = count.filter(|count| *count > MAX_EVIDENCE) {
            return Err(broken(&format!("it has {count} {what}; {MAX_EVIDENCE} are read")));
        }
    }
    Ok((text, signer, signed))
}

/// The type of a statement's predicate.
///
/// # Errors
/// [`Error::Invalid`] where it could be read in two ways or is no statement. The predicate itself
/// is not looked into: what it means is for those who know its type.
pub(super) fn predicate_type(payload: &[u8]) -> Result<String> {
    walk(payload, Some("predicate")).map_err(|e| {
        let why = words::foreign(&e);
        Error::invalid(format!("the statement in the bundle cannot be read: {why}"))
    })?;
    Ok(Statement::parse(payload)?.predicate_type)
}

/// The text of a document in which no object has two keys that a reader could take for the same.
///
/// # Errors
/// Where there are, or it is no JSON.
pub(super) fn unambiguous(bytes: &[u8]) -> Result<&str, String> {
    walk(bytes, None)
}

/// The same, but for the value of one key of the outermost object.
fn walk<'a>(bytes: &'a [u8], foreign: Option<&str>) -> Result<&'a str, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "it is no UTF-8".to_owned())?;
    let mut reader = serde_json::Deserializer::from_str(text);
    let walked = Walk { foreign }.deserialize(&mut reader).and_then(|()| reader.end());
    walked.map(|()| text).map_err(|e| e.to_string())
}

/// Goes through a value and looks at the keys of every object in it.
#[derive(Clone, Copy)]
struct Walk<'a> {
    foreign: Option<&'a str>,
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<(), A::Error> {
        let mut known = HashSet::new();
        while let Some(key) = access.next_key::<String>()? {
            let is_foreign = self.foreign == Some(&*key);
            let mut plain = key.replace('_', "");
            plain.make_ascii_lowercase();
            if !known.insert(plain) {
                return Err(A::Error::custom(format!("the key {key:?} stands twice")));
            }
            match is_foreign {
                true => drop(access.next_value::<IgnoredAny>()?),
                false => access.next_value_seed(Walk { foreign: None })?,
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<(), A::Error> {
        while access.next_element_seed(Walk { foreign: None })?.is_some() {}
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_stands_twice_in_any_spelling_is_refused() {
        for (text, good) in [
            (r#"{"a":{"b":1},"c":[{"b":1},{"b":2}],"d":null,"e":-1.5,"f":true}"#, true),
            (r#"{"a":1,"a":1}"#, false),
            (r#"{"a":1,"\u0061":1}"#, false),
            (r#"{"a":1,"A":1}"#, false),
            (r#"{"dsseEnvelope":1,"dsse_envelope":1}"#, false),
            (r#"[[{"a":[{"b":1,"b":2}]}]]"#, false),
            (r#"{"a":1} {}"#, false),
            ("{", false),
            ("", false),
        ] {
            assert_eq!(unambiguous(text.as_bytes()).is_ok(), good, "{text}");
        }
        assert!(unambiguous(b"\"\xff\"").is_err());
        let deep = "[".repeat(100_000);
        assert!(unambiguous(deep.as_bytes()).is_err());
    }

    #[test]
    fn a_bundle_has_one_signer_and_one_signature() {
        let envelope = r#""dsseEnvelope":{"payloadType":"application/vnd.in-toto+json","payload":"",
            "signatures":[{}]}"#;
        let certificate = r#""verificationMaterial":{"certificate":{}}"#;
        let message = r#""messageSignature":{}"#;
        let with = |material: &str| format!(r#""verificationMaterial":{{{material}}}"#);
        let many = |what: &str| format!("[{}]", vec![what; 17].join(","));
        for (parts, expected) in [
            ([certificate, envelope], Ok((Signer::Certificate, Signed::Statement))),
            ([certificate, message], Ok((Signer::Certificate, Signed::Content))),
            (
                [&with(r#""x509CertificateChain":{"certificates":[{}]}"#), message],
                Ok((Signer::Certificate, Signed::Content)),
            ),
            ([&with(r#""publicKey":{}"#), envelope], Ok((Signer::Key, Signed::Statement))),
            ([certificate, r#""x":1"#], Err("either")),
            ([certificate, &format!("{envelope},{message}")], Err("either")),
            ([&with(""), envelope], Err("one certificate")),
            ([&with(r#""certificate":{},"publicKey":{}"#), envelope], Err("one certificate")),
            (
                [&with(r#""certificate":{},"x509CertificateChain":{"certificates":[]}"#), envelope],
                Err("one certificate"),
            ),
            ([certificate, &envelope.replace("[{}]", "[]")], Err("0 signatures")),
            ([certificate, &envelope.replace("[{}]", "[{},{}]")], Err("2 signatures")),
            ([certificate, &envelope.replace("in-toto", "x")], Err("no statement")),
            (
                [&with(&format!(r#""certificate":{{}},"tlogEntries":{}"#, many("{}"))), envelope],
                Err("17 entries of logs"),
            ),
            (
                [
                    &with(&format!(
                        r#""certificate":{{}},"timestampVerificationData":
                            {{"rfc3161Timestamps":{}}}"#,
                        many("{}")
                    )),
                    envelope,
                ],
                Err("17 timestamps"),
            ),
            (
                [
                    &with(&format!(r#""x509CertificateChain":{{"certificates":{}}}"#, many("{}"))),
                    envelope,
                ],
                Err("17 certificates"),
            ),
        ] {
            let text = format!(r#"{{"mediaType":"x",{}}}"#, parts.join(","));
            match (bundle(text.as_bytes()), expected) {
                (Ok((_, signer, signed)), Ok(expected)) => assert_eq!((signer, signed), expected),
                (Err(error), Err(why)) => assert!(error.to_string().contains(why), "{error}"),
                (other, _) => panic!("{text}: {other:?}"),
            }
        }
        let large = vec![b' '; MAX_BUNDLE + 1];
        assert!(bundle(&large).unwrap_err().to_string().contains("larger"));
    }

    #[test]
    fn a_statement_has_one_type() {
        let kind = r#""_type":"https://in-toto.io/Statement/v1""#;
        let v1 = format!(r#"{kind},"subject":[]"#);
        for (text, expected) in [
            (format!(r#"{{{v1},"predicateType":"t","predicate":{{}}}}"#), Some("t")),
            // A predicate may have keys that differ in their case alone.
            (format!(r#"{{{v1},"predicateType":"t","predicate":{{"A":1,"a":2}}}}"#), Some("t")),
            (format!(r#"{{{v1},"predicateType":"t","predicateType":"u"}}"#), None),
            (format!(r#"{{{v1},"predicateType":"t","predicate_type":"u"}}"#), None),
            (
                format!(
                    r#"{{{kind},"predicateType":"t","subject":[{{"digest":{{"a":"","A":""}}}}]}}"#
                ),
                None,
            ),
            (format!("{{{v1}}}"), None),
            (format!(r#"{{{v1},"predicateType":"t"}}"#).replace("/v1", "/v2"), None),
            ("[]".into(), None),
        ] {
            assert_eq!(predicate_type(text.as_bytes()).ok().as_deref(), expected, "{text}");
        }
    }
}

//! Simple signing: what cosign, podman and skopeo sign, a text that names an image by its digest and
//! by what it is called (containers/image, "simple signing"; cosign's SIGNATURE_SPEC).

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use crate::Result;
use crate::digest::Digest;
use crate::json::{self, Members, Object};
use crate::oci::Annotations;

/// The media type of such a text, a layer of a manifest of signatures.
pub(super) const PAYLOAD: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
/// What it calls itself.
const KIND: &str = "cosign container image signature";

/// What such a text says.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Payload {
    critical: Object<Critical>,
    /// What the signer added.
    optional: Option<Annotations>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Critical {
    identity: Object<Identity>,
    image: Object<Image>,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Identity {
    docker_reference: String,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Image {
    docker_manifest_digest: Digest,
}

/// What a text of simple signing says.
#[derive(Debug)]
pub(super) struct Claim {
    pub digest: Digest,
    pub identity: String,
    pub annotations: Annotations,
}

/// Makes the text.
pub(super) fn payload(digest: &Digest, identity: &str, annotations: &Annotations) -> Vec<u8> {
    let payload = Payload {
        critical: Object(Critical {
            identity: Object(Identity { docker_reference: identity.to_owned() }),
            image: Object(Image { docker_manifest_digest: digest.clone() }),
            kind: KIND.to_owned(),
        }),
        optional: (!annotations.is_empty()).then(|| annotations.clone()),
    };
    serde_json::to_vec(&payload).expect("it is texts")
}

/// Reads the text. It is of another kind than is known, or says more than is understood, or says
/// something twice: then it is none.
///
/// # Errors
/// [`Error::Invalid`](crate::Error::Invalid).
pub(super) fn claim(payload: &[u8]) -> Result<Claim> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Read {
        critical: Object<Critical>,
        optional: Option<Optional>,
    }
    let Object(read): Object<Read> = json::from_slice(payload, "what is signed")?;
    let critical = read.critical.0;
    if critical.kind != KIND {
        return Err(crate::Error::invalid(format!(
            "what is signed is no image, but {:?}",
            critical.kind.chars().take(100).collect::<String>()
        )));
    }
    Ok(Claim {
        digest: critical.image.0.docker_manifest_digest,
        identity: critical.identity.0.docker_reference,
        annotations: read.optional.map(|optional| optional.0).unwrap_or_default(),
    })
}

/// What a signer added, as far as it is texts.
struct Optional(Annotations);

impl<'de> Deserialize<'de> for Optional {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Members(all) = Members::<Box<RawValue>>::deserialize(deserializer)?;
        let texts = all.into_iter().filter_map(|(key, value)| {
            let text: String = serde_json::from_str(value.get()).ok()?;
            Some((key, text))
        });
        Ok(Optional(Annotations::from_iter(texts)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:efc2f1d052d480bf73c04808d959caf874da1fa877924d0cb85d9ac56476547b";

    #[test]
    fn the_text_is_that_of_cosign() {
        let digest = DIGEST.parse().unwrap();
        let text = payload(&digest, "registry.example/os:1.0", &Annotations::default());
        assert_eq!(
            String::from_utf8(text.clone()).unwrap(),
            format!(
                r#"{{"critical":{{"identity":{{"docker-reference":"registry.example/os:1.0"}},"image":{{"docker-manifest-digest":"{DIGEST}"}},"type":"cosign container image signature"}},"optional":null}}"#
            )
        );
        let claim = claim(&text).unwrap();
        assert_eq!((claim.digest, &*claim.identity), (digest, "registry.example/os:1.0"));
        let with = Annotations::from_iter([("build", "7")]);
        let text = payload(&DIGEST.parse().unwrap(), "a/b", &with);
        assert!(text.ends_with(br#""optional":{"build":"7"}}"#));
        assert_eq!(super::claim(&text).unwrap().annotations, with);
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_no_text() {
        let whole = String::from_utf8(payload(
            &DIGEST.parse().unwrap(),
            "registry.example/os",
            &Annotations::default(),
        ))
        .unwrap();
        for (from, to) in [
            ("cosign container image signature", "atomic container signature"),
            (r#""optional""#, r#""critical":{},"optional""#),
            (r#""type""#, r#""more":1,"type""#),
            (r#""docker-reference""#, r#""docker-reference":"x","docker-reference""#),
            ("sha256:e", "sha256:E"),
            ("sha256:e", "md5:e"),
            (r#""optional":null"#, r#""optional":null} {"#),
            (r#""optional":null"#, r#""optional":7"#),
            (r#"{"docker-reference":"registry.example/os"}"#, r#"["registry.example/os"]"#),
            (r#""docker-reference":"registry.example/os""#, ""),
        ] {
            let other = whole.replacen(from, to, 1);
            assert_ne!(other, whole, "{from}");
            assert!(claim(other.as_bytes()).is_err(), "{other}");
        }
        // What cosign 1 and others add.
        let other = whole.replace("null", r#"{"creator":"x","timestamp":7,"a":{"b":[]}}"#);
        assert!(claim(other.as_bytes()).is_ok());
    }
}

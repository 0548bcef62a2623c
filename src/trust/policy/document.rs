//! A policy as it stands in its file, read strictly (containers-policy.json(5), "FORMAT"): a key
//! that is not known, stands twice or has a value of another type makes the whole file none, since
//! a rule that is misspelled would otherwise be no rule.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer};

use super::identity;
use crate::json::{Members, Object};

/// How many rules a scope may have.
const MAX_RULES: usize = 100;
/// The transports whose scopes are paths.
const PATHS: [&str; 4] = ["dir", "oci", "oci-archive", "sif"];
/// The transports that have no scopes.
const WHOLE: [&str; 2] = ["docker-archive", "tarball"];

/// The file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Document {
    pub(super) default: Requirements,
    #[serde(default)]
    pub(super) transports: Transports,
}

/// The rules by transport, then by scope.
#[derive(Default, Deserialize)]
#[serde(try_from = "Members<Scopes>")]
pub(super) struct Transports(pub(super) BTreeMap<String, Scopes>);
pub(super) type Scopes = Members<Requirements>;

impl TryFrom<Members<Scopes>> for Transports {
    type Error = String;

    fn try_from(Members(transports): Members<Scopes>) -> Result<Self, String> {
        for (transport, Members(scopes)) in &transports {
            for scope in scopes.keys().filter(|scope| !scope.is_empty()) {
                if WHOLE.contains(&&**transport) {
                    return Err(format!("{transport:?} has no scopes but the empty one"));
                }
                if PATHS.contains(&&**transport) {
                    check_path(scope).map_err(|why| format!("{scope:?} of {transport}: {why}"))?;
                }
            }
        }
        Ok(Transports(transports))
    }
}

/// Whether a path is one that a scope may have.
fn check_path(scope: &str) -> Result<(), &'static str> {
    match scope.strip_prefix('/') {
        None => Err("a path must be absolute"),
        Some("") => Err("the empty scope stands for all paths"),
        Some(rest) if rest.split('/').any(|part| matches!(part, "" | "." | "..")) => {
            Err("a path has neither //, . nor .. in it, nor a slash at its end")
        }
        Some(_) => Ok(()),
    }
}

/// The rules of one scope, of which all must hold.
#[derive(Deserialize)]
#[serde(try_from = "Vec<Object<Requirement>>")]
pub(super) struct Requirements(pub(super) Vec<Requirement>);

impl TryFrom<Vec<Object<Requirement>>> for Requirements {
    type Error = String;

    fn try_from(list: Vec<Object<Requirement>>) -> Result<Self, String> {
        match list.len() {
            0 => Err("a list of rules is empty; it must say at least what is accepted".into()),
            1..=MAX_RULES => Ok(Requirements(list.into_iter().map(|Object(rule)| rule).collect())),
            _ => Err(format!("a list has more than {MAX_RULES} rules")),
        }
    }
}

/// One rule. Those with no fields are structs, since only for these unknown keys are refused.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "camelCase", deny_unknown_fields)]
pub(super) enum Requirement {
    InsecureAcceptAnything {},
    Reject {},
    SigstoreSigned(Sigstore),
    SignedBy(#[allow(dead_code, reason = "it is checked, and not used")] Gpg),
    SignedBaseLayer(#[allow(dead_code, reason = "it is checked, and not used")] BaseLayer),
}

/// What a rule `sigstoreSigned` wants to see.
pub(super) enum Proof {
    /// A signature by a key of one of these files.
    Files(Vec<String>),
    /// A signature by one of these keys, each in PEM.
    Keys(Vec<Vec<u8>>),
    /// Something that is not checked here.
    Other(&'static str),
}

/// A rule `sigstoreSigned`.
#[derive(Deserialize)]
#[serde(try_from = "SigstoreFields")]
pub(super) struct Sigstore {
    pub(super) proof: Proof,
    pub(super) identity: identity::Identity,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct SigstoreFields {
    #[serde(default, deserialize_with = "given")]
    key_path: Option<Text>,
    #[serde(default, deserialize_with = "given")]
    key_paths: Option<Vec<Text>>,
    #[serde(default, deserialize_with = "given")]
    key_data: Option<Base64>,
    #[serde(default, deserialize_with = "given")]
    key_datas: Option<Vec<Base64>>,
    #[serde(default, deserialize_with = "given")]
    fulcio: Option<Object<Fulcio>>,
    #[serde(default, deserialize_with = "given")]
    pki: Option<Object<Pki>>,
    #[serde(default, deserialize_with = "given")]
    rekor_public_key_path: Option<Text>,
    #[serde(default, deserialize_with = "given")]
    rekor_public_key_paths: Option<Vec<Text>>,
    #[serde(default, deserialize_with = "given")]
    rekor_public_key_data: Option<Base64>,
    #[serde(default, deserialize_with = "given")]
    rekor_public_key_datas: Option<Vec<Base64>>,
    #[serde(default)]
    signed_identity: SignedIdentity,
}

impl TryFrom<SigstoreFields> for Sigstore {
    type Error = String;

    fn try_from(fields: SigstoreFields) -> Result<Self, String> {
        let rekor = [
            fields.rekor_public_key_path.is_some(),
            list("rekorPublicKeyPaths", fields.rekor_public_key_paths.as_deref())?,
            fields.rekor_public_key_data.is_some(),
            list("rekorPublicKeyDatas", fields.rekor_public_key_datas.as_deref())?,
        ];
        let logged = match rekor.into_iter().filter(|given| *given).count() {
            0 => false,
            1 => true,
            _ => return Err("it has more than one of the keys rekorPublicKey…".into()),
        };
        list("keyPaths", fields.key_paths.as_deref())?;
        list("keyDatas", fields.key_datas.as_deref())?;
        let mut proofs = [
            fields.key_path.map(|Text(path)| Proof::Files(vec![path])),
            fields.key_paths.map(|list| Proof::Files(list.into_iter().map(|it| it.0).collect())),
            fields.key_data.map(|Base64(key)| Proof::Keys(vec![key])),
            fields.key_datas.map(|list| Proof::Keys(list.into_iter().map(|it| it.0).collect())),
            match (fields.fulcio, logged) {
                (None, _) => None,
                (Some(_), true) => Some(Proof::Other("a certificate of Fulcio's (fulcio)")),
                (Some(_), false) => {
                    return Err("fulcio is there without one of the keys rekorPublicKey…".into());
                }
            },
            match (fields.pki, logged) {
                (None, _) => None,
                (Some(_), false) => Some(Proof::Other("a certificate of an authority (pki)")),
                (Some(_), true) => {
                    return Err("pki is there beside one of the keys rekorPublicKey…".into());
                }
            },
        ]
        .into_iter()
        .flatten();
        let (Some(proof), None) = (proofs.next(), proofs.next()) else {
            return Err(
                "it must have exactly one of keyPath, keyPaths, keyData, keyDatas, fulcio \
                        and pki"
                    .into(),
            );
        };
        let proof = match (proof, logged) {
            (Proof::Files(_) | Proof::Keys(_), true) => {
                Proof::Other("an entry in a log beside the signature (rekorPublicKey…)")
            }
            (proof, _) => proof,
        };
        Ok(Sigstore { proof, identity: fields.signed_identity.0 })
    }
}

/// Whether a list is there; it must have something in it.
fn list<T>(key: &str, list: Option<&[T]>) -> Result<bool, String> {
    match list {
        Some([]) => Err(format!("{key} is an empty list")),
        list => Ok(list.is_some()),
    }
}

/// What is trusted of Fulcio.
#[derive(Deserialize)]
#[serde(try_from = "FulcioFields")]
struct Fulcio;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct FulcioFields {
    #[serde(default, deserialize_with = "given")]
    ca_path: Option<Text>,
    #[serde(default, deserialize_with = "given")]
    ca_data: Option<Base64>,
    #[serde(rename = "oidcIssuer")]
    _oidc_issuer: Text,
    #[serde(rename = "subjectEmail")]
    _subject_email: Text,
}

impl TryFrom<FulcioFields> for Fulcio {
    type Error = &'static str;

    fn try_from(fields: FulcioFields) -> Result<Self, Self::Error> {
        match fields.ca_path.is_some() != fields.ca_data.is_some() {
            true => Ok(Fulcio),
            false => Err("fulcio must have exactly one of caPath and caData"),
        }
    }
}

/// What is trusted of another authority.
#[derive(Deserialize)]
#[serde(try_from = "PkiFields")]
struct Pki;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PkiFields {
    #[serde(default, rename = "caRootsPath", deserialize_with = "given")]
    roots_path: Option<Text>,
    #[serde(default, rename = "caRootsData", deserialize_with = "given")]
    roots_data: Option<Base64>,
    #[serde(default, rename = "caIntermediatesPath", deserialize_with = "given")]
    intermediates_path: Option<Text>,
    #[serde(default, rename = "caIntermediatesData", deserialize_with = "given")]
    intermediates_data: Option<Base64>,
    #[serde(default, deserialize_with = "given")]
    subject_email: Option<Text>,
    #[serde(default, deserialize_with = "given")]
    subject_hostname: Option<Text>,
}

impl TryFrom<PkiFields> for Pki {
    type Error = &'static str;

    fn try_from(fields: PkiFields) -> Result<Self, Self::Error> {
        if fields.roots_path.is_some() == fields.roots_data.is_some() {
            return Err("pki must have exactly one of caRootsPath and caRootsData");
        }
        if fields.intermediates_path.is_some() && fields.intermediates_data.is_some() {
            return Err("pki has both caIntermediatesPath and caIntermediatesData");
        }
        match fields.subject_email.is_some() || fields.subject_hostname.is_some() {
            true => Ok(Pki),
            false => Err("pki must have subjectEmail or subjectHostname"),
        }
    }
}

/// A rule `signedBy`.
#[derive(Deserialize)]
#[serde(try_from = "GpgFields")]
pub(super) struct Gpg;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct GpgFields {
    #[serde(rename = "keyType")]
    _key_type: KeyType,
    #[serde(default, deserialize_with = "given")]
    key_path: Option<Text>,
    #[serde(default, deserialize_with = "given")]
    key_paths: Option<Vec<Text>>,
    #[serde(default, deserialize_with = "given")]
    key_data: Option<Base64>,
    #[serde(default, rename = "signedIdentity")]
    _signed_identity: SignedIdentity,
}

/// What a keyring may be; the names that are reserved are taken too.
#[derive(Deserialize)]
enum KeyType {
    #[serde(
        rename = "GPGKeys",
        alias = "signedByGPGKeys",
        alias = "X509Certificates",
        alias = "signedByX509CAs"
    )]
    Known,
}

impl TryFrom<GpgFields> for Gpg {
    type Error = String;

    fn try_from(fields: GpgFields) -> Result<Self, String> {
        let given = [
            fields.key_path.is_some(),
            list("keyPaths", fields.key_paths.as_deref())?,
            fields.key_data.is_some(),
        ];
        match given.into_iter().filter(|given| *given).count() {
            1 => Ok(Gpg),
            _ => Err("it must have exactly one of keyPath, keyPaths and keyData".into()),
        }
    }
}

/// A rule `signedBaseLayer`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct BaseLayer {
    #[serde(rename = "baseLayerIdentity")]
    _base_layer_identity: SignedIdentity,
}

/// The rule for the name that a signature states.
#[derive(Default, Deserialize)]
#[serde(try_from = "Object<IdentityFields>")]
struct SignedIdentity(identity::Identity);

#[derive(Deserialize)]
#[serde(
    tag = "type",
    rename_all = "camelCase",
    rename_all_fields = "camelCase",
    deny_unknown_fields
)]
enum IdentityFields {
    MatchExact {},
    MatchRepoDigestOrExact {},
    MatchRepository {},
    ExactReference { docker_reference: String },
    ExactRepository { docker_repository: String },
    RemapIdentity { prefix: String, signed_prefix: String },
}

impl TryFrom<Object<IdentityFields>> for SignedIdentity {
    type Error = String;

    fn try_from(Object(fields): Object<IdentityFields>) -> Result<Self, String> {
        use identity::Identity;
        let identity = match fields {
            IdentityFields::MatchExact {} => Identity::exact(),
            IdentityFields::MatchRepoDigestOrExact {} => Identity::default(),
            IdentityFields::MatchRepository {} => Identity::repository(),
            IdentityFields::ExactReference { docker_reference } => {
                Identity::exact_reference(&docker_reference)?
            }
            IdentityFields::ExactRepository { docker_repository } => {
                Identity::exact_repository(&docker_repository)?
            }
            IdentityFields::RemapIdentity { prefix, signed_prefix } => {
                Identity::remap(prefix, signed_prefix)?
            }
        };
        Ok(SignedIdentity(identity))
    }
}

/// A text that says something.
#[derive(Deserialize)]
#[serde(try_from = "String")]
struct Text(String);

impl TryFrom<String> for Text {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        match text.is_empty() {
            true => Err("a text is empty"),
            false => Ok(Text(text)),
        }
    }
}

/// Bytes in base64, which may be broken into lines.
#[derive(Deserialize)]
#[serde(try_from = "String")]
struct Base64(Vec<u8>);

impl TryFrom<String> for Base64 {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let text = text.replace(['\r', '\n'], "");
        STANDARD.decode(text).map(Base64).map_err(|_| "the data of a key are no base64")
    }
}

/// A field that is there, which `null` is not.
fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

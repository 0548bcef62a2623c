//! An instance of Sigstore in one test: an authority that certifies whomever it is told, a log of
//! certificates and a log of signatures. What it signs looks as what `cosign sign` attaches.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, CustomExtension, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, PublicKeyData, SanType, SerialNumber,
    SigningKey, date_time_ymd,
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// Noon of the day on which everything is signed: 2026-01-01.
pub const NOON: i64 = 1_767_268_800;
/// The type of a statement by which cosign signs an image.
pub const SIGN: &str = "https://sigstore.dev/cosign/sign/v1";
/// What an issuer is called in a certificate, and where its logs' words are (RFC 6962, 3.3).
const ISSUER: &[u64] = &[1, 3, 6, 1, 4, 1, 57264, 1, 8];
const TIMESTAMPS: &[u64] = &[1, 3, 6, 1, 4, 1, 11129, 2, 4, 2];
/// The name of the log of signatures.
const LOG: &str = "log.test";

/// The instance. Two are strangers to each other.
pub struct Sigstore {
    authority: CertifiedIssuer<'static, KeyPair>,
    certificates: KeyPair,
    signatures: KeyPair,
}

impl Sigstore {
    pub fn new() -> Self {
        let mut params = CertificateParams::new([]).expect("parameters");
        params.distinguished_name.push(DnType::CommonName, "authority of identities");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = || KeyPair::generate().expect("a key");
        let authority = CertifiedIssuer::self_signed(params, key()).expect("a certificate");
        Sigstore { authority, certificates: key(), signatures: key() }
    }

    /// The file that says whom to trust: `trusted_root.json`.
    pub fn trusted_root(&self) -> Value {
        let log = |key: &KeyPair| {
            json!({
                "baseUrl": "https://log.test",
                "hashAlgorithm": "SHA2_256",
                "publicKey": {
                    "rawBytes": base64(&key.subject_public_key_info()),
                    "keyDetails": "PKIX_ECDSA_P256_SHA_256",
                    "validFor": { "start": "2025-01-01T00:00:00Z" },
                },
                "logId": { "keyId": base64(&id(key)) },
            })
        };
        json!({
            "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
            "tlogs": [log(&self.signatures)],
            "certificateAuthorities": [{
                "subject": { "organization": "test", "commonName": "authority of identities" },
                "uri": "https://authority.test",
                "certChain": { "certificates": [{ "rawBytes": base64(self.authority.der()) }] },
                "validFor": { "start": "2025-01-01T00:00:00Z" },
            }],
            "ctlogs": [log(&self.certificates)],
            "timestampAuthorities": [],
        })
    }

    /// The bundle by which somebody signs a statement at noon.
    pub fn sign(&self, identity: &str, issuer: &str, statement: &[u8]) -> Value {
        self.sign_at(NOON, identity, issuer, statement)
    }

    /// The same at another time, in seconds.
    pub fn sign_at(&self, time: i64, identity: &str, issuer: &str, statement: &[u8]) -> Value {
        let key = KeyPair::generate().expect("a key");
        let certificate = self.certificate(&key, identity, issuer);
        let kind = "application/vnd.in-toto+json";
        let head = format!("DSSEv1 {} {kind} {} ", kind.len(), statement.len());
        let signature = base64(&signed(&key, &[head.as_bytes(), statement].concat()));
        let pem = pem(&certificate);
        let body = json!({
            "apiVersion": "0.0.1",
            "kind": "dsse",
            "spec": {
                "envelopeHash": { "algorithm": "sha256", "value": hex(&[0; 32]) },
                "payloadHash": { "algorithm": "sha256", "value": hex(&Sha256::digest(statement)) },
                "signatures": [{ "signature": signature, "verifier": base64(pem.as_bytes()) }],
            },
        });
        json!({
            "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
            "verificationMaterial": {
                "certificate": { "rawBytes": base64(&certificate) },
                "tlogEntries": [self.entry(time, body.to_string().as_bytes())],
                "timestampVerificationData": {},
            },
            "dsseEnvelope": {
                "payload": base64(statement),
                "payloadType": kind,
                "signatures": [{ "sig": signature }],
            },
        })
    }

    /// A certificate of that day, with the word of the log of certificates in it.
    fn certificate(&self, key: &KeyPair, identity: &str, issuer: &str) -> Vec<u8> {
        let mut params = CertificateParams::new([]).expect("parameters");
        let name = identity.try_into().expect("ASCII");
        params.subject_alt_names = vec![match identity.contains("://") {
            true => SanType::URI(name),
            false => SanType::Rfc822Name(name),
        }];
        params.serial_number = Some(SerialNumber::from(1));
        params.not_before = date_time_ymd(2026, 1, 1);
        params.not_after = date_time_ymd(2026, 1, 2);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
        params.custom_extensions =
            vec![CustomExtension::from_oid_content(ISSUER, der(0x0c, issuer.as_bytes()))];
        let before = params.signed_by(key, &self.authority).expect("a certificate");
        let word = der(0x04, &self.word_of_log(content_of_certificate(before.der())));
        params.custom_extensions.push(CustomExtension::from_oid_content(TIMESTAMPS, word));
        params.signed_by(key, &self.authority).expect("a certificate").der().to_vec()
    }

    /// What the log of certificates says of one (RFC 6962, 3.2), in a list of one.
    fn word_of_log(&self, certificate: &[u8]) -> Vec<u8> {
        let time = u64::try_from(NOON * 1000).expect("after 1970").to_be_bytes();
        let length = u32::try_from(certificate.len()).expect("it is small").to_be_bytes();
        let authority = Sha256::digest(self.authority.key().subject_public_key_info());
        let signature = signed(
            &self.certificates,
            &[&[0, 0], &time[..], &[0, 1], &authority, &length[1..], certificate, &[0, 0]].concat(),
        );
        let parts = [&[0], &id(&self.certificates)[..], &time, &[0, 0], &[4, 3]];
        let word = [&parts.concat()[..], &counted(&signature)].concat();
        counted(&counted(&word))
    }

    /// An entry of the log of signatures, which has no other, with its proof and its promise.
    fn entry(&self, time: i64, body: &[u8]) -> Value {
        let root = base64(&Sha256::digest([&[0], body].concat()));
        let id = id(&self.signatures);
        let promise = format!(
            r#"{{"body":"{}","integratedTime":{time},"logID":"{}","logIndex":0}}"#,
            base64(body),
            hex(&id),
        );
        // With the number of a tree behind it, a log is of the first kind, for cosign.
        let head = format!("{LOG} - 1\n1\n{root}\n");
        let sealed = [&id[..4], &signed(&self.signatures, head.as_bytes())].concat();
        json!({
            "logIndex": "0",
            "logId": { "keyId": base64(&id) },
            "kindVersion": { "kind": "dsse", "version": "0.0.1" },
            "integratedTime": time.to_string(),
            "inclusionPromise": {
                "signedEntryTimestamp": base64(&signed(&self.signatures, promise.as_bytes())),
            },
            "inclusionProof": {
                "logIndex": "0",
                "rootHash": root,
                "treeSize": "1",
                "hashes": [],
                "checkpoint": { "envelope": format!("{head}\n— {LOG} {}\n", base64(&sealed)) },
            },
            "canonicalizedBody": base64(body),
        })
    }
}

/// The statement by which cosign signs what has a digest, such as `sha256:…`.
pub fn statement(digest: &str, kind: &str) -> Vec<u8> {
    let (algorithm, hex) = digest.split_once(':').expect("a digest");
    let statement = json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{ "digest": { algorithm: hex }, "annotations": {} }],
        "predicateType": kind,
        "predicate": {},
    });
    statement.to_string().into_bytes()
}

fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn pem(certificate: &[u8]) -> String {
    let text = base64(certificate);
    let lines: Vec<_> = text.as_bytes().chunks(64).map(String::from_utf8_lossy).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}

/// By what a log is known.
fn id(key: &KeyPair) -> [u8; 32] {
    Sha256::digest(key.subject_public_key_info()).into()
}

fn signed(key: &KeyPair, message: &[u8]) -> Vec<u8> {
    key.sign(message).expect("a signature")
}

/// Bytes behind their number, as TLS has them.
fn counted(bytes: &[u8]) -> Vec<u8> {
    let count = u16::try_from(bytes.len()).expect("it is small").to_be_bytes();
    [&count[..], bytes].concat()
}

/// A value of DER of less than 256 bytes.
fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = u8::try_from(content.len()).expect("it is small");
    let head = if length < 128 { vec![tag, length] } else { vec![tag, 0x81, length] };
    [&head[..], content].concat()
}

/// What of a certificate is signed: the first value in it, which has a length of two bytes.
fn content_of_certificate(certificate: &[u8]) -> &[u8] {
    assert!(certificate[1] == 0x82 && certificate[5] == 0x82, "it has some hundred bytes");
    let length = usize::from(u16::from_be_bytes([certificate[6], certificate[7]]));
    &certificate[4..8 + length]
}

//! Which files are policies.

use super::{Image, Skopeo, Verdict, identity, rule, scratch_with_keys};

/// Files that are policies, and files that are none.
#[test]
fn a_file_is_a_policy_where_it_is_one_for_skopeo() {
    let scratch = scratch_with_keys();
    let Some(skopeo) = Skopeo::find(&scratch) else { return };
    let image = Image::signed(&scratch, &[]);
    let asked = image.named(&scratch, "HOST/os:v1");
    let anything = r#"[{"type":"insecureAcceptAnything"}]"#;
    let with = |more: &str| format!(r#"{{"default":{anything}{more}}}"#);
    let transports = |list: &str| with(&format!(r#","transports":{{{list}}}"#));
    let atomic = |rule: &str| transports(&format!(r#""atomic":{{"":[{rule}]}}"#));
    let signed = |more: &str| atomic(&rule(more));
    let named = |fields: &str| signed(&identity(fields));
    let fulcio = r#""fulcio":{"caData":"QUI=","oidcIssuer":"i","subjectEmail":"e"}"#;
    let fields = |fields: &str| atomic(&format!(r#"{{"type":"sigstoreSigned",{fields}}}"#));
    let stricter = "no list of files has an empty name, and none has null for one";
    for (text, is_policy, differs) in [
        (with(""), true, None),
        (with(r#","transports":{}"#), true, None),
        (transports(r#""unknown":{}"#), true, None),
        (transports(&format!(r#""docker":{{"no//scope:":{anything}}}"#)), true, None),
        (transports(&format!(r#""oci":{{"/a":{anything}}}"#)), true, None),
        (signed(""), true, None),
        (named(r#""matchExact""#), true, None),
        (signed(r#","rekorPublicKeyDatas":["QUJD"]"#), true, None),
        (atomic(r#"{"type":"signedBy","keyType":"GPGKeys","keyData":"QUI="}"#), true, None),
        (
            atomic(r#"{"type":"signedBy","keyType":"X509Certificates","keyPaths":["a"]}"#),
            true,
            None,
        ),
        (
            atomic(r#"{"type":"signedBaseLayer","baseLayerIdentity":{"type":"matchExact"}}"#),
            true,
            None,
        ),
        (fields(&format!(r#"{fulcio},"rekorPublicKeyPath":"r""#)), true, None),
        (fields(r#""pki":{"caRootsData":"QUI=","subjectEmail":"e"}"#), true, None),
        (String::new(), false, None),
        ("{}".into(), false, None),
        (r#"{"default":[]}"#.into(), false, None),
        (r#"{"default":null}"#.into(), false, None),
        (format!("[{anything},{{}}]"), false, None),
        (format!("{} x", with("")), false, None),
        (with(&format!(r#","default":{anything}"#)), false, None),
        (with(&format!(r#","Default":{anything}"#)), false, None),
        (with(r#","transports":null"#), false, None),
        (with(r#","comment":"""#), false, None),
        (transports(r#""docker":null"#), false, None),
        (transports(r#""docker":{},"docker":{}"#), false, None),
        (transports(&format!(r#""docker":{{"h":{anything},"\u0068":{anything}}}"#)), false, None),
        (transports(r#""docker":{"h":[]}"#), false, None),
        (transports(&format!(r#""oci":{{"a":{anything}}}"#)), false, None),
        (transports(&format!(r#""oci":{{"/":{anything}}}"#)), false, None),
        (transports(&format!(r#""dir":{{"/a//b":{anything}}}"#)), false, None),
        (transports(&format!(r#""docker-archive":{{"/a":{anything}}}"#)), false, None),
        (transports(&format!(r#""tarball":{{"/a":{anything}}}"#)), false, None),
        (atomic(r#"["reject"]"#), false, None),
        (atomic(r#"{"type":"rejects"}"#), false, None),
        (atomic(r#"{"Type":"reject"}"#), false, None),
        (atomic(r#"{"type":"reject","why":""}"#), false, None),
        (atomic(r#"{"type":"sigstoreSigned"}"#), false, None),
        (signed(r#","keyData":"QUI=""#), false, None),
        (signed(r#","keyPath":"again""#), false, None),
        (signed(r#","keypath":"again""#), false, None),
        (signed(r#","signedIdentity":null"#), false, None),
        (signed(r#","signedIdentity":{}"#), false, None),
        (named(r#""matchExact","prefix":"""#), false, None),
        (named(r#""exactReference","dockerReference":"a""#), false, None),
        (named(r#""exactRepository","dockerRepository":"A""#), false, None),
        (named(r#""remapIdentity","prefix":"a","signedPrefix":"b:1/c:2""#), false, None),
        (signed(r#","rekorPublicKeyDatas":[]"#), false, None),
        (signed(r#","rekorPublicKeyPath":"a","rekorPublicKeyData":"QUI=""#), false, None),
        (fields(r#""keyPath":"""#), false, None),
        (fields(r#""keyPath":null"#), false, None),
        (fields(r#""keyPath":1"#), false, None),
        (fields(r#""keyPaths":[]"#), false, None),
        (fields(r#""keyData":"no base64""#), false, None),
        (fields(fulcio), false, None),
        (fields(r#""pki":{"caRootsPath":"a"}"#), false, None),
        (atomic(r#"{"type":"signedBy","keyPath":"a"}"#), false, None),
        (atomic(r#"{"type":"signedBy","keyType":"PGP","keyPath":"a"}"#), false, None),
        (fields(r#""keyPaths":[""]"#), false, Some(stricter)),
        (fields(r#""keyPaths":[null]"#), false, Some(stricter)),
    ] {
        let text = image.named(&scratch, &text);
        let ours = image.is_accepted(&text, &asked);
        let (theirs, said) = skopeo.verdict(&scratch, &text, &asked);
        assert_eq!(ours.is_ok(), is_policy, "{text} {ours:?}");
        let expected = match is_policy || differs.is_some() {
            true => Verdict::Accepted,
            false => Verdict::NoPolicy,
        };
        assert_eq!(theirs, expected, "{text} {said}");
    }
}

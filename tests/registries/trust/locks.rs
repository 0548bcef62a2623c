//! Lock files of signed images: who signed is written down, nothing that is not signed is locked,
//! and a lock that was made under a key is not weakened in silence.

use osimage::lock::ImagesLock;
use osimage::trust::PublicKey;

use super::made::Bench;
use super::*;
use crate::common::registry::Fault;
use crate::common::remote::MANIFEST;

fn fingerprint(scratch: &Scratch, key: &str) -> String {
    let pem = std::fs::read(scratch.path(format!("{key}.pub"))).unwrap();
    PublicKey::from_pem(&pem).unwrap().fingerprint().to_string()
}

/// Who signed the only image of a file.
fn signed_by(scratch: &Scratch, file: &str) -> Option<String> {
    let lock = ImagesLock::load(&scratch.path(file)).unwrap();
    lock.images()[0].signers().map(str::to_owned)
}

#[test]
fn a_lock_says_who_signed_of_those_who_had_to() {
    let scratch = scratch_with_keys();
    let bench = Bench::new();
    let (host, name) = (bench.registry.host(), bench.name());
    let lock = |more: &[&str]| scratch.osimage(["lock", &name, "-o", "a.lock"]).args(more);
    scratch.write("any.json", r#"{"default":[{"type":"insecureAcceptAnything"}]}"#);
    scratch.write("policy.json", policy(&scratch, &host, "ed25519", r#""matchRepository""#));
    for demand in [&["--require-signature", "p256.pub"][..], &["--policy", "policy.json"]] {
        let _ = lock(demand).run().says(&["has no signature"]).fails(REFUSED);
        assert!(!scratch.path("a.lock").exists(), "{demand:?}");
    }
    sign(&scratch, &name, "p256", &[]).ok();
    sign(&scratch, &name, "ed25519", &[]).ok();
    let [p256, ed25519] = ["p256", "ed25519"].map(|key| fingerprint(&scratch, key));
    let mut both = [p256.clone(), ed25519.clone()];
    both.sort();
    let both = both.join(", ");
    for (demand, says) in [
        (&[][..], None),
        (&["--policy", "any.json"], None),
        (&["--require-signature", "p256.pub"], Some(&p256)),
        (&["--policy", "policy.json"], Some(&ed25519)),
        (&["--require-signature", "p256.pub", "--require-signature", "ed25519.pub"], Some(&both)),
        (&["--require-signature", "p256.pub", "--policy", "policy.json"], Some(&both)),
    ] {
        let _ = lock(demand).ok();
        assert_eq!(signed_by(&scratch, "a.lock").as_ref(), says, "{demand:?}");
        // The same again, byte for byte.
        let first = std::fs::read(scratch.path("a.lock")).unwrap();
        let _ = lock(demand).ok();
        assert!(std::fs::read(scratch.path("a.lock")).unwrap() == first, "{demand:?}");
    }
    let _ = lock(&[]).env("OSIMAGE_POLICY", "policy.json").ok();
    assert_eq!(signed_by(&scratch, "a.lock"), Some(ed25519));
}

#[test]
fn a_check_looks_whether_the_signature_is_there() {
    let scratch = scratch_with_keys();
    let bench = Bench::new();
    let (host, name) = (bench.registry.host(), bench.name());
    bench.sign_simple("p256");
    let demand = ["--require-signature", "p256.pub"];
    let _ = scratch.osimage(["lock", &name, "-o", "a.lock"]).args(demand).ok();
    let check = |more: &[&str]| scratch.osimage(["lock", "--check", "a.lock"]).args(more).run();
    let _ = check(&demand).ok();
    // Nobody looks without a key, and that is said.
    let run = check(&[]);
    assert!(run.stderr.contains("1 image locked as signed"), "{run:?}");
    let _ = run.ok();
    // By another key, under a policy, gone, and gone while the tag has moved too.
    let run = check(&["--require-signature", "ed25519.pub"]);
    assert!(run.stdout.contains("has no signature that counts"), "{run:?}");
    let _ = run.fails(REFUSED);
    scratch.write("policy.json", policy(&scratch, &host, "p256", ""));
    let _ = check(&["--policy", "policy.json"]).ok();
    scratch.write("policy.json", policy(&scratch, &host, "ed25519", ""));
    let _ = check(&["--policy", "policy.json"]).fails(REFUSED);
    let signatures = format!("sha256-{}.sig", bench.image.hex());
    bench.registry.on(move |request| {
        let gone = request.path.ends_with(&signatures);
        gone.then(|| Fault::Answer(crate::common::answer::Response::new(404)))
    });
    let run = check(&demand);
    assert!(run.stdout.contains("has no signature"), "{run:?}");
    let _ = run.fails(REFUSED);
    let manifest = bench.registry.manifest("os", &bench.other().to_string()).unwrap();
    bench.registry.put_manifest("os", Some("v1"), MANIFEST, manifest);
    let _ = check(&[]).fails(7);
    let run = check(&demand);
    assert!(run.stdout.contains("has no signature") && run.stdout.contains("the tag v1 of "));
    let _ = run.says(&["2 faults"]).fails(REFUSED);
}

#[test]
fn an_update_weakens_no_lock_in_silence() {
    let scratch = scratch_with_keys();
    let bench = Bench::new();
    let name = bench.name();
    let update = |more: &[&str]| scratch.osimage(["lock", "--update", "a.lock"]).args(more).run();
    let text = || std::fs::read_to_string(scratch.path("a.lock")).unwrap();
    let demand = ["--require-signature", "p256.pub"];
    let _ = scratch.osimage(["lock", &name, "-o", "a.lock"]).ok();
    // Signed since: the file says so, and nothing else has changed.
    sign(&scratch, &name, "p256", &[]).ok();
    let _ = update(&[]).says(&["nothing has changed"]).ok();
    assert_eq!(update(&demand).ok(), format!("{name} {} is signed now\n", bench.image));
    assert_eq!(signed_by(&scratch, "a.lock"), Some(fingerprint(&scratch, "p256")));
    let kept = text();
    let _ = update(&demand).says(&["nothing has changed"]).ok();
    // Another image takes its place, which nobody has signed.
    let other = bench.other();
    let manifest = bench.registry.manifest("os", &other.to_string()).unwrap();
    bench.registry.put_manifest("os", Some("v1"), MANIFEST, manifest);
    let _ = update(&demand).says(&["has no signature"]).fails(REFUSED);
    let _ = update(&[]).says(&["was locked as signed by", "--require-signature"]).fails(2);
    assert_eq!(text(), kept);
    sign(&scratch, &name, "p256", &[]).ok();
    assert_eq!(update(&demand).ok(), format!("{name} {} -> {other}\n", bench.image));
    assert_eq!(signed_by(&scratch, "a.lock"), Some(fingerprint(&scratch, "p256")));
}

/// What is taken by a lock is judged as what was asked for: a signature that names the tag counts.
#[test]
fn what_is_taken_by_a_lock_is_judged_too() {
    let scratch = scratch_with_keys();
    let bench = Bench::new();
    let (host, name) = (bench.registry.host(), bench.name());
    bench.sign_simple("p256");
    let _ = scratch.osimage(["lock", &name, "-o", "a.lock"]).ok();
    let manifest = bench.registry.manifest("os", &bench.other().to_string()).unwrap();
    bench.registry.put_manifest("os", Some("v1"), MANIFEST, manifest);
    scratch.write("exact.json", policy(&scratch, &host, "p256", r#""matchExact""#));
    scratch.write("other.json", policy(&scratch, &host, "ed25519", r#""matchExact""#));
    let resolve = |more: &[&str]| scratch.osimage(["resolve", &name]).args(more).run();
    let locked = resolve(&["--lock", "a.lock", "--policy", "exact.json"]).ok();
    assert_eq!(locked, format!("{}\n", bench.image));
    let _ = resolve(&["--lock", "a.lock", "--policy", "other.json"]).fails(REFUSED);
    let _ = resolve(&["--policy", "exact.json"]).fails(REFUSED);
}

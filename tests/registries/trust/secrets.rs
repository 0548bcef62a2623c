//! Who watches a command that signs does not learn its keys and passphrases.

use std::os::unix::fs::PermissionsExt;

use super::made::Bench;
use super::*;
use crate::common::answer::Response;
use crate::common::helpers::helper;
use crate::common::registry::Fault;

/// What must be in nothing that others see.
fn secrets(scratch: &Scratch, name: &str) -> Vec<String> {
    let pem = std::fs::read_to_string(scratch.path(format!("{name}.key"))).unwrap();
    let lines = pem.lines().filter(|line| !line.starts_with("-----") && !line.is_empty());
    lines.map(str::to_owned).chain([PASSPHRASE.to_owned()]).collect()
}

#[test]
fn no_secret_is_said_or_handed_on_as_an_argument() {
    let scratch = scratch_with_keys();
    let bench = Bench::new();
    // A child that writes down how every process was called that it can see.
    let script = r#"cat > /dev/null
        for file in /proc/[0-9]*/cmdline; do tr '\0' ' ' < "$file" >> seen; done 2> /dev/null
        touch asked; echo 'credentials not found in native keychain'; exit 1"#;
    helper(&scratch, "watch", script);
    scratch.write(".docker/config.json", r#"{"credsStore":"watch"}"#);
    let path =
        format!("{}:{}", scratch.path("bin").display(), std::env::var("PATH").unwrap_or_default());
    bench.registry.first(1, "GET manifest", |_| {
        Fault::Answer(Response::new(401).with("WWW-Authenticate", "Basic realm=\"x\""))
    });
    let key_of = |name: &str| std::fs::read_to_string(scratch.path(format!("{name}.key"))).unwrap();
    scratch.write("broken.key", key_of("p256").replace("END PRIVATE", "END BROKEN"));
    scratch.write("public.key", KEYS[0].2);
    let image = bench.name();
    let rows: [(&str, &[&str], &str, bool); 6] = [
        ("cosign", &["--key", "cosign.key"], PASSPHRASE, false),
        ("p256", &["--key", "env://SIGNING_KEY"], "", true),
        ("cosign", &["--key", "cosign.key", "--identity", "a/b:2"], PASSPHRASE, true),
        ("cosign", &["--key", "cosign.key"], "hunter2 and more", false),
        ("p256", &["--key", "broken.key"], "", false),
        ("p256", &["--key", "public.key"], "", false),
    ];
    for (name, more, passphrase, good) in rows {
        let run = scratch
            .osimage(["-d", "sign", &image])
            .args(more)
            .env("PATH", &path)
            .env("COSIGN_PASSWORD", passphrase)
            .env("SIGNING_KEY", key_of("p256"))
            .run();
        assert!(!good || run.code == 0, "{more:?}: {run:?}");
        let said = run.stdout.clone() + &run.stderr;
        for secret in secrets(&scratch, name) {
            assert!(!said.contains(&secret), "{more:?}: {secret} in {said}");
        }
    }
    assert!(scratch.path("asked").exists(), "the child was run");
    let seen = std::fs::read_to_string(scratch.path("seen")).unwrap();
    assert!(seen.contains("osimage"), "{seen}");
    for secret in secrets(&scratch, "cosign").into_iter().chain(secrets(&scratch, "p256")) {
        assert!(!seen.contains(&secret), "{secret}");
    }
}

/// What a key's own program is told of the image, and by which way.
#[test]
fn a_program_that_keeps_a_key_is_told_no_secret() {
    let scratch = scratch_with_keys();
    let bench = Bench::new();
    let script = r#"printf '%s\n' "$@" >> arguments
        case "$2" in
        *'"methodName":"publicKey"'*)
            printf '{"publicKey":{"publicKeyPEM":"%s"}}' "$(base64 -w0 p256.pub)" ;;
        *)
            made=$(openssl dgst -sha256 -sign p256.key | base64 -w0)
            printf '{"signMessage":{"signature":"%s"}}' "$made" ;;
        esac"#;
    let path = helper(&scratch, "test", script);
    std::fs::rename(&path, path.with_file_name("sigstore-kms-test")).unwrap();
    let path =
        format!("{}:{}", scratch.path("bin").display(), std::env::var("PATH").unwrap_or_default());
    scratch
        .osimage(["sign", &bench.name(), "--key", "test://key", "--key", "cosign.key"])
        .env("PATH", path)
        .env("COSIGN_PASSWORD", PASSPHRASE)
        .ok();
    for key in ["p256", "cosign"] {
        verify(&scratch, &bench.name(), key, &[]).ok();
    }
    let arguments = std::fs::read_to_string(scratch.path("arguments")).unwrap();
    assert!(arguments.contains("signMessage"), "{arguments}");
    for secret in secrets(&scratch, "cosign") {
        assert!(!arguments.contains(&secret), "{secret}");
    }
}

#[test]
fn a_new_private_key_is_for_its_owner_alone() {
    let scratch = Scratch::new();
    for (name, passphrase) in [("plain", ""), ("sealed", PASSPHRASE)] {
        let run =
            scratch.osimage(["-d", "keygen", "-o", name]).env("COSIGN_PASSWORD", passphrase).run();
        let said = run.stdout.clone() + &run.stderr;
        let _ = run.ok();
        for secret in secrets(&scratch, name) {
            assert!(!said.contains(&secret), "{said}");
        }
        let mode = |end: &str| {
            let path = scratch.path(format!("{name}.{end}"));
            std::fs::metadata(path).unwrap().permissions().mode() & 0o777
        };
        assert_eq!(mode("key"), 0o600, "{name}");
    }
}

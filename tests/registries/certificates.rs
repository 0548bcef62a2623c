//! Which certificates are trusted: in folders, by name, for one registry alone, or unchecked.

use std::fs;

use crate::common::Scratch;
use crate::common::pki::{Pki, self_signed};
use crate::common::registry::{Auth, Registry};
use osimage::registry::credentials::Credentials;
use osimage::registry::{Client, Resolve, Settings};

use super::access::store;

#[test]
fn certificates_lie_in_folders_named_by_the_registry() {
    let scratch = Scratch::new();
    store(&scratch);
    let pki = Pki::new(&scratch, "pki");
    let registry = Registry::with(Auth::Open, Some(pki.tls()));
    let host = registry.host();
    scratch
        .osimage([
            "--ca-file",
            pki.ca.to_str().unwrap(),
            "--store-path",
            "store",
            "push",
            "os",
            &format!("{host}/os:1"),
        ])
        .ok();
    let find = |folder: &str| {
        let settings = Settings::new()
            .certificate_folders([scratch.path("empty"), scratch.path(folder)])
            .plain_http(false);
        let client = Client::new(settings, Credentials::from_env(vec![scratch.path("none.json")]));
        client
            .image(&format!("{host}/os:1").parse().unwrap())
            .map(|image| image.descriptor().size)
            .map_err(|e| e.to_string())
    };
    assert!(find("nowhere").unwrap_err().contains("not trusted"));
    let copy = |from: &std::path::Path, to: &str| drop(scratch.write(to, fs::read(from).unwrap()));
    copy(&pki.ca, &format!("with/{host}/ca.crt"));
    assert!(find("with").unwrap() > 0);
    // The client's certificate needs its key, and both are read.
    copy(&pki.client.certificate, &format!("with/{host}/client.cert"));
    assert!(find("with").unwrap_err().contains("client.key"));
    copy(&pki.client.key, &format!("with/{host}/client.key"));
    assert!(find("with").unwrap() > 0);
    // Those of another port are for another registry.
    copy(&pki.ca, "other/127.0.0.1:1/ca.crt");
    assert!(find("other").unwrap_err().contains("not trusted"));
    scratch.write(format!("broken/{host}/ca.crt"), "no certificate");
    assert!(find("broken").unwrap_err().contains("ca.crt holds no certificate"));
}

/// Makes a certificate one of an authority too, as guides for registries have it.
fn authority(params: &mut rcgen::CertificateParams) {
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
}

#[test]
fn a_certificate_that_is_named_is_trusted_as_it_is() {
    type Change = fn(&mut rcgen::CertificateParams);
    let expired: Change = |params| params.not_after = rcgen::date_time_ymd(2024, 1, 1);
    for (what, change, named, host, expected) in [
        ("authority and server at once", authority as Change, true, "127.0.0.1", Ok(())),
        ("by a name", authority, true, "registry.test", Ok(())),
        ("a server's alone", |_| (), true, "127.0.0.1", Ok(())),
        (
            "another one named",
            authority,
            false,
            "127.0.0.1",
            Err(&["is an authority's own", "name exactly the certificate", "certs.d/127.0.0.1:"]),
        ),
        (
            "a server's, another one named",
            |_| (),
            false,
            "127.0.0.1",
            Err(&["no authority that is trusted", "name its authority's certificate", "--ca-file"]),
        ),
        (
            "of another host",
            authority,
            true,
            "other.test",
            Err(&[
                "it is for 127.0.0.1, localhost, registry.test, not for other.test",
                "--resolve",
                "",
            ]),
        ),
        (
            "expired",
            expired,
            true,
            "127.0.0.1",
            Err(&["it was valid until 2024-01-01T00:00:00Z", "another certificate", ""]),
        ),
        (
            "expired, authority at once",
            |params| {
                authority(params);
                params.not_after = rcgen::date_time_ymd(2024, 1, 1);
            },
            true,
            "127.0.0.1",
            Err(&["it was valid until 2024-01-01T00:00:00Z", "another certificate", ""]),
        ),
        (
            "not yet valid",
            |params| params.not_before = rcgen::date_time_ymd(2090, 1, 1),
            true,
            "127.0.0.1",
            Err(&["it is valid from 2090-01-01T00:00:00Z on", "check this machine's clock", ""]),
        ),
        (
            "for no host",
            |params| params.subject_alt_names.clear(),
            true,
            "127.0.0.1",
            Err(&["no subjectAltName", "another certificate", ""]),
        ),
    ] {
        let scratch = Scratch::new();
        let (own, tls) = self_signed(&scratch, "own.pem", change);
        let (other, _) = self_signed(&scratch, "other.pem", authority);
        let registry = Registry::with(Auth::Open, Some(tls));
        let digest = crate::common::remote::image(&registry, |_| ());
        let port = registry.address.port();
        let file = if named { &own } else { &other };
        let (image, resolve) = (format!("{host}:{port}/os:v1"), format!("{host}:{port}:127.0.0.1"));
        let args = ["--ca-file", file.to_str().unwrap(), "--resolve", &resolve, "resolve", &image];
        let run = scratch.osimage(args).run();
        match expected {
            Ok(()) => assert_eq!(run.stdout, format!("{digest}\n"), "{what}: {}", run.stderr),
            Err(says) => {
                assert_eq!(run.code, 6, "{what}: {}", run.stderr);
                assert!(
                    says.iter().all(|text| run.stderr.contains(text)),
                    "{what}: {}",
                    run.stderr
                );
                let given = "--ca-file";
                assert!(
                    run.stderr.contains(given) == says.iter().any(|text| text.contains("name")),
                    "{what}: {}",
                    run.stderr
                );
                // The names of another program's types are no words.
                assert!(!run.stderr.contains("InvalidCertificate"), "{what}: {}", run.stderr);
            }
        }
        // In a folder for the registry it is the same.
        scratch.write(format!("certs.d/{host}:{port}/own.crt"), fs::read(file).unwrap());
        let settings = Settings::new()
            .certificate_folders([scratch.path("certs.d")])
            .resolve([Resolve::new(host, port, [127, 0, 0, 1].into())]);
        let client = Client::new(settings, Credentials::from_env(Vec::new()));
        let found = client.image(&image.parse().unwrap()).map(drop);
        assert_eq!(found.is_ok(), expected.is_ok(), "{what}: {found:?}");
    }
}

/// A file of certificates is for some registry; which others speak TLS, it does not tell.
#[test]
fn a_certificate_for_one_registry_changes_nothing_at_others() {
    let scratch = Scratch::new();
    let pki = Pki::new(&scratch, "pki");
    let (plain, secure) = (Registry::start(), Registry::with(Auth::Open, Some(pki.tls())));
    let (ca, certificate, key) = (&pki.ca, &pki.client.certificate, &pki.client.key);
    let [ca, certificate, key] = [ca, certificate, key].map(|path| path.to_str().unwrap());
    let digests = [&plain, &secure].map(|one| crate::common::remote::image(one, |_| ()));
    for options in [
        &["--ca-file", ca][..],
        &["--ca-file", ca, "--cert-file", certificate, "--key-file", key],
        &["--ca-file", ca, "--plain-http=false"],
    ] {
        for (registry, digest) in [&plain, &secure].into_iter().zip(&digests) {
            let image = crate::common::remote::name(registry);
            let run = scratch.osimage([options, &["resolve", &image]].concat()).run();
            let told = options.contains(&"--plain-http=false") && registry.address == plain.address;
            let expected = if told { (6, String::new()) } else { (0, format!("{digest}\n")) };
            assert_eq!((run.code, run.stdout), expected, "{options:?} {}", run.stderr);
        }
        if !options.contains(&"--plain-http=false") {
            for (from, to) in [(&plain, &secure), (&secure, &plain)] {
                let copy =
                    ["copy", &crate::common::remote::name(from), &format!("{}/copy:1", to.host())];
                let run = scratch.osimage([options, &copy].concat()).run();
                assert_eq!(run.code, 0, "{options:?}: {}", run.stderr);
            }
        }
    }
}

#[test]
fn unchecked_certificates_are_no_need_for_tls_on_loopback() {
    let scratch = Scratch::new();
    let pki = Pki::new(&scratch, "pki");
    store(&scratch);
    for registry in [Registry::start(), Registry::with(Auth::Open, Some(pki.tls()))] {
        let name = format!("{}/os:1", registry.host());
        scratch.osimage(["--insecure", "--store-path", "store", "push", "os", &name]).ok();
        assert_eq!(
            scratch.osimage(["--insecure", "tags", &format!("{}/os", registry.host())]).ok(),
            "1\n"
        );
        let secure =
            scratch.osimage(["--insecure", "--plain-http=false", "resolve", &name]).run().code;
        assert_eq!(secure, if registry.url("/").starts_with("https") { 0 } else { 6 });
    }
}

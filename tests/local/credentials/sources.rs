//! Where credentials come from, in which order, and what can be kept and removed.

use std::fs;

use super::{basic, config, credentials, environment, failure};
use crate::common::helpers::keeping_helper;
use crate::common::{Scratch, listing};
use osimage::registry::credentials::{Credentials, Environment};
use osimage::{Error, Kind};

#[test]
fn the_first_source_that_has_one_counts() {
    let scratch = Scratch::new();
    let sources = [
        "one.json",
        "two/config.json",
        "registry-auth.json",
        "docker/config.json",
        "run/auth.json",
        "conf/containers/auth.json",
        ".docker/config.json",
    ];
    for (n, source) in sources.iter().enumerate() {
        let entry =
            ["dTA6cDA=", "dTE6cDE=", "dTI6cDI=", "dTM6cDM=", "dTQ6cDQ=", "dTU6cDU=", "dTY6cDY="][n];
        // The others' entries, and longer paths for other repositories, do not matter.
        scratch.write(source, format!(r#"{{"auths": {{"ghcr.io": {{"auth": "{entry}"}}, "ghcr.io/other": {{"auth": "eDp5"}}}}}}"#));
    }
    let environment = environment(&scratch)
        .registry_auth_file(scratch.path("registry-auth.json"))
        .docker_config(scratch.path("docker"))
        .session_file(scratch.path("run/auth.json"))
        .config_home(scratch.path("conf"));
    let credentials =
        Credentials::new(vec![scratch.path("one.json"), scratch.path("two")], environment);
    for (n, source) in sources.iter().enumerate() {
        assert_eq!(
            credentials.find("ghcr.io", "me/os").unwrap(),
            Some(basic(&format!("u{n}"), &format!("p{n}"))),
            "{source}"
        );
        assert_eq!(credentials.find("ghcr.io", "other/os").unwrap(), Some(basic("x", "y")));
        assert_eq!(credentials.find("quay.io", "me/os").unwrap(), None);
        // A file that was named must be there.
        if n == 0 {
            drop(scratch.write(source, "{}"));
        } else {
            fs::remove_file(scratch.path(source)).unwrap();
        }
    }
    assert_eq!(credentials.find("ghcr.io", "me/os").unwrap(), None);
    fs::remove_file(scratch.path("one.json")).unwrap();
    let (kind, text) = failure(credentials.find("ghcr.io", "me/os"));
    assert!(kind == Kind::NotFound && text.contains("one.json"), "{text}");
}

#[test]
fn a_logout_reaches_every_source_or_those_that_are_named() {
    let scratch = Scratch::new();
    keeping_helper(&scratch, "all");
    let files = ["named.json", "session.json", ".config/containers/auth.json"];
    let fill = || {
        for file in files {
            scratch.write(
                file,
                r#"{"auths": {"https://ghcr.io": {"auth": "YTpi"}, "quay.io": {"auth": "YTpi"}}}"#,
            );
        }
        config(&scratch, r#"{"credsStore": "all"}"#);
        credentials(&scratch).store("ghcr.io", &basic("x", "y")).unwrap();
    };
    let environment = environment(&scratch).session_file(scratch.path("session.json"));
    fill();
    let named = Credentials::new(vec![scratch.path("named.json")], environment.clone());
    let path = |name: &str| scratch.path(name).display().to_string();
    assert_eq!(named.erase("ghcr.io").unwrap(), [path("named.json")]);
    assert_eq!(named.find("ghcr.io", "os").unwrap(), Some(basic("a", "b")), "the next source");
    let (kind, text) = failure(named.erase("ghcr.io"));
    assert_eq!(kind, Kind::NotFound);
    assert!(
        text.starts_with("there is no credential for ghcr.io / ") && text.contains("named.json"),
        "{text}"
    );

    fill();
    let all = Credentials::new(Vec::new(), environment);
    assert_eq!(
        all.erase("ghcr.io").unwrap(),
        [path("session.json"), path(files[2]), "the credential helper all".into()]
    );
    assert_eq!(all.find("ghcr.io", "os").unwrap(), None);
    assert_eq!(all.find("quay.io", "os").unwrap(), Some(basic("a", "b")));

    // One source that fails does not keep the secret in the others.
    fill();
    scratch.write("session.json", "{");
    assert_eq!(failure(all.erase("ghcr.io")).0, Kind::Verification);
    assert!(!fs::read_to_string(scratch.path(files[2])).unwrap().contains("ghcr.io"));
}

#[test]
fn what_cannot_be_stored_is_refused() {
    let scratch = Scratch::new();
    let credentials = credentials(&scratch);
    let before = listing(&scratch.path(""));
    for (host, credential) in [
        ("ghcr.io\nquay.io", basic("a", "b")),
        ("ghcr.io/me", basic("a", "b")),
        ("", basic("a", "b")),
        ("ghcr.io", basic("a:b", "hunter2")),
        ("ghcr.io", basic("", "hunter2")),
    ] {
        let (kind, text) = failure(credentials.store(host, &credential));
        assert_eq!(kind, Kind::Usage, "{text}");
        assert!(!text.contains("hunter2"), "{text}");
    }
    assert!(matches!(credentials.find("ghcr.io\r", "os"), Err(Error::Usage { .. })));
    assert!(matches!(credentials.erase("\u{1b}[2J"), Err(Error::Usage { .. })));
    let homeless = Credentials::new(Vec::new(), Environment::default());
    assert_eq!(failure(homeless.store("ghcr.io", &basic("a", "b"))).0, Kind::Usage);
    assert_eq!(failure(homeless.erase("ghcr.io")).0, Kind::NotFound);
    assert_eq!(listing(&scratch.path("")), before);
}

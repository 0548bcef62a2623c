//! Helpers, those that do what they should and those that do not.

use std::fs;
use std::os::unix::fs::symlink;
use std::time::Duration;

use super::{basic, bounded, config, credentials, environment, failure, warnings};
use crate::common::Scratch;
use crate::common::helpers::{helper, keeping_helper};
use osimage::Kind;
use osimage::registry::credentials::{Credential, Credentials};

#[test]
fn a_helper_that_is_missing_is_warned_of_once_and_passed_over() {
    let scratch = Scratch::new();
    warnings("");
    scratch.write(
        ".config/containers/auth.json",
        r#"{"credHelpers": {"ghcr.io": "nowhere-to-be-found"}}"#,
    );
    config(
        &scratch,
        r#"{"auths": {"ghcr.io": {"auth": "YTpi"}}, "credsStore": "nowhere-to-be-found"}"#,
    );
    let credentials = credentials(&scratch);
    for _ in 0..3 {
        assert_eq!(credentials.find("ghcr.io", "os").unwrap(), Some(basic("a", "b")));
        assert_eq!(credentials.find("quay.io", "os").unwrap(), None);
    }
    let said = warnings("nowhere-to-be-found");
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(
        said[0].starts_with(
            "WARN: the credential helper docker-credential-nowhere-to-be-found is not installed"
        ),
        "{said:?}"
    );
    // To store something there is no next one.
    let (kind, text) = failure(credentials.store("quay.io", &basic("a", "b")));
    assert_eq!(kind, Kind::NotFound);
    assert!(
        text.contains("docker-credential-nowhere-to-be-found is not installed / install "),
        "{text}"
    );
}

#[test]
fn a_helper_keeps_credentials_as_docker_has_it() {
    let scratch = Scratch::new();
    keeping_helper(&scratch, "all");
    keeping_helper(&scratch, "own");
    config(
        &scratch,
        r#"{"auths": {"quay.io": {"auth": "b2xkOm9sZA=="}}, "credsStore": "all", "credHelpers": {"ghcr.io": "own"}}"#,
    );
    let credentials = credentials(&scratch);
    let token = Credential::IdentityToken("id".into());
    for (host, server, credential, name) in [
        ("ghcr.io", "ghcr.io", basic("alice", "s3\"cret"), "own"),
        ("quay.io", "quay.io", basic("bob", "p\\w"), "all"),
        ("docker.io", "https://index.docker.io/v1/", token.clone(), "all"),
    ] {
        assert_eq!(
            credentials.store(host, &credential).unwrap(),
            format!("the credential helper {name}")
        );
        assert_eq!(credentials.find(host, "os").unwrap(), Some(credential), "{host}");
        let text =
            fs::read_to_string(scratch.path(format!("kept-{name}")).join(server.replace('/', "_")))
                .unwrap();
        let kept: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(kept["ServerURL"], server);
    }
    assert_eq!(credentials.find("registry-1.docker.io", "library/os").unwrap(), Some(token));
    let text = fs::read_to_string(scratch.path(".docker/config.json")).unwrap();
    let file: serde_json::Value = serde_json::from_str(&text).unwrap();
    let expected =
        serde_json::json!({"ghcr.io": {}, "quay.io": {}, "https://index.docker.io/v1/": {}});
    assert_eq!(file["auths"], expected, "no secret stays in the file");

    assert_eq!(credentials.erase("quay.io").unwrap(), ["the credential helper all"]);
    assert_eq!(credentials.find("quay.io", "os").unwrap(), None);
    assert_eq!(failure(credentials.erase("quay.io")).0, Kind::NotFound);
    assert!(credentials.find("docker.io", "os").unwrap().is_some());
    let text = fs::read_to_string(scratch.path(".docker/config.json")).unwrap();
    assert!(!text.contains("quay.io"), "{text}");
    let registry = Credential::RegistryToken("hunter2".into());
    assert_eq!(failure(credentials.store("quay.io", &registry)).0, Kind::Usage);
}

#[test]
fn helpers_that_fail_are_errors_that_show_no_secret() {
    for (n, (script, expected)) in [
        (
            "cat > /dev/null; echo 'pass not initialized'; exit 1",
            "`get` failed: pass not initialized",
        ),
        (
            "echo credentials not found in native keychain; exit 0",
            "its answer is not the JSON document",
        ),
        (
            "echo '{\"Username\": \"alice\", \"Secret\": \"hunter2\"'",
            "its answer is not the JSON document",
        ),
        (
            "echo '{\"Username\": \"alice\", \"Secret\": [\"hunter2\"]}'",
            "its answer is not the JSON document",
        ),
        (
            "echo '{\"Username\": \"alice\", \"Secret\": \"hunter2\"}'; exit 3",
            "`get` failed (exit status: 3)",
        ),
        ("echo hunter2 >&2; exit 1", "`get` failed (exit status: 1)"),
        ("printf '\\377'", "its answer is not text"),
        ("kill -9 $$", "`get` failed (signal: 9 (SIGKILL))"),
        ("exit 0", "its answer is not the JSON document"),
    ]
    .into_iter()
    .enumerate()
    {
        let scratch = Scratch::new();
        helper(&scratch, "bad", script);
        config(&scratch, r#"{"credsStore": "bad"}"#);
        let (kind, text) = failure(credentials(&scratch).find("ghcr.io", "os"));
        assert_eq!(kind, Kind::Unauthorised, "{n}: {text}");
        assert!(
            text.contains("docker-credential-bad")
                && text.contains(expected)
                && !text.contains("hunter2"),
            "{script}: {text}"
        );
    }
    for (script, expected) in [
        ("cat; exit 1", "(exit status: 1)"),
        ("echo no room for hunter2; exit 1", "(exit status: 1)"),
        ("echo locked; exit 1", ": locked"),
    ] {
        let scratch = Scratch::new();
        helper(&scratch, "bad", script);
        let path = config(&scratch, r#"{"credsStore": "bad"}"#);
        let before = fs::read(&path).unwrap();
        let (_, text) = failure(credentials(&scratch).store("ghcr.io", &basic("alice", "hunter2")));
        assert!(
            text.contains(&format!(
                "`store` failed{}",
                if expected.starts_with('(') { " " } else { "" }
            )),
            "{text}"
        );
        assert!(text.contains(expected) && !text.contains("hunter2"), "{text}");
        assert_eq!(fs::read(&path).unwrap(), before);
    }
    // A program that cannot be run at all.
    let scratch = Scratch::new();
    let path = helper(&scratch, "bad", "");
    fs::remove_file(&path).unwrap();
    symlink("/dev/null", &path).unwrap();
    config(&scratch, r#"{"credsStore": "bad"}"#);
    assert_eq!(
        credentials(&scratch).find("ghcr.io", "os").unwrap(),
        None,
        "what is no program is none"
    );
}

#[test]
fn an_empty_answer_and_an_identity_token_are_understood() {
    for (answer, expected) in [
        (r#"{"ServerURL":"ghcr.io","Username":"","Secret":""}"#, None),
        (r#"{"Username":"alice","Secret":"pw","More":1}"#, Some(basic("alice", "pw"))),
        (
            r#"{"ServerURL":"ghcr.io","Username":"<token>","Secret":"id"}"#,
            Some(Credential::IdentityToken("id".into())),
        ),
    ] {
        let scratch = Scratch::new();
        helper(&scratch, "fixed", &format!("printf '%s' '{answer}'"));
        config(&scratch, r#"{"credsStore": "fixed"}"#);
        assert_eq!(credentials(&scratch).find("ghcr.io", "os").unwrap(), expected, "{answer}");
    }
}

/// Whether a process is there and has not ended.
fn runs(pid: &str) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
        !stat.rsplit(')').next().unwrap_or_default().trim_start().starts_with('Z')
    })
}

#[test]
fn a_helper_that_hangs_is_ended_with_all_that_it_started() {
    for script in [
        "sleep 600 & echo $! $$ > pids; wait",
        // It has closed its output, and lives on.
        "sleep 600 & echo $! $$ > pids; exec >&-; wait",
        // It writes, slowly.
        "sleep 600 & echo $! $$ > pids; while :; do echo; sleep 0.2; done",
        // It ends, and what it started holds its output.
        "sleep 600 & echo $! $$ > pids; exit 0",
    ] {
        let scratch = Scratch::new();
        helper(&scratch, "slow", script);
        config(&scratch, r#"{"credsStore": "slow"}"#);
        let mut pids = Vec::new();
        // Where this machine is slow, the script needs longer to begin.
        for limit in [1, 4, 16] {
            let credentials = credentials(&scratch).helper_limit(Duration::from_secs(limit));
            let (kind, text) = failure(bounded(move || credentials.find("ghcr.io", "os")));
            assert_eq!(kind, Kind::Unauthorised);
            assert!(
                text.contains(&format!(
                    "docker-credential-slow failed: it took longer than {limit} s and was ended"
                )),
                "{text}"
            );
            let written = fs::read_to_string(scratch.path("pids")).unwrap_or_default();
            pids = written.split_whitespace().map(str::to_owned).collect();
            if pids.len() == 2 {
                break;
            }
        }
        assert_eq!(pids.len(), 2, "{script}");
        for pid in &pids {
            // A process that was killed takes a moment to end; whoever is in charge of orphans here
            // may leave it a zombie.
            let gone = (0..600).any(|_| {
                let gone = !runs(pid);
                if !gone {
                    std::thread::sleep(Duration::from_millis(50));
                }
                gone
            });
            assert!(gone, "{script}: process {pid} was left behind");
        }
    }
}

#[test]
fn a_helper_that_reads_nothing_holds_nobody_up() {
    let scratch = Scratch::new();
    helper(&scratch, "deaf", "exit 0");
    config(&scratch, r#"{"credsStore": "deaf"}"#);
    let credentials = credentials(&scratch);
    let large = basic("alice", &"x".repeat(1 << 20));
    assert_eq!(
        bounded(move || credentials.store("ghcr.io", &large)).unwrap(),
        "the credential helper deaf"
    );
}

#[test]
fn a_helper_that_floods_is_ended() {
    let limit = 64 << 10;
    let frame = r#"{"Username":"alice","Secret":""}"#.len();
    for (script, good) in [
        ("exec yes".to_owned(), false),
        (format!("head -c {} /dev/zero", limit + 1), false),
        (
            format!(
                "printf '%s' '{{\"Username\":\"alice\",\"Secret\":\"'; head -c {} /dev/zero | tr '\\0' x; printf '\"}}'",
                limit - frame
            ),
            true,
        ),
    ] {
        let scratch = Scratch::new();
        helper(&scratch, "flood", &script);
        config(&scratch, r#"{"credsStore": "flood"}"#);
        let credentials = credentials(&scratch);
        let found = bounded(move || credentials.find("ghcr.io", "os"));
        match good {
            true => assert_eq!(found.unwrap(), Some(basic("alice", &"x".repeat(limit - frame)))),
            false => assert!(failure(found).1.contains("it wrote more than 64 KiB"), "{script}"),
        }
    }
}

#[test]
fn a_helpers_name_leads_nowhere_else() {
    let scratch = Scratch::new();
    let evil = helper(&scratch, "x/evil", "touch was-here");
    assert!(evil.exists());
    for name in [
        "x/evil",
        "../bin/docker-credential-x/evil",
        "/bin/sh",
        "a b",
        "a\\u0000b",
        "a;b",
        "größe",
        "$(evil)",
        "a\\nb",
    ] {
        config(&scratch, &format!(r#"{{"credsStore": "{name}"}}"#));
        for (kind, text) in [
            failure(credentials(&scratch).find("ghcr.io", "os")),
            failure(credentials(&scratch).store("ghcr.io", &basic("a", "b"))),
            failure(credentials(&scratch).erase("ghcr.io")),
        ] {
            assert_eq!(kind, Kind::Verification, "{text}");
            assert!(
                text.contains(
                    "is not the name of a credential helper / a name has letters, digits"
                ),
                "{text}"
            );
        }
    }
    assert!(!scratch.path("was-here").exists());
    // Neither does a search path that is not absolute.
    config(&scratch, r#"{"credsStore": "found"}"#);
    helper(&scratch, "found", "touch was-here; exit 1");
    let relative = environment(&scratch).path(":bin:.");
    assert_eq!(Credentials::new(Vec::new(), relative).find("ghcr.io", "os").unwrap(), None);
    assert!(!scratch.path("was-here").exists());
}

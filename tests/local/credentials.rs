//! Credentials in scratch folders, with helpers that do what helpers should and with helpers that
//! do not.
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, Once, mpsc};
use std::time::Duration;

use crate::common::helpers::{helper, keeping_helper};
use crate::common::{Scratch, listing};
use osimage::registry::credentials::{Credential, Credentials, Environment};
use osimage::{Error, Kind};

/// No call takes longer than this, whatever a helper does.
const BOUND: Duration = Duration::from_secs(60);

fn basic(username: &str, password: &str) -> Credential {
    Credential::Basic { username: username.into(), password: password.into() }
}

/// An environment with the scratch folder as the home, and the helpers in `bin`.
fn environment(scratch: &Scratch) -> Environment {
    let path = std::env::join_paths([scratch.path("bin")]).unwrap();
    Environment { home: Some(scratch.path("")), path, ..Environment::default() }
}

fn credentials(scratch: &Scratch) -> Credentials {
    Credentials::new(Vec::new(), environment(scratch))
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

fn config(scratch: &Scratch, content: &str) -> PathBuf {
    scratch.write(".docker/config.json", content)
}

fn failure<T>(result: osimage::Result<T>) -> (Kind, String) {
    let error = result.err().expect("it fails");
    let text = format!(
        "{error} / {}",
        error.advice().map(|advice| advice.to_string()).unwrap_or_default()
    );
    (error.kind(), text)
}

/// Runs it in a thread of its own, with a bound.
fn bounded<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || sender.send(work()));
    receiver.recv_timeout(BOUND).expect("an answer in time")
}

/// What was warned of so far that has a text in it.
fn warnings(text: &str) -> Vec<String> {
    struct Keep(Mutex<Vec<String>>);
    impl log::Log for Keep {
        fn enabled(&self, _: &log::Metadata) -> bool {
            true
        }
        fn log(&self, record: &log::Record) {
            self.0.lock().unwrap().push(format!("{}: {}", record.level(), record.args()));
        }
        fn flush(&self) {}
    }
    static KEEP: Keep = Keep(Mutex::new(Vec::new()));
    static START: Once = Once::new();
    START.call_once(|| {
        log::set_logger(&KEEP).unwrap();
        log::set_max_level(log::LevelFilter::Warn);
    });
    KEEP.0.lock().unwrap().iter().filter(|line| line.contains(text)).cloned().collect()
}

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
    let environment = Environment {
        registry_auth_file: Some(scratch.path("registry-auth.json")),
        docker_config: Some(scratch.path("docker")),
        session_file: Some(scratch.path("run/auth.json")),
        config_home: Some(scratch.path("conf")),
        ..environment(&scratch)
    };
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
            let mut credentials = credentials(&scratch);
            credentials.helper_limit = Duration::from_secs(limit);
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
    let relative = Environment { path: ":bin:.".into(), ..environment(&scratch) };
    assert_eq!(Credentials::new(Vec::new(), relative).find("ghcr.io", "os").unwrap(), None);
    assert!(!scratch.path("was-here").exists());
}

#[test]
fn what_is_not_ours_stays_as_it_is() {
    let scratch = Scratch::new();
    let before = r#"{
	"zeta": 1.50,
	"auths": {
		"quay.io": {
			"auth": "b2xkOm9sZA==",
			"email": "a@example.org"
		},
		"https://ghcr.io/v1/": {"auth": "b2xkOm9sZA=="},
		"ghcr.io/me": {"auth": "eDp5"}
	},
	"HttpHeaders": {"User-Agent": "x", "Accept": "y"},
	"alpha": [12345678901234567890123, "<&>"]
}"#;
    let path = config(&scratch, before);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let credentials = credentials(&scratch);
    let shown = path.display().to_string();
    assert_eq!(credentials.store("quay.io", &basic("alice", "s3:cret")).unwrap(), shown);
    assert_eq!(
        credentials.store("ghcr.io", &Credential::IdentityToken("id".into())).unwrap(),
        shown
    );
    assert_eq!(
        credentials.store("docker.io", &Credential::RegistryToken("reg".into())).unwrap(),
        shown
    );
    let after = r#"{
	"zeta": 1.50,
	"auths": {
		"quay.io": {
			"email": "a@example.org",
			"auth": "YWxpY2U6czM6Y3JldA=="
		},
		"ghcr.io/me": {"auth": "eDp5"},
		"ghcr.io": {
			"auth": "PHRva2VuPjo=",
			"identitytoken": "id"
		},
		"https://index.docker.io/v1/": {
			"registrytoken": "reg"
		}
	},
	"HttpHeaders": {"User-Agent": "x", "Accept": "y"},
	"alpha": [12345678901234567890123, "<&>"]
}
"#;
    assert_eq!(fs::read_to_string(&path).unwrap(), after);
    assert_eq!(mode(&path), 0o600);
    assert_eq!(credentials.find("quay.io", "os").unwrap(), Some(basic("alice", "s3:cret")));
    assert_eq!(
        credentials.find("ghcr.io", "you/os").unwrap(),
        Some(Credential::IdentityToken("id".into()))
    );
    assert_eq!(
        credentials.find("registry-1.docker.io", "os").unwrap(),
        Some(Credential::RegistryToken("reg".into()))
    );

    for host in ["index.docker.io", "ghcr.io"] {
        assert_eq!(credentials.erase(host).unwrap(), [shown.as_str()]);
    }
    assert_eq!(credentials.find("ghcr.io", "you/os").unwrap(), None);
    assert_eq!(
        credentials.find("ghcr.io", "me/os").unwrap(),
        Some(basic("x", "y")),
        "a part of the host is another key"
    );
    let left = fs::read_to_string(&path).unwrap();
    assert!(
        left.contains("quay.io")
            && left.contains("\"HttpHeaders\": {\"User-Agent\": \"x\", \"Accept\": \"y\"}"),
        "{left}"
    );
    let names: Vec<_> = fs::read_dir(scratch.path(".docker"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(names, ["config.json"], "nothing else is left");
}

#[test]
fn a_new_file_is_nobody_elses_whatever_the_umask() {
    const ASKED: &str = "OSIMAGE_TEST_STORE_IN";
    if let Some(dir) = std::env::var_os(ASKED) {
        let credentials = Credentials::new(
            vec![PathBuf::from(dir).join("new/config.json")],
            Environment::default(),
        );
        credentials.store("ghcr.io", &basic("a", "b")).unwrap();
        return;
    }
    // A umask belongs to a process, so each needs one of its own: this test, called again.
    for umask in ["000", "022", "277"] {
        let scratch = Scratch::new();
        if umask == "277" {
            fs::create_dir(scratch.path("new")).unwrap();
        }
        let script = format!(
            "umask {umask}; exec \"$0\" --exact credentials::a_new_file_is_nobody_elses_whatever_the_umask"
        );
        let output = Command::new("sh")
            .args(["-c", &script])
            .arg(std::env::current_exe().unwrap())
            .env(ASKED, scratch.path(""))
            .output()
            .unwrap();
        assert!(
            output.status.success() && String::from_utf8_lossy(&output.stdout).contains("1 passed"),
            "{output:?}"
        );
        assert_eq!(mode(&scratch.path("new/config.json")), 0o600, "{umask}");
        if umask != "277" {
            assert_eq!(mode(&scratch.path("new")), 0o700, "{umask}");
        }
    }
}

#[test]
fn stores_at_once_lose_nothing() {
    let scratch = Scratch::new();
    let (threads, hosts) = (8, 10);
    let host = |thread: usize, n: usize| format!("host-{thread}-{n}.example:5000");
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let scratch = &scratch;
            scope.spawn(move || {
                for n in 0..hosts {
                    // Each with its own open files, as processes have them.
                    credentials(scratch)
                        .store(&host(thread, n), &basic("u", &n.to_string()))
                        .unwrap();
                }
            });
        }
    });
    let credentials = credentials(&scratch);
    for (thread, n) in (0..threads).flat_map(|thread| (0..hosts).map(move |n| (thread, n))) {
        assert_eq!(
            credentials.find(&host(thread, n), "os").unwrap(),
            Some(basic("u", &n.to_string()))
        );
    }
}

#[test]
fn a_link_stays_a_link() {
    let scratch = Scratch::new();
    fs::create_dir_all(scratch.path(".docker")).unwrap();
    // One link over another; first to nothing, then to the file.
    symlink("../dotfiles/link.json", scratch.path(".docker/config.json")).unwrap();
    fs::create_dir_all(scratch.path("dotfiles")).unwrap();
    symlink(scratch.path("dotfiles/docker.json"), scratch.path("dotfiles/link.json")).unwrap();
    let credentials = credentials(&scratch);
    for host in ["ghcr.io", "quay.io"] {
        credentials.store(host, &basic("a", "b")).unwrap();
        assert_eq!(credentials.find(host, "os").unwrap(), Some(basic("a", "b")));
    }
    credentials.erase("quay.io").unwrap();
    for link in [".docker/config.json", "dotfiles/link.json"] {
        assert!(scratch.path(link).is_symlink(), "{link}");
    }
    let file = scratch.path("dotfiles/docker.json");
    assert!(
        !file.is_symlink()
            && mode(&file) == 0o600
            && fs::read_to_string(&file).unwrap().contains("ghcr.io")
    );

    symlink("loop.json", scratch.path("loop.json")).unwrap();
    let looping = Credentials::new(vec![scratch.path("loop.json")], Environment::default());
    assert!(looping.store("ghcr.io", &basic("a", "b")).is_err());
}

#[test]
fn a_file_that_does_not_parse_is_left_alone() {
    let large = format!(r#"{{"x": "{}"}}"#, "x".repeat(1 << 20));
    for text in [
        r#"{"auths": {"ghcr.io": {"au"#,
        "[]",
        "null",
        r#"{"auths": 1}"#,
        r#"{"auths": {}, "auths": {}}"#,
        &large,
    ] {
        let scratch = Scratch::new();
        config(&scratch, text);
        let before = listing(&scratch.path(""));
        let credentials = credentials(&scratch);
        for (kind, text) in [
            failure(credentials.store("ghcr.io", &basic("a", "hunter2"))),
            failure(credentials.erase("ghcr.io")),
            failure(credentials.find("ghcr.io", "os")),
        ] {
            assert_eq!(kind, Kind::Verification, "{text}");
            assert!(
                text.contains(".docker/config.json")
                    && text.contains("left as it is")
                    && !text.contains("hunter2"),
                "{text}"
            );
        }
        assert_eq!(listing(&scratch.path("")), before);
    }
    // What `mktemp` makes is no torn file: there is nothing in it.
    let scratch = Scratch::new();
    let path = scratch.write("empty.json", "");
    let credentials = Credentials::new(
        Vec::new(),
        Environment { registry_auth_file: Some(path), ..environment(&scratch) },
    );
    assert_eq!(credentials.find("ghcr.io", "os").unwrap(), None);
    credentials.store("ghcr.io", &basic("a", "b")).unwrap();
    assert_eq!(credentials.find("ghcr.io", "os").unwrap(), Some(basic("a", "b")));
}

#[test]
fn a_pipe_or_a_folder_for_a_file_is_an_error_and_never_waited_for() {
    let scratch = Scratch::new();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        scratch.path("pipe.json"),
        rustix::fs::FileType::Fifo,
        0o600.into(),
        0,
    )
    .unwrap();
    fs::create_dir_all(scratch.path("folder/config.json")).unwrap();
    for path in ["pipe.json", "folder"] {
        let credentials = Credentials::new(vec![scratch.path(path)], Environment::default());
        assert_eq!(
            failure(bounded(move || credentials.find("ghcr.io", "os"))).0,
            Kind::Usage,
            "{path}"
        );
    }
}

/// What keeps a file from being read, by what is made at its path.
type Obstacle = (&'static str, fn(&Path));

#[test]
fn a_file_that_nobody_named_need_not_be_readable() {
    let obstacles: [Obstacle; 4] = [
        ("a folder", |path| fs::create_dir_all(path).unwrap()),
        ("a pipe", |path| {
            let kind = rustix::fs::FileType::Fifo;
            rustix::fs::mknodat(rustix::fs::CWD, path, kind, 0o600.into(), 0).unwrap();
        }),
        ("a link to itself", |path| symlink(path, path).unwrap()),
        ("a socket", |path| drop(std::os::unix::net::UnixListener::bind(path).unwrap())),
    ];
    for (what, obstruct) in obstacles {
        for file in ["run/auth.json", "conf/containers/auth.json", ".docker/config.json"] {
            let scratch = Scratch::new();
            scratch.write("run/x", "");
            scratch.write("conf/containers/x", "");
            scratch.write(".docker/x", "");
            let environment = Environment {
                session_file: Some(scratch.path("run/auth.json")),
                config_home: Some(scratch.path("conf")),
                ..environment(&scratch)
            };
            let path = scratch.path(file);
            obstruct(&path);
            warnings("");
            let unnamed = Credentials::new(Vec::new(), environment.clone());
            let found = bounded(move || {
                let found = [unnamed.find("ghcr.io", "os"), unnamed.find("ghcr.io", "other")];
                assert_eq!(failure(unnamed.erase("ghcr.io")).0, Kind::NotFound);
                found
            });
            for found in found {
                assert_eq!(found.unwrap(), None, "{what} at {file}");
            }
            let said = warnings(path.to_str().unwrap());
            assert!(said.len() == 1 && said[0].contains("passed over"), "{what}: {said:?}");
            // By a variable, somebody names it.
            let by_variable = Environment { registry_auth_file: Some(path), ..environment };
            let named = Credentials::new(Vec::new(), by_variable);
            failure(bounded(move || named.find("ghcr.io", "os")));
        }
    }
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
    let environment =
        Environment { session_file: Some(scratch.path("session.json")), ..environment(&scratch) };
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

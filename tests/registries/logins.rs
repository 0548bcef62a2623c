//! What the `login` of docker, skopeo (which is podman's), oras and crane wrote is found, and what
//! is stored here, they use.
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::common::answer::Response;
use crate::common::pki::Pki;
use crate::common::registry::{Auth, Fault, Registry};
use crate::common::remote::{image, name};
use crate::common::run::Launch;
use crate::common::{Scratch, peer};
use osimage::registry::credentials::{Credential, Credentials, Environment};

/// alice:s3cret and bob:other
const ALICE: &str = "Basic YWxpY2U6czNjcmV0";
const BOB: &str = "Basic Ym9iOm90aGVy";

/// A registry that knows one thing: to ask for a password, and to note which one it is shown.
struct Door {
    address: SocketAddr,
    shown: Arc<Mutex<Vec<String>>>,
    closed: Arc<AtomicBool>,
}

impl Door {
    fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let door = Door {
            address: listener.local_addr().unwrap(),
            shown: Arc::default(),
            closed: Arc::default(),
        };
        let (shown, closed) = (door.shown.clone(), door.closed.clone());
        std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                if closed.load(Ordering::SeqCst) {
                    break;
                }
                // A client that breaks off, or tries TLS first, is no failure.
                let _ = answer(stream, &shown);
            }
        });
        door
    }

    fn host(&self) -> String {
        self.address.to_string()
    }

    /// What it was shown since it was asked last.
    fn shown(&self) -> Vec<String> {
        std::mem::take(&mut self.shown.lock().unwrap())
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.closed.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
    }
}

fn answer(mut stream: TcpStream, shown: &Mutex<Vec<String>>) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let (mut request, mut block) = (Vec::new(), [0; 4096]);
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        match stream.read(&mut block)? {
            0 => return Ok(()),
            n => request.extend_from_slice(&block[..n]),
        }
        if !request.starts_with(b"GET ") && !request.starts_with(b"HEAD") {
            return Ok(());
        }
    }
    let text = String::from_utf8_lossy(&request);
    let header = |line: &str| {
        line.split_once(": ")
            .filter(|(name, _)| name.eq_ignore_ascii_case("authorization"))
            .map(|(_, value)| value.to_owned())
    };
    let status = match text.lines().find_map(header) {
        Some(value) => {
            shown.lock().unwrap().push(value);
            "200 OK"
        }
        None => "401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"door\"",
    };
    stream.write_all(
        format!("HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{{}}").as_bytes(),
    )
}

fn basic(username: &str, password: &str) -> Credential {
    Credential::Basic { username: username.into(), password: password.into() }
}

fn credentials(scratch: &Scratch, file: &str) -> Credentials {
    let path = std::env::join_paths([scratch.path("bin")]).unwrap();
    Credentials::new(vec![scratch.path(file)], Environment::default().path(path))
}

/// A program in the scratch folder, with docker's folder, podman's file and our helpers in it, and
/// a text on its standard input.
fn command(scratch: &Scratch, program: &PathBuf, args: &[&str], input: &str) -> Launch {
    let path =
        format!("{}:{}", scratch.path("bin").display(), std::env::var("PATH").unwrap_or_default());
    scratch
        .program(program)
        .args(args)
        .env("PATH", path)
        .env("DOCKER_CONFIG", scratch.path("docker"))
        .env("REGISTRY_AUTH_FILE", scratch.path("auth.json"))
        .stdin(input)
}

/// Runs it; it must succeed.
fn run(scratch: &Scratch, program: &PathBuf, args: &[&str], input: &str) -> String {
    command(scratch, program, args, input).ok()
}

/// Docker's client, where it is installed; no Debian package of it is small enough to be installed
/// for this.
fn docker() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found =
        std::env::split_paths(&path).map(|dir| dir.join("docker")).find(|path| path.is_file());
    let ours = |path: &PathBuf| {
        let version = Command::new(path).arg("--version").stdin(Stdio::null()).output();
        version.is_ok_and(|output| {
            String::from_utf8_lossy(&output.stdout).starts_with("Docker version")
        })
    };
    let found = found.filter(ours);
    if found.is_none() {
        eprintln!("LEFT OUT: docker is not installed");
    }
    found
}

#[test]
fn crane() {
    let Some(crane) = peer("crane") else { return };
    let scratch = Scratch::new();
    for host in ["localhost:5000", "ghcr.io", "docker.io"] {
        // crane knows Docker Hub under this name only.
        let theirs = if host == "docker.io" { "index.docker.io" } else { host };
        run(&scratch, &crane, &["auth", "login", theirs, "-u", "alice", "-p", "s3cret"], "");
        let ours = credentials(&scratch, "docker");
        assert_eq!(ours.find(host, "me/os").unwrap(), Some(basic("alice", "s3cret")), "{host}");
        ours.store(host, &basic("bob", "other")).unwrap();
        let got: serde_json::Value =
            serde_json::from_str(&run(&scratch, &crane, &["auth", "get", theirs], "")).unwrap();
        assert_eq!(got, serde_json::json!({"Username": "bob", "Secret": "other"}), "{host}");
        ours.erase(host).unwrap();
        let got = command(&scratch, &crane, &["auth", "get", theirs], "").run();
        assert!(!got.stdout.contains("other"), "{got:?}");
    }
}

#[test]
fn crane_through_a_helper() {
    let Some(crane) = peer("crane") else { return };
    let scratch = Scratch::new();
    crate::common::helpers::keeping_helper(&scratch, "keeping");
    scratch.write("docker/config.json", r#"{"credsStore": "keeping"}"#);
    run(&scratch, &crane, &["auth", "login", "ghcr.io", "-u", "alice", "-p", "s3cret"], "");
    let ours = credentials(&scratch, "docker");
    assert_eq!(ours.find("ghcr.io", "me/os").unwrap(), Some(basic("alice", "s3cret")));
    ours.store("ghcr.io", &basic("bob", "other")).unwrap();
    let got: serde_json::Value =
        serde_json::from_str(&run(&scratch, &crane, &["auth", "get", "ghcr.io"], "")).unwrap();
    assert_eq!(got["Username"], "bob");
    let file: serde_json::Value =
        serde_json::from_slice(&fs::read(scratch.path("docker/config.json")).unwrap()).unwrap();
    assert_eq!(file, serde_json::json!({"credsStore": "keeping", "auths": {"ghcr.io": {}}}));
}

#[test]
fn skopeo() {
    let Some(skopeo) = peer("skopeo") else { return };
    let (scratch, door) = (Scratch::new(), Door::open());
    let host = door.host();
    run(
        &scratch,
        &skopeo,
        &["login", "--tls-verify=false", "-u", "alice", "--password-stdin", &host],
        "s3cret\n",
    );
    assert_eq!(door.shown(), [ALICE]);
    let ours = credentials(&scratch, "auth.json");
    assert_eq!(ours.find(&host, "me/os").unwrap(), Some(basic("alice", "s3cret")));
    for host in [&*host, "ghcr.io", "docker.io"] {
        ours.store(host, &basic("bob", "other")).unwrap();
        assert_eq!(run(&scratch, &skopeo, &["login", "--get-login", host], ""), "bob\n", "{host}");
    }
    run(&scratch, &skopeo, &["logout", &host], "");
    assert_eq!(ours.find(&host, "me/os").unwrap(), None);
    // An identity token counts too.
    ours.store("quay.io", &Credential::IdentityToken("id".into())).unwrap();
    assert_eq!(run(&scratch, &skopeo, &["login", "--get-login", "quay.io"], ""), "<token>\n");
    // A key for a part of a host, as podman has it.
    run(
        &scratch,
        &skopeo,
        &["login", "--tls-verify=false", "-u", "alice", "--password-stdin", &format!("{host}/me")],
        "s3cret",
    );
    assert_eq!(ours.find(&host, "me/os").unwrap(), Some(basic("alice", "s3cret")));
    assert_eq!(ours.find(&host, "you/os").unwrap(), None);
}

#[test]
fn oras() {
    let Some(oras) = peer("oras") else { return };
    let (scratch, door) = (Scratch::new(), Door::open());
    let host = door.host();
    run(
        &scratch,
        &oras,
        &["login", "--plain-http", "-u", "alice", "--password-stdin", &host],
        "s3cret\n",
    );
    assert_eq!(door.shown(), [ALICE]);
    let ours = credentials(&scratch, "docker");
    assert_eq!(ours.find(&host, "me/os").unwrap(), Some(basic("alice", "s3cret")));
    ours.store(&host, &basic("bob", "other")).unwrap();
    run(&scratch, &oras, &["repo", "ls", "--plain-http", &host], "");
    let shown = door.shown();
    assert!(!shown.is_empty() && shown.iter().all(|shown| shown == BOB), "{shown:?}");
    run(&scratch, &oras, &["logout", &host], "");
    assert_eq!(ours.find(&host, "me/os").unwrap(), None);
}

#[test]
fn docker_itself() {
    let Some(docker) = docker() else { return };
    for helper in [false, true] {
        let (scratch, door) = (Scratch::new(), Door::open());
        let host = door.host();
        if helper {
            crate::common::helpers::keeping_helper(&scratch, "keeping");
            scratch.write("docker/config.json", r#"{"credsStore": "keeping"}"#);
        }
        // No engine is asked: nothing listens there.
        let socket = format!("unix://{}", scratch.path("none.sock").display());
        let docker_does = |args: &[&str], input| {
            run(&scratch, &docker, &[&["-H", &socket], args].concat(), input)
        };
        docker_does(&["login", "-u", "alice", "--password-stdin", &host], "s3cret\n");
        assert_eq!(door.shown(), [ALICE]);
        let ours = credentials(&scratch, "docker");
        assert_eq!(ours.find(&host, "me/os").unwrap(), Some(basic("alice", "s3cret")));
        ours.store(&host, &basic("bob", "other")).unwrap();
        // Without an engine it does not try a password that it has, but it says that it has it.
        let run = command(&scratch, &docker, &["-H", &socket, "login", &host], "").run();
        assert!(run.stderr.contains("[Username: bob]"), "{run:?}");
        let text = fs::read_to_string(scratch.path("docker/config.json")).unwrap();
        assert_eq!(text.contains("Ym9iOm90aGVy"), !helper, "{text}");
        docker_does(&["logout", &host], "");
        assert_eq!(ours.find(&host, "me/os").unwrap(), None, "{helper}");
    }
}

/// A repository that asks everybody but one for a password.
fn door_of(registry: &Registry, repository: &'static str, user: &'static str) {
    let entry = format!("/v2/{repository}/");
    registry.on(move |request| {
        let let_in = request.basic().is_some_and(|(name, _)| name == user);
        let answer = || Response::new(401).with("WWW-Authenticate", "Basic realm=\"door\"");
        (request.path.starts_with(&entry) && !let_in).then(|| Fault::Answer(answer()))
    });
}

#[test]
fn a_copy_has_credentials_of_its_own_at_each_end() {
    let (one, two) = (Registry::start(), Registry::start());
    // Two registries, and two repositories of one.
    for target in [&two, &one] {
        let scratch = Scratch::new();
        image(&one, |_| ());
        let digest = image(&two, |_| ());
        one.behave();
        two.behave();
        door_of(&one, "os", "reader");
        door_of(target, "copy", "writer");
        let auths = |name: &str, user: &str| {
            let auth = crate::common::encode::base64(format!("{user}:pw").as_bytes());
            let hosts =
                [one.host(), two.host()].map(|host| (host, serde_json::json!({"auth": auth})));
            let auths: serde_json::Map<_, _> = hosts.into_iter().collect();
            scratch.write(name, serde_json::json!({"auths": auths}).to_string());
        };
        auths("reader.json", "reader");
        auths("writer.json", "writer");
        let (from, to) = (name(&one), format!("{}/copy:1", target.host()));
        let copy = ["copy", &from, &to];
        for (options, input, code) in [
            (
                &["--from-registry-config", "reader.json", "--to-registry-config", "writer.json"][..],
                "",
                0,
            ),
            (&["--registry-config", "reader.json", "--to-registry-config", "writer.json"], "", 0),
            (&["--registry-config", "writer.json", "--from-registry-config", "reader.json"], "", 0),
            (
                &[
                    "--registry-config",
                    "reader.json",
                    "--to-username",
                    "writer",
                    "--to-password-stdin",
                ],
                "pw\n",
                0,
            ),
            (
                &[
                    "--registry-config",
                    "writer.json",
                    "--from-username",
                    "reader",
                    "--from-password-stdin",
                ],
                "pw",
                0,
            ),
            (&["--registry-config", "reader.json"], "", 4),
            (&["--registry-config", "writer.json"], "", 4),
            (
                &["--from-registry-config", "writer.json", "--to-registry-config", "reader.json"],
                "",
                4,
            ),
            (&["--from-username", "reader"], "", 2),
            (&["--to-password-stdin"], "", 2),
        ] {
            target.forget();
            let run = scratch.osimage(copy).args(options).stdin(input).run();
            assert_eq!(run.code, code, "{options:?}: {}", run.stderr);
            if code == 0 {
                assert!(run.ok().trim_end().ends_with(digest.hex()));
            }
        }
        let local = ["copy", "--from-registry-config", "reader.json", "./layout:x", &to];
        scratch.osimage(local).run().says(&["--from-…", "leave them out"]).fails(2);
    }
}

#[test]
fn a_copy_trusts_and_advises_at_each_end() {
    let scratch = Scratch::new();
    let (a, b) = (Pki::new(&scratch, "a"), Pki::new(&scratch, "b"));
    let [one, two] = [&a, &b].map(|pki| Registry::with(Auth::Open, Some(pki.tls())));
    let plain = Registry::start();
    for registry in [&one, &two, &plain] {
        image(registry, |_| ());
    }
    let [a, b] = [&a, &b].map(|pki| pki.ca.to_str().unwrap());
    let host = |registry: &Registry| format!("registry.test:{}", registry.address.port());
    let resolve = [&one, &two, &plain].map(|one| format!("{}:127.0.0.1", host(one)));
    let copy = |from: &Registry, to: &Registry, options: &[&str]| {
        let (from, to) = (format!("{}/os:v1", host(from)), format!("{}/copy:1", host(to)));
        let mut args = vec!["copy", &from, &to];
        args.extend(options);
        args.extend(resolve.iter().flat_map(|one| ["--resolve", one]));
        scratch.osimage(&args).run()
    };
    for (from, to, options, code, says) in [
        (&one, &two, &["--from-ca-file", a, "--to-ca-file", b][..], 0, ""),
        (&one, &two, &["--ca-file", a, "--to-ca-file", b], 0, ""),
        (&one, &two, &["--ca-file", b, "--from-ca-file", a], 0, ""),
        (&one, &two, &["--ca-file", a, "--ca-file", b], 0, ""),
        (&one, &two, &["--to-ca-file", b], 6, "--from-ca-file"),
        (&one, &two, &["--from-ca-file", a], 6, "--to-ca-file"),
        (&plain, &two, &["--to-ca-file", b], 6, "--from-plain-http asks"),
        (&one, &plain, &["--from-ca-file", a], 6, "--to-plain-http asks"),
        (&one, &plain, &["--from-ca-file", a, "--to-plain-http"], 0, ""),
        (&plain, &two, &["--to-ca-file", b, "--from-plain-http"], 0, ""),
        (&plain, &two, &["--to-ca-file", b, "--plain-http"], 6, "--to-plain-http=false"),
    ] {
        let run = copy(from, to, options);
        assert_eq!(run.code, code, "{options:?}: {}", run.stderr);
        assert!(run.stderr.contains(says), "{options:?} {says}: {}", run.stderr);
    }
}

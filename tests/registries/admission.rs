//! Who is let in: logging in and out, what is stored of that, and where nobody is asked.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::common::Scratch;
use crate::common::answer::Response;
use crate::common::registry::{Auth, Fault, Registry, call_of};
use crate::common::servers::{DockerAuth, docker_registry};
use crate::common::token::TokenServer;

use super::access::store;

/// Logs in with a password on standard input.
fn login(scratch: &Scratch, host: &str, user: &str, password: &str) -> (i32, String) {
    let login = ["login", "-u", user, "--password-stdin", host];
    let run = scratch.osimage(login).stdin(format!("{password}\n")).run();
    let text = run.stdout + &run.stderr;
    assert!(!text.contains(password), "{text}");
    (run.code, text)
}

#[test]
fn only_what_the_registry_accepts_is_stored() {
    let tokens = TokenServer::start(None);
    tokens.user("alice", "s3cret");
    let basic = docker_registry(&DockerAuth::Basic(&[("alice", "s3cret")]), None);
    let bearer = docker_registry(&DockerAuth::Bearer(&tokens), None);
    let own = Registry::with(Auth::Basic("alice", "s3cret"), None);
    let hosts = [
        basic.as_ref().map(|server| server.host.clone()),
        bearer.as_ref().map(|server| server.host.clone()),
        Some(own.host()),
    ];
    for host in hosts.into_iter().flatten() {
        let scratch = Scratch::new();
        store(&scratch);
        let target = format!("{host}/os:1");
        let push = ["--store-path", "store", "push", "os", &target];
        let error = scratch.osimage(push).fails(4);
        assert!(error.contains(&format!("osimage login {host}")), "{error}");
        let (code, said) = login(&scratch, &host, "alice", "wr0ng");
        assert!(code == 4 && said.contains("does not accept"), "{said}");
        assert!(!scratch.path(".docker/config.json").exists());
        let (code, said) = login(&scratch, &host, "alice", "s3cret");
        assert!(
            code == 0 && said.contains("Login Succeeded") && said.contains(".docker/config.json"),
            "{said}"
        );
        let mode = fs::metadata(scratch.path(".docker/config.json")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        scratch.osimage(push).ok();
        // The address for somebody else has what the registry asks for.
        let url: serde_json::Value =
            serde_json::from_str(&scratch.osimage(["url", &target, "--layer", "kernel"]).ok())
                .unwrap();
        let header = url["headers"]["Authorization"][0].as_str().unwrap();
        assert!(header.starts_with("Basic ") || header.starts_with("Bearer "), "{url}");
        let line = scratch.osimage(["url", &target, "--layer", "kernel", "--format", "curl"]).ok();
        scratch.program("sh").args(["-c", &line]).ok();
        assert!(
            fs::read(scratch.path("vmlinuz")).unwrap() == fs::read(&scratch.parts(1)[2]).unwrap()
        );
        // A wrong one later does not take the place of the right one.
        assert_eq!(login(&scratch, &host, "alice", "wr0ng").0, 4);
        scratch.osimage(["resolve", &target]).ok();
        scratch.osimage(["logout", &host]).ok();
        scratch.osimage(["resolve", &target]).fails(4);
        scratch.osimage(["logout", &host]).fails(3);
    }
}

/// A registry that gives everybody a token asks first; a job of cron, of CI or of another user has
/// podman's file in a folder that it may not enter.
#[test]
fn a_folder_that_may_not_be_entered_keeps_nobody_from_public_images() {
    let tokens = TokenServer::start(None);
    tokens.user("alice", "s3cret");
    tokens.public("os");
    let registry = Registry::with(Auth::Bearer(tokens.tokens.clone()), None);
    let digest = crate::common::remote::image(&registry, |_| ());
    let image = crate::common::remote::name(&registry);
    let scratch = Scratch::new();
    fs::set_permissions(scratch.path(""), PermissionsExt::from_mode(0o777)).unwrap();
    let program = scratch.copied_program();
    for folder in ["run/containers", "run", ".config/containers", ".docker"] {
        let path = scratch.path(folder);
        fs::create_dir_all(&path).unwrap();
        fs::set_permissions(&path, PermissionsExt::from_mode(0o000)).unwrap();
        let run = |args: &[&str]| {
            let osimage = scratch.program(&program).args(args);
            let run = osimage.env("XDG_RUNTIME_DIR", scratch.path("run")).nobody().run();
            (run.code, run.stdout, run.stderr)
        };
        let (code, out, error) = run(&["resolve", &image]);
        assert_eq!((code, out), (0, format!("{digest}\n")), "{folder}: {error}");
        assert_eq!(error.matches("passed over").count(), 1, "{folder}: {error}");
        let (code, _, error) = run(&["logout", &registry.host()]);
        assert_eq!(code, 3, "{folder}: {error}");
        // What somebody names must be readable.
        let file = scratch.path("run/containers/auth.json");
        if folder == "run" {
            let (code, _, error) =
                run(&["--registry-config", file.to_str().unwrap(), "resolve", &image]);
            assert_ne!(code, 0, "{error}");
        }
        fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    }
}

#[test]
fn who_lets_everybody_in_has_not_looked() {
    let scratch = Scratch::new();
    let open = Registry::start();
    let (code, said) = login(&scratch, &open.host(), "alice", "any");
    assert!(
        code == 0 && said.contains("was not tried") && said.contains("Login Succeeded"),
        "{said}"
    );
    // A page for people, as a network shows it that wants a login of its own.
    let portal = Registry::start();
    portal.on(|_| {
        Some(Fault::Answer(
            Response::new(200)
                .with("Content-Type", "text/html; charset=utf-8")
                .body("<html>welcome</html>"),
        ))
    });
    let (code, said) = login(&scratch, &portal.host(), "alice", "any");
    assert!(code == 5 && said.contains("a page for people"), "{said}");
    assert!(
        !fs::read_to_string(scratch.path(".docker/config.json")).unwrap().contains(&portal.host())
    );
}

#[test]
fn an_answer_to_a_credential_may_have_any_type() {
    let scratch = Scratch::new();
    // As Quay answers.
    let registry = Registry::with(Auth::Basic("alice", "s3cret"), None);
    registry.on(|request| {
        let html = |right: Response| {
            right.without("Content-Type").with("Content-Type", "text/html; charset=utf-8")
        };
        (call_of(request) == "GET ping" && request.header("Authorization").is_some())
            .then(|| Fault::change(html))
    });
    assert_eq!(login(&scratch, &registry.host(), "alice", "wr0ng").0, 4);
    let (code, said) = login(&scratch, &registry.host(), "alice", "s3cret");
    assert!(
        code == 0 && said.contains("Login Succeeded") && !said.contains("was not tried"),
        "{said}"
    );
}

#[test]
fn an_identity_token_is_exchanged_and_stored() {
    let tokens = TokenServer::start(None);
    tokens.user("alice", "s3cret");
    let identity = tokens.identity_token("alice");
    let registry = Registry::with(Auth::Bearer(tokens.tokens.clone()), None);
    let scratch = Scratch::new();
    store(&scratch);
    let log_in = |token: &str| {
        scratch.osimage(["login", "--identity-token-stdin", &registry.host()]).stdin(token)
    };
    log_in("nonsense").fails(4);
    log_in(&identity).ok();
    scratch
        .osimage(["--store-path", "store", "push", "os", &format!("{}/os:1", registry.host())])
        .ok();
    assert!(tokens.asked().iter().any(|asked| asked.method == "POST"), "it is exchanged by OAuth2");
}

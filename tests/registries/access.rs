//! How a registry is reached and who is let in: proxies, addresses by hand, folders of
//! certificates, logging in and out; and what is asked and deleted there.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;

use crate::common::Scratch;
use crate::common::answer::Response;
use crate::common::pki::{Pki, self_signed};
use crate::common::proxy::{ForwardProxy, SocksProxy};
use crate::common::registry::{Auth, Fault, Registry, call_of};
use crate::common::servers::{DockerAuth, docker_registry};
use crate::common::token::TokenServer;
use osimage::registry::credentials::Credentials;
use osimage::registry::{Client, Resolve, Settings};

const NAME: &str = "registry.test";

/// A store with an image called `os`; its id.
fn store(scratch: &Scratch) -> String {
    scratch.build("store", 1, &["--tag", "os"])
}

fn address(registry: &Registry) -> SocketAddr {
    registry.host().parse().expect("an address")
}

/// Runs the program with variables; its exit code, standard output and standard error.
fn run(scratch: &Scratch, variables: &[(&str, &str)], args: &[&str]) -> (i32, String, String) {
    let run = scratch.osimage(args).envs(variables.iter().copied()).run();
    (run.code, run.stdout, run.stderr)
}

#[test]
fn proxies_are_used_as_the_variables_say() {
    let scratch = Scratch::new();
    let id = store(&scratch);
    let pki = Pki::new(&scratch, "pki");
    let (plain, secure) = (Registry::start(), Registry::with(Auth::Open, Some(pki.tls())));
    for (registry, variable, options, expected) in [
        (
            &plain,
            "http_proxy",
            vec!["--plain-http"],
            format!("PUT http://{NAME}:{}/v2/os/manifests/1", address(&plain).port()),
        ),
        (
            &secure,
            "https_proxy",
            vec!["--ca-file", pki.ca.to_str().unwrap()],
            format!("CONNECT {NAME}:{}", address(&secure).port()),
        ),
    ] {
        let target = format!("{NAME}:{}/os:1", address(registry).port());
        let authority = format!("{NAME}:{}", address(registry).port());
        let push = [&options[..], &["--store-path", "store", "push", "os", &target]].concat();
        for login in [None, Some("me:s3cret")] {
            let proxy = ForwardProxy::start(&[(&authority, address(registry))], login);
            let url = login.map_or(proxy.url(), |login| {
                proxy.url().replace("http://", &format!("http://{login}@"))
            });
            for variable in [variable.to_owned(), variable.to_uppercase()] {
                let (code, out, error) = run(&scratch, &[(&variable, &url)], &push);
                assert_eq!(
                    (code, out.trim_end()),
                    (0, format!("Successfully pushed {target} {id}").as_str()),
                    "{variable}: {error}"
                );
            }
            assert!(proxy.passed().contains(&expected) || login.is_some(), "{:?}", proxy.passed());
            let before = proxy.passed().len();
            // Past it, by a variable, by the address that is loopback.
            let resolve = format!("{authority}:127.0.0.1");
            let direct = [&["--resolve", &resolve], &push[..]].concat();
            let (code, _, error) = run(&scratch, &[(variable, &url), ("no_proxy", NAME)], &direct);
            assert_eq!(code, 0, "{error}");
            let repository = format!("{}/os", registry.host());
            let loopback = [&options[..], &["tags", &repository]].concat();
            assert_eq!(run(&scratch, &[(variable, &url)], &loopback).1, "1\n");
            assert_eq!(proxy.passed().len(), before, "{:?}", proxy.passed());
        }
        // A proxy that nobody answers at is told, and its password is not.
        let (code, _, error) = run(&scratch, &[(variable, "http://me:s3cret@127.0.0.1:1")], &push);
        assert!(
            code == 6
                && error.contains("through the proxy 127.0.0.1:1")
                && !error.contains("s3cret"),
            "{code} {error}"
        );
        let proxy = ForwardProxy::start(&[(&authority, address(registry))], Some("me:other"));
        let (code, _, error) = run(
            &scratch,
            &[(variable, &proxy.url().replace("http://", "http://me:s3cret@"))],
            &push,
        );
        assert!(code != 0 && !error.contains("s3cret"), "{code} {error}");
    }
}

#[test]
fn a_socks_proxy_is_used_and_looks_names_up_where_it_is_to() {
    let scratch = Scratch::new();
    store(&scratch);
    let pki = Pki::new(&scratch, "pki");
    let (plain, secure) = (Registry::start(), Registry::with(Auth::Open, Some(pki.tls())));
    let ca = pki.ca.to_str().unwrap();
    for (registry, options) in [(&plain, vec!["--plain-http"]), (&secure, vec!["--ca-file", ca])] {
        let authority = format!("{NAME}:{}", address(registry).port());
        let target = format!("{authority}/os:1");
        let push = [&options[..], &["--store-path", "store", "push", "os", &target]].concat();
        for login in [None, Some("me:s3cret")] {
            let proxy = SocksProxy::start(&[(&authority, address(registry))], login);
            let at = login.map_or(String::new(), |login| format!("{login}@"));
            let url = format!("socks5h://{at}{}", proxy.address());
            for variable in ["all_proxy", "ALL_PROXY"] {
                let (code, _, error) = run(&scratch, &[(variable, &url)], &push);
                assert_eq!(code, 0, "{url}: {error}");
            }
            assert!(!proxy.passed().is_empty());
            assert!(proxy.passed().iter().all(|passed| *passed == authority));
        }
        // Here the name is looked up on this side.
        let proxy = SocksProxy::start(&[], None);
        let url = format!("socks5://{}", proxy.address());
        let resolve = format!("{authority}:127.0.0.1");
        let (code, _, error) =
            run(&scratch, &[("all_proxy", &url)], &[&["--resolve", &resolve], &push[..]].concat());
        assert_eq!(code, 0, "{error}");
        assert!(proxy.passed().iter().all(|passed| *passed == address(registry).to_string()));
        // A wrong password is told, and not shown.
        let proxy = SocksProxy::start(&[(&authority, address(registry))], Some("me:other"));
        let url = format!("socks5h://me:s3cret@{}", proxy.address());
        let (code, _, error) = run(&scratch, &[("all_proxy", &url)], &push);
        let through = format!("through the proxy {}", proxy.address());
        assert!(code == 6 && error.contains(&through), "{code} {error}");
        assert!(!error.contains("s3cret"), "{error}");
    }
}

#[test]
fn no_proxy_names_ports_and_what_lies_below_a_name() {
    let scratch = Scratch::new();
    let registry = Registry::start();
    let port = address(&registry).port();
    let proxy = ForwardProxy::start(&[], None);
    for (list, host, spared) in [
        (format!("registry.test:{port}"), "registry.test", true),
        (format!("registry.test:{}", port - 1), "registry.test", false),
        ("*.example.test".to_owned(), "a.example.test", true),
        ("*.example.test".to_owned(), "example.test", false),
        (".example.test".to_owned(), "a.example.test", true),
        ("*".to_owned(), "registry.test", true),
    ] {
        let before = proxy.passed().len();
        let resolve = format!("{host}:{port}:127.0.0.1");
        let repository = format!("{host}:{port}/os");
        let args = ["--plain-http", "--resolve", &resolve, "tags", &repository];
        let (code, ..) = run(&scratch, &[("http_proxy", &proxy.url()), ("NO_PROXY", &list)], &args);
        // The repository is not there; the proxy knows no way.
        assert_eq!(code, if spared { 3 } else { 6 }, "NO_PROXY={list} for {host}");
        assert_eq!(proxy.passed().len() == before, spared, "NO_PROXY={list} for {host}");
    }
}

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

#[test]
fn what_is_there_is_listed_and_deleted_by_tag_or_digest() {
    let scratch = Scratch::new();
    let id = store(&scratch);
    let own = Registry::start();
    let docker = docker_registry(&DockerAuth::Open, None);
    let mut hosts = vec![(own.host(), true)];
    hosts.extend(docker.as_ref().map(|server| (server.host.clone(), false)));
    for (host, deletes_tags) in hosts {
        for name in ["a/os:1", "a/os:2", "b:1"] {
            scratch
                .osimage(["--store-path", "store", "push", "os", &format!("{host}/{name}")])
                .ok();
        }
        let repositories = scratch.osimage(["repos", &host]).ok();
        assert_eq!(repositories, "a/os\nb\n");
        let tags = || {
            let mut tags: Vec<_> = scratch
                .osimage(["tags", &format!("{host}/a/os")])
                .ok()
                .lines()
                .map(str::to_owned)
                .collect();
            tags.sort();
            tags
        };
        assert_eq!(tags(), ["1", "2"]);
        let first = format!("{host}/a/os:1");
        // Nobody is there to say yes.
        let error = scratch.osimage(["delete", "--remote", &first]).fails(2);
        assert!(error.contains("--yes"), "{error}");
        assert_eq!(tags(), ["1", "2"]);
        if deletes_tags {
            assert_eq!(
                scratch.osimage(["delete", "--remote", "--yes", &first]).ok(),
                format!("Successfully deleted {first}\n")
            );
            assert_eq!(tags(), ["2"]);
        } else {
            let error = scratch.osimage(["delete", "--remote", "--yes", &first]).fails(1);
            assert!(
                error.contains(&format!("osimage delete --remote {host}/a/os@sha256:{id}")),
                "{error}"
            );
            assert_eq!(tags(), ["1", "2"]);
        }
        scratch.osimage(["delete", "--remote", "--yes", &format!("{host}/a/os@sha256:{id}")]).ok();
        scratch.osimage(["resolve", &format!("{host}/a/os:2")]).fails(3);
        scratch.osimage(["delete", "--remote", "--yes", &format!("{host}/a/os:2")]).fails(3);
        scratch.osimage(["resolve", &format!("{host}/b:1")]).ok();
    }
}

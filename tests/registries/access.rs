//! How a registry is reached: proxies, addresses by hand; and what is asked and deleted there.

use std::net::SocketAddr;

use crate::common::Scratch;
use crate::common::pki::Pki;
use crate::common::proxy::{ForwardProxy, SocksProxy};
use crate::common::registry::{Auth, Registry};
use crate::common::servers::{DockerAuth, docker_registry};

pub const NAME: &str = "registry.test";

/// A store with an image called `os`; its id.
pub fn store(scratch: &Scratch) -> String {
    scratch.build("store", 1, &["--tag", "os"])
}

pub fn address(registry: &Registry) -> SocketAddr {
    registry.host().parse().expect("an address")
}

/// Runs the program with variables; its exit code, standard output and standard error.
pub fn run(scratch: &Scratch, variables: &[(&str, &str)], args: &[&str]) -> (i32, String, String) {
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
        let args = ["--retry", "0", "--plain-http", "--resolve", &resolve, "tags", &repository];
        let (code, ..) = run(&scratch, &[("http_proxy", &proxy.url()), ("NO_PROXY", &list)], &args);
        // The repository is not there; the proxy knows no way.
        assert_eq!(code, if spared { 3 } else { 6 }, "NO_PROXY={list} for {host}");
        assert_eq!(proxy.passed().len() == before, spared, "NO_PROXY={list} for {host}");
    }
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

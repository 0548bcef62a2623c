//! Files of credentials: what is not ours stays, nobody else reads it, nothing gets lost.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{basic, bounded, config, credentials, environment, failure, warnings};
use crate::common::{Scratch, listing};
use osimage::Kind;
use osimage::registry::credentials::{Credential, Credentials, Environment};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
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
            "umask {umask}; exec \"$0\" --exact credentials::files::a_new_file_is_nobody_elses_whatever_the_umask"
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
    let credentials = Credentials::new(Vec::new(), environment(&scratch).registry_auth_file(path));
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
            let environment = environment(&scratch)
                .session_file(scratch.path("run/auth.json"))
                .config_home(scratch.path("conf"));
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
            let by_variable = environment.registry_auth_file(path);
            let named = Credentials::new(Vec::new(), by_variable);
            failure(bounded(move || named.find("ghcr.io", "os")));
        }
    }
}

/// A helper is asked once, however many spellings of its host the file has, and no work grows with
/// the square of the keys.
#[test]
fn many_keys_are_little_work() {
    use crate::common::bounds::{MEMORY, in_proportion};
    let all = |n: usize, value: &str| {
        let pairs: Vec<_> = (0..n).map(|n| format!(r#""{n:x}":{value}"#)).collect();
        pairs.join(",")
    };
    let spelled = |n: usize, value: &str| {
        let pairs: Vec<_> = (0..n).map(|n| format!(r#""https://ghcr.io/{n:x}":{value}"#)).collect();
        pairs.join(",")
    };
    for (name, content) in [
        (
            "entries",
            &(|n| format!(r#"{{"auths":{{{}}}}}"#, all(n, "{}"))) as &dyn Fn(usize) -> String,
        ),
        ("other keys", &|n| format!("{{{}}}", all(n, "0"))),
        ("helpers", &|n| format!(r#"{{"credHelpers":{{{}}}}}"#, all(n, r#""x""#))),
        ("spellings", &|n| format!(r#"{{"auths":{{{}}}}}"#, spelled(n / 2, "{}"))),
        ("spellings of helpers", &|n| {
            format!(r#"{{"credHelpers":{{{}}}}}"#, spelled(n / 2, r#""x""#))
        }),
        ("depth", &|n| format!(r#"{{"x":{}}}"#, "[".repeat(n))),
    ] {
        in_proportion(60_000, |n| {
            let scratch = Scratch::new();
            scratch.write("bin/docker-credential-x", "#!/bin/sh\necho x >> \"$0.asked\"\nexit 1\n");
            let helper = scratch.path("bin/docker-credential-x");
            fs::set_permissions(helper, fs::Permissions::from_mode(0o755)).unwrap();
            config(&scratch, &content(n));
            let path = std::env::join_paths(["/usr/bin".into(), scratch.path("bin")]).unwrap();
            // What cannot be read is an error, and a helper that fails is one too.
            let _ = credentials(&scratch).find("ghcr.io", "me/os");
            let asked = fs::read_to_string(scratch.path("bin/docker-credential-x.asked"));
            assert!(asked.unwrap_or_default().lines().count() <= 1, "{name}");
            let logout = scratch.osimage(["logout", "ghcr.io"]).env("PATH", path).memory(MEMORY);
            let run = logout.run();
            assert!(run.code == 0 || !run.stderr.is_empty(), "{name}: {run:?}");
            vec![(name, run.cpu.expect("it was measured"))]
        });
    }
}

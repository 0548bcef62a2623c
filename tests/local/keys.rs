//! `osimage keygen`: which files it makes, and that they are those of other tools.

use std::os::unix::fs::PermissionsExt;

use osimage::trust::{Passphrase, PrivateKey, PublicKey};

use crate::common::terminal::Terminal;
use crate::common::{Scratch, listing};

/// The private key opens with the passphrase, and belongs to the public one.
fn check(scratch: &Scratch, name: &str, passphrase: &'static str) {
    let public = scratch.path(format!("{name}.pub"));
    let public = PublicKey::load(public.to_str().unwrap()).unwrap();
    let private = scratch.path(format!("{name}.key"));
    let mode = private.metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "nobody else reads it");
    let typed = || Ok(Passphrase::new(passphrase));
    let private = PrivateKey::load(private.to_str().unwrap(), &typed).unwrap();
    assert_eq!(private.public(), &public);
}

#[test]
fn a_pair_is_made_once() {
    let scratch = Scratch::new();
    for (kind, begins) in [("p256", "MFkwEwYHKoZIzj0CAQ"), ("ed25519", "MCowBQYDK2VwAyEA")] {
        let run = scratch.osimage(["keygen", "--type", kind, "-o", kind]).run();
        let run = run.says(&[&format!("{kind}.key is not encrypted")]);
        assert_eq!(run.ok(), format!("{kind}.key\n{kind}.pub\n"));
        check(&scratch, kind, "");
        let public = std::fs::read_to_string(scratch.path(format!("{kind}.pub"))).unwrap();
        assert!(public.lines().nth(1).unwrap().starts_with(begins), "{public}");
        let openssl = ["pkey", "-in", &format!("{kind}.key"), "-pubout"].map(str::to_owned);
        assert_eq!(scratch.program("openssl").args(openssl).ok(), public);
        // One of the two is enough to stop it.
        for gone in ["key", "pub"] {
            let before = listing(&scratch.path(""));
            let said = scratch.osimage(["keygen", "-o", kind]).fails(7);
            assert!(said.contains("is there already"), "{said}");
            assert_eq!(listing(&scratch.path("")), before);
            std::fs::remove_file(scratch.path(format!("{kind}.{gone}"))).unwrap();
        }
    }
    scratch.osimage(["keygen", "-o", "nowhere/name"]).fails(3);
}

#[test]
fn a_passphrase_comes_from_the_environment_or_is_typed() {
    let scratch = Scratch::new();
    let keygen = scratch.osimage(["keygen", "-o", "env"]).env("COSIGN_PASSWORD", "hunter2");
    let run = keygen.run();
    assert_eq!(run.stderr, "");
    assert_eq!(run.ok(), "env.key\nenv.pub\n");
    check(&scratch, "env", "hunter2");

    let mut terminal = Terminal::new(80);
    let mut child = terminal.start(&scratch, &["keygen", "-o", "typed"]);
    terminal.wait_for("(none with Enter): ");
    terminal.type_in("hunter3\n");
    terminal.wait_for("again: ");
    terminal.type_in("hunter3\n");
    assert!(child.wait().unwrap().success());
    assert!(!terminal.shown.contains("hunter3"), "{}", terminal.shown);
    check(&scratch, "typed", "hunter3");

    let mut child = terminal.start(&scratch, &["keygen", "-o", "wrong"]);
    terminal.shown.clear();
    terminal.wait_for("(none with Enter): ");
    terminal.type_in("hunter4\n");
    terminal.wait_for("again: ");
    terminal.type_in("hunter5\n");
    assert_eq!(child.wait().unwrap().code(), Some(2));
    assert!(!scratch.path("wrong.key").exists());
}

//! The examples, as programs that use the library alone: they do what they tell.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::common::registry::Registry;
use crate::common::run::Launch;
use crate::common::{Scratch, success};

/// An example. Where only some of the tests are run, cargo has not built the examples with them.
fn example(scratch: &Scratch, name: &str, args: &[&str]) -> Launch {
    scratch.program(built(name)).args(args)
}

/// Where its program lies.
fn built(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_BIN_EXE_osimage")).with_file_name("examples");
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet", "--example", name, "--manifest-path", manifest]);
    // As the tests were built, so that the library is not built once more.
    if cfg!(feature = "oci-spec") {
        cargo.args(["--features", "oci-spec"]);
    }
    if folder.ends_with("release/examples") {
        cargo.arg("--release");
    }
    success(&mut cargo, name);
    folder.join(name)
}

#[test]
fn an_image_goes_through_all_examples() {
    let scratch = Scratch::new();
    let registry = Registry::start();
    let [rootfs, initramfs, kernel] = scratch.parts(1).map(|path| path.display().to_string());

    let base = ".build/gcp_oci-amd64-1.0-local";
    fs::create_dir(scratch.path(".build")).unwrap();
    let archive = format!("{base}.oci.tar.xz");
    let args = [&rootfs, &initramfs, &kernel, &archive, "layout", "os:1"];
    let digest = example(&scratch, "builder", &args).ok();
    assert!(scratch.osimage(["list", "--format", "json", "./layout"]).ok().contains(digest.trim()));
    scratch.osimage(["verify", "./layout"]).ok();
    scratch.osimage(["verify", &archive]).ok();

    scratch.write(format!("{base}.log"), "it went well\n");
    let target = format!("{}/me", registry.host());
    let said = example(&scratch, "publisher", &[base, &target]).ok();
    let name = format!("{target}/gcp_oci:1.0-amd64");
    assert!(said.contains(digest.trim()) && said.contains("attached: build/log"), "{said}");

    let index = format!("{target}/os:1.0");
    let (arm, amd64) = (format!("linux/arm/v7={archive}"), format!("amd64={archive}"));
    let said = example(&scratch, "index_maker", &[&index, &arm, &amd64]).ok();
    assert!(
        said.contains("linux/arm/v7 sha256:") && said.contains("linux/amd64 sha256:"),
        "{said}"
    );

    for (reference, platform) in [(&name, "amd64"), (&index, "linux/arm/v7")] {
        let said = example(&scratch, "controller", &[reference, platform, "boot"]).ok();
        assert!(said.contains("boot/vmlinuz\n") && said.contains("root=LABEL=ROOT ro"), "{said}");
        assert!(fs::read(scratch.path("boot/vmlinuz")).unwrap() == fs::read(&kernel).unwrap());
        fs::remove_dir_all(scratch.path("boot")).unwrap();
    }
    let said = example(&scratch, "controller", &[&index, "linux/arm/v6", "boot"]).fails(3);
    assert!(said.contains("it has linux/arm/v7, linux/amd64"), "{said}");
}

#[test]
fn a_boot_server_of_ones_own_serves_and_ends() {
    use std::io::{BufRead, BufReader, Read, Write};
    let scratch = Scratch::new();
    let registry = Registry::start();
    crate::common::remote::image(&registry, |_| ());
    let built = built("boot_server");
    let mut child = Command::new(built)
        .args([scratch.path("cache").to_str().unwrap(), &registry.host()])
        .env("HOME", scratch.path(""))
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    said.read_line(&mut line).unwrap();
    let address = line.trim().strip_prefix("http://").unwrap();
    let mut socket = std::net::TcpStream::connect(address).unwrap();
    let path = format!("/boot/{}/os/v1/vmlinuz", registry.host());
    write!(socket, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).unwrap();
    assert!(answer.ends_with(&crate::common::remote::kernel()), "{} bytes", answer.len());
    drop(child.stdin.take());
    line.clear();
    said.read_line(&mut line).unwrap();
    assert!(line.contains(&format!("GET {path} 200 100000 bytes")), "{line}");
    assert!(child.wait().unwrap().success());
}

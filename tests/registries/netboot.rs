//! What boots an image out of a registry: addresses in scripts for iPXE, and the definitions by which
//! systemd-sysupdate takes it from a server.

use crate::common::Scratch;
use crate::common::registry::{Auth, Registry};

/// An image in a registry, made of these parts, and its name there.
fn pushed(scratch: &Scratch, registry: &Registry) -> String {
    for part in ["rootfs", "initramfs", "kernel"] {
        scratch.write(part, part.repeat(30_000));
    }
    let name = format!("{}/fleet/os:1.0", registry.host());
    scratch
        .osimage(["build", "--profile", "native", "--output", "os.oci.tar"])
        .args([
            "--rootfs-file",
            "rootfs",
            "--initramfs-file",
            "initramfs",
            "--kernel-file",
            "kernel",
        ])
        .args(["--command-line", "root=LABEL=ROOT ro"])
        .ok();
    scratch.osimage(["push", "os.oci.tar", &name]).ok();
    name
}

#[test]
fn a_script_loads_by_digest_from_the_registry() {
    let (scratch, registry) = (Scratch::new(), Registry::start());
    let name = pushed(&scratch, &registry);
    let script = scratch.osimage(["ipxe", &name]).ok();
    let url = |part: &str| {
        let args = ["url", &name, "--layer", part, "--format", "plain"];
        scratch.osimage(args).ok().trim().to_owned()
    };
    let expected = format!(
        "#!ipxe\nkernel {} initrd=initrd root=LABEL=ROOT ro\ninitrd --name initrd {}\nboot\n",
        url("kernel"),
        url("initramfs")
    );
    assert_eq!(script, expected);
}

#[test]
fn a_registry_that_wants_to_know_who_asks_is_nothing_for_ipxe() {
    let (scratch, registry) = (Scratch::new(), Registry::with(Auth::Basic("me", "secret"), None));
    scratch.password("me", "secret", &[&registry.host()]);
    let name = pushed(&scratch, &registry);
    let run = scratch.osimage(["ipxe", &name]).run();
    assert!(!format!("{run:?}").contains("bWU6c2VjcmV0"), "{run:?}");
    run.says(&["wants to know who asks", "--base"]).fails(2);
}

#[test]
fn definitions_for_sysupdate_are_these() {
    let (scratch, registry) = (Scratch::new(), Registry::start());
    let name = pushed(&scratch, &registry);
    let config = |more: &[&str]| scratch.osimage(["sysupdate-config", &name]).args(more).run();
    let head = "# The server has checked digests and signatures; there is no OpenPGP here.\n\
                [Transfer]\nVerify=no\nProtectVersion=%A\n\n[Source]\nType=url-file\n";
    let source = |server: &str, channel: &str, file: &str| {
        let host = registry.host();
        format!(
            "Path={server}/sysupdate/{host}/fleet/os/{channel}\nMatchPattern=os_@v.{file}\n\n[Target]\n"
        )
    };
    let here = "http://127.0.0.1:8080";
    let slots = [
        ("50-rootfs", "rootfs.raw", "Type=partition\nPath=auto\nMatchPattern=os_@v\nMatchPartitionType=root\n"),
        ("60-initramfs", "initrd", "Type=regular-file\nPath=/os\nPathRelativeTo=boot\nMatchPattern=os_@v.initrd\nMode=0444\n"),
        ("70-kernel", "vmlinuz", "Type=regular-file\nPath=/os\nPathRelativeTo=boot\nMatchPattern=os_@v.vmlinuz\nMode=0444\n"),
    ]
    .map(|(file, part, target)| {
        format!("# {file}.transfer\n{head}{}{target}InstancesMax=2\n", source(here, "", part))
    });
    assert_eq!(config(&[]).ok(), slots.join("\n"));

    let files =
        config(&["--files", "/var/lib/os", "--channel", "stable", "--server", "http://h:1/"]).ok();
    let kernel = format!(
        "# 70-kernel.transfer\n{head}{}Type=regular-file\nPath=/var/lib/os\nMatchPattern=os_@v.vmlinuz\n\
         Mode=0444\nInstancesMax=2\n",
        source("http://h:1", "stable/", "vmlinuz")
    );
    assert!(files.ends_with(&kernel), "{files}\n{kernel}");

    for (args, said) in [
        (["--files", "var/lib"], "no absolute path"),
        (["--files", "/var/%m"], "cannot stand in a definition"),
        (["--server", "http://a b"], "cannot stand in a definition"),
        (["--server", "h:8080"], "is no address of a server"),
        (["--channel", "a/b"], "a/b"),
    ] {
        config(&args).says(&[said]).fails(2);
    }

    // A file each; one that somebody has changed stays, and nothing is written.
    std::fs::create_dir(scratch.path("sysupdate.d")).unwrap();
    let listed = config(&["-o", "sysupdate.d"]).ok();
    assert_eq!(listed.lines().count(), 3);
    let path = scratch.path("sysupdate.d/70-kernel.transfer");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), slots[2].split_once('\n').unwrap().1);
    assert_eq!(config(&["-o", "sysupdate.d"]).ok(), listed);
    scratch.write("sysupdate.d/70-kernel.transfer", "mine");
    std::fs::remove_file(scratch.path("sysupdate.d/50-rootfs.transfer")).unwrap();
    config(&["-o", "sysupdate.d"]).says(&["says something else"]).fails(7);
    assert_eq!(std::fs::read_to_string(path).unwrap(), "mine");
    assert!(!scratch.path("sysupdate.d/50-rootfs.transfer").exists());
}

#[test]
fn a_slot_takes_one_file_system_and_what_starts_it() {
    let (scratch, registry) = (Scratch::new(), Registry::start());
    let parts = ["rootfs", "squashfs", "uki", "kernel", "initramfs"];
    let files = parts.map(|part| {
        scratch.write(part, part.repeat(1000));
        [format!("--{part}-file"), part.to_owned()]
    });
    let all = ["50-squashfs", "60-rootfs", "70-initramfs", "80-kernel", "90-uki"];
    for (parts, slots, kept) in [
        (0..5, &["50-squashfs", "60-uki"][..], &all[..]),
        (
            1..5,
            &["50-squashfs", "60-uki"][..],
            &["50-squashfs", "60-initramfs", "70-kernel", "80-uki"],
        ),
        (2..3, &["50-uki"][..], &["50-uki"]),
    ] {
        let name = format!("{}/fleet/os:1.{}", registry.host(), parts.start);
        let build = ["build", "--profile", "native", "--tag", &name];
        scratch.osimage(build).args(files[parts.clone()].iter().flatten()).ok();
        scratch.osimage(["push", &name]).ok();
        let config = |more: &[&str]| {
            let told = scratch.osimage(["sysupdate-config", &name]).args(more).ok();
            let names = told.lines().filter_map(|line| {
                Some(line.strip_prefix("# ")?.strip_suffix(".transfer")?.to_owned())
            });
            names.collect::<Vec<_>>()
        };
        assert_eq!(config(&[]), slots, "{parts:?}");
        assert_eq!(config(&["--files", "/srv/os"]), kept, "{parts:?}");
    }
}

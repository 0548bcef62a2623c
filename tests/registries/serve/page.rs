//! The page for people, and what else is printed for them.

use super::{Served, bench};
use crate::common::Scratch;
use crate::common::remote::name;

#[test]
fn the_page_shows_what_there_is() {
    let (scratch, registry, _) = bench();
    let (host, image) = (registry.host(), name(&registry));
    let missing = format!("{host}/os:nothing");
    let served = Served::start(&scratch, &[&image, &missing]);
    let page = || {
        let answer = served.get("/");
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("content-type"), Some("text/html; charset=utf-8"));
        assert!(answer.header("content-security-policy").unwrap().contains("default-src 'none'"));
        String::from_utf8(answer.body).unwrap()
    };
    let text = page();
    let digest = registry.tag("os", "v1").unwrap();
    let server = &served.address;
    for part in [
        &image,
        &digest,
        "nobody has to",
        "Not served: ",
        &format!("<a href=\"/boot/{host}/os/v1/vmlinuz\">vmlinuz</a>"),
        "100.0\u{a0}kB",
        "3.5\u{a0}MB",
        &format!("chain http://{server}/boot/{host}/os/v1/boot.ipxe"),
        &format!("Path=http://{server}/sysupdate/{host}/os/"),
        &format!("curl -fO http://{server}/boot/{host}/os/v1/"),
        "<html lang=\"en\">",
        "color-scheme:light dark",
    ] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    assert!(!text.contains("<script"), "{text}");
    // What is made here is always there.
    let cached = |text: &str| text.matches("<span class=\"good\">yes</span>").count();
    let before = cached(&text);
    let path = Served::path(&registry, "initrd");
    assert_eq!(served.get(&path).status, 200);
    assert_eq!(cached(&page()), before + 1);
    // Every id is there once, and what is labelled by one has it.
    let ids: Vec<_> =
        text.split(" id=\"").skip(1).map(|it| it.split('"').next().unwrap()).collect();
    for (n, id) in ids.iter().enumerate() {
        assert!(!ids[n + 1..].contains(id), "{id} is there twice");
    }
    for labelled in text.split("aria-labelledby=\"").skip(1) {
        let id = labelled.split('"').next().unwrap();
        assert!(ids.contains(&id), "{id} is not there");
    }
    served.stop();
}

#[test]
fn no_image_of_the_page_waits_for_another_one() {
    use crate::common::registry::Fault;
    let (scratch, registry, _) = bench();
    let host = registry.host();
    // No manifest comes before both are asked for.
    let both = std::sync::Arc::new(std::sync::Barrier::new(2));
    registry.on(move |request| {
        let both = both.clone();
        let is_it = request.path.contains("/manifests/");
        let waits = move || {
            both.wait();
        };
        is_it.then(|| Fault::Wait(Box::new(waits), Box::new(|it| it)))
    });
    let served = Served::start(&scratch, &[&format!("{host}/a:v1"), &format!("{host}/b:v1")]);
    let page = String::from_utf8(served.get("/").body).unwrap();
    assert_eq!(page.matches("Not served: ").count(), 2, "{page}");
    served.stop();
}

#[test]
fn dnsmasq_takes_the_lines_that_are_meant_for_it() {
    let scratch = Scratch::new();
    let args = ["serve", "--listen", "192.0.2.1:8080", "--print-dnsmasq", "h.io/me/os:1.0"];
    let lines = scratch.osimage(args).ok();
    let uki = "http://192.0.2.1:8080/boot/h.io/me/os/1.0/uki.efi";
    for line in [
        "dhcp-option-force=tag:uefi-http,60,HTTPClient".to_owned(),
        format!("dhcp-boot=tag:uefi-http,{uki}"),
        "dhcp-boot=tag:ipxe,http://192.0.2.1:8080/boot.ipxe?uuid=${uuid}&mac=${net0/mac:hexhyp}&arch=${buildarch}".to_owned(),
    ] {
        assert!(lines.lines().any(|it| it == line), "{line} is not in {lines}");
    }
    let several = scratch.osimage(&args[..4]).ok();
    assert!(!several.contains("uki.efi"), "{several}");
    let any = ["serve", "--listen", "0.0.0.0:8080", "--print-dnsmasq"];
    scratch.osimage(any).run().says(&["--listen"]).fails(2);
    let free = ["serve", "--listen", "192.0.2.1:0", "--print-dnsmasq"];
    scratch.osimage(free).run().says(&["a port that is chosen later", "--listen"]).fails(2);
    let _ = scratch.osimage(["serve", "--print-dnsmasq"]).fails(2);
    if let Some(dnsmasq) = installed("dnsmasq") {
        let config = scratch.write("dnsmasq.conf", &lines);
        let run = scratch.program(dnsmasq).arg("--test").arg("-C").arg(config).run();
        assert_eq!(run.code, 0, "{}", run.stderr);
    }
}

/// A program that is used where it is there, in a folder that a user's path may not have.
fn installed(name: &str) -> Option<std::path::PathBuf> {
    let path = std::path::Path::new("/usr/sbin").join(name);
    path.exists().then_some(path)
}

#[test]
fn the_units_of_systemd_start_the_program_as_it_is() {
    let scratch = Scratch::new();
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/contrib/systemd");
    let unit = std::fs::read_to_string(format!("{folder}/osimage-serve.service")).unwrap();
    let start = unit.lines().find_map(|line| line.strip_prefix("ExecStart=/usr/bin/osimage "));
    let words: Vec<_> = start.unwrap().split(' ').filter(|word| *word != "$OPTIONS").collect();
    // It fails at what the file of options is to say, and at nothing before.
    scratch.osimage(words).run().says(&["nothing may be asked for"]).fails(2);
    let socket = std::fs::read_to_string(format!("{folder}/osimage-serve.socket")).unwrap();
    assert!(socket.contains("\nListenStream=127.0.0.1:8080\n"), "{socket}");
}

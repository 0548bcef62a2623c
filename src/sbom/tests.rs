//! Bills of systems that lie in folders.

use std::os::unix::fs::symlink;
use std::path::PathBuf;

use serde_json::Value;

use super::*;

const FREE: &str = "Format: copyright-format\n\nFiles: *\nLicense: ";

/// A system of packages, each `NAME:ARCH VERSION`, with a copyright file of the licence ISC.
fn system(names: &[&str]) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("rootfs");
    let mut status = String::new();
    for name in names {
        let (name, version) = name.split_once(' ').unwrap();
        let (name, arch) = name.split_once(':').unwrap();
        status += &format!(
            "Package: {name}\nStatus: install ok installed\nArchitecture: {arch}\n\
             Multi-Arch: same\nVersion: {version}\n\n"
        );
        write(&root, &format!("usr/share/doc/{name}/copyright"), format!("{FREE}ISC\n"));
    }
    write(&root, STATUS, &status);
    write(&root, "etc/os-release", "ID=debian\nVERSION_ID=12\nIMAGE_ID=it\nIMAGE_VERSION=3\n");
    (dir, root)
}

fn write(root: &Path, path: &str, content: impl AsRef<[u8]>) {
    let path = root.join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, content).unwrap();
}

fn document(root: &Path, format: Format) -> Value {
    let text = Inventory::read(root).unwrap().document(format, &Subject::new(0)).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// What the bill says of the licence of the first package, and why nothing.
fn licence(root: &Path) -> String {
    match &Inventory::read(root).unwrap().packages()[0].licence {
        Licence::Declared(expression) => expression.clone(),
        Licence::Unknown(why) => why.clone(),
    }
}

#[test]
fn a_copyright_file_is_sought_in_the_system_alone() {
    let path = "usr/share/doc/a/copyright";
    let (dir, root) = system(&["a:all 1", "b:all 1"]);
    write(dir.path(), "outside", format!("{FREE}Zlib\n"));
    write(&root, "usr/share/doc/b/copyright", format!("{FREE}Expat\n"));
    let outside = dir.path().join("outside");
    // From where the link lies, this leads out of the folder.
    let upwards = "../../../../../outside";
    for (target, expected) in [
        ("../b/copyright", "MIT"),
        ("/usr/share/doc/b/copyright", "MIT"),
        (outside.to_str().unwrap(), "/usr/share/doc/a/copyright is not there"),
        (upwards, "/usr/share/doc/a/copyright is not there"),
        ("copyright", "/usr/share/doc/a/copyright cannot be opened"),
        ("/usr/share/doc", "/usr/share/doc/a/copyright is no regular file"),
    ] {
        std::fs::remove_file(root.join(path)).unwrap();
        symlink(target, root.join(path)).unwrap();
        assert_eq!(licence(&root), expected, "{target}");
    }
    // The folder may be a link too, as for packages of one source.
    std::fs::remove_dir_all(root.join("usr/share/doc/a")).unwrap();
    symlink("b", root.join("usr/share/doc/a")).unwrap();
    assert_eq!(licence(&root), "MIT");
    std::fs::remove_file(root.join("usr/share/doc/a")).unwrap();
    symlink(dir.path(), root.join("usr/share/doc/a")).unwrap();
    assert_eq!(licence(&root), "/usr/share/doc/a/copyright is not there");
}

#[test]
fn a_copyright_file_that_is_none_is_no_failure() {
    let (_dir, root) = system(&["a:all 1"]);
    let path = root.join("usr/share/doc/a/copyright");
    for (content, expected) in [
        (format!("{FREE}ISC\n").into_bytes(), "ISC"),
        (b"free".to_vec(), "/usr/share/doc/a/copyright is not written for machines"),
        (b"\xff".to_vec(), "/usr/share/doc/a/copyright is no UTF-8"),
        (vec![b'a'; (4 << 20) + 1], "/usr/share/doc/a/copyright is larger than 4 MiB"),
    ] {
        std::fs::write(&path, content).unwrap();
        assert_eq!(licence(&root), expected);
    }
    // A pipe that nobody writes to is not waited for.
    std::fs::remove_file(&path).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::RUSR).unwrap();
    assert_eq!(licence(&root), "/usr/share/doc/a/copyright is no regular file");
}

#[test]
fn a_status_that_is_none_is_told() {
    let (_dir, root) = system(&[]);
    let path = root.join(STATUS);
    let said = || Inventory::read(&root).unwrap_err().to_string();
    for (content, expected) in [
        (&b"Package: a\n"[..], "line 1, says no status of a"),
        (b"Package: a", "line 1, is cut"),
        (b"\0", "line 1, has a zero byte"),
        (
            b"Package: a\nStatus: hold ok installed\nArchitecture: all\nVersion: 1\nDepends: B\n",
            "says of a what it needs in no known way",
        ),
    ] {
        std::fs::write(&path, content).unwrap();
        assert!(said().contains(expected), "{}", said());
    }
    // A hole of that size takes no room.
    std::fs::File::create(&path).unwrap().set_len(200 << 20).unwrap();
    assert!(said().contains("is larger than 64 MiB"), "{}", said());
    std::fs::remove_file(&path).unwrap();
    assert!(matches!(Inventory::read(&root), Err(Error::NotFound(_))));
    std::fs::create_dir(&path).unwrap();
    assert!(said().contains("is no regular file"), "{}", said());
}

#[test]
fn each_package_has_an_identifier_of_its_own() {
    let (_dir, root) = system(&[
        "libstdc++6:amd64 1",
        "libstdc++6:i386 1",
        "libstdcplusplus6:amd64 1",
        "a-b:amd64 1",
        "b:a-amd64 1",
        "a_b:amd64 1",
        "a.b:amd64 1",
    ]);
    let json = document(&root, Format::Spdx);
    let ids: Vec<_> = json["packages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| p["SPDXID"].as_str().unwrap())
        .collect();
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), 8, "{ids:?}");
    for id in ids {
        let rest = id.strip_prefix("SPDXRef-").unwrap();
        assert!(rest.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.' || b == b'-'), "{id}");
    }
    let json = document(&root, Format::CycloneDx);
    let refs = json["components"].as_array().unwrap().iter().map(|c| c["bom-ref"].to_string());
    assert_eq!(refs.collect::<BTreeSet<_>>().len(), 7);
}

#[test]
fn the_same_content_gives_the_same_bytes() {
    let (_dir, root) = system(&["a:all 1"]);
    let inventory = Inventory::read(&root).unwrap();
    for format in [Format::Spdx, Format::CycloneDx] {
        let of = |subject: Subject| inventory.document(format, &subject).unwrap();
        let one = of(Subject::new(5));
        assert_eq!(one, of(Subject::new(5)));
        assert_eq!(one, of(Subject::new(5).name("it").version("3")));
        assert!(one.contains("1970-01-01T00:00:05Z"), "{one}");
        let mut names = BTreeSet::new();
        for subject in [
            Subject::new(5),
            Subject::new(6),
            Subject::new(5).name("other"),
            Subject::new(5).version("4"),
        ] {
            let json: Value = serde_json::from_str(&of(subject)).unwrap();
            let name = json.get("documentNamespace").or(json.get("serialNumber")).unwrap();
            let name = name.as_str().unwrap().to_owned();
            names.insert(name[name.len() - 36..].to_owned());
        }
        assert_eq!(names.len(), 4, "{names:?}");
        assert!(matches!(
            inventory.document(format, &Subject::new(u64::MAX)),
            Err(Error::Usage(_))
        ));
        assert!(inventory.document(format, &Subject::new(LAST_SECOND)).is_ok());
        assert!(inventory.document(format, &Subject::new(0).name(" ")).is_err());
    }
}

#[test]
fn names_and_addresses_of_maintainers() {
    for (text, name, mail) in [
        ("A Team <a@example.org>", "A Team", Some("a@example.org")),
        ("A <B> <a@example.org>", "A <B>", Some("a@example.org")),
        ("a@example.org", "a@example.org", None),
        ("<a@example.org>", "<a@example.org>", None),
        ("A <no mail>", "A <no mail>", None),
        ("A <a@b@c>", "A <a@b@c>", None),
    ] {
        assert_eq!(name_and_mail(text), (name, mail), "{text}");
    }
}

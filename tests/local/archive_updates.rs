//! Adding images to an archive that is there: nothing of it is lost, whoever else adds at once.

use std::fs;

use crate::common::Scratch;
use crate::common::hostile::{Member, sound, tar_file};

/// The names of the images in an archive, sorted.
fn names(scratch: &Scratch, archive: &str) -> Vec<String> {
    scratch.osimage(["verify", archive]).ok();
    let list = scratch.osimage(["list", archive]).ok();
    let name = |line: &str| line.split_whitespace().take(2).collect::<Vec<_>>().join(":");
    let mut names: Vec<_> = list.lines().skip(1).map(name).collect();
    names.sort();
    names
}

/// The folder of a store with an image.
fn store(scratch: &Scratch, seed: u64) -> String {
    let name = format!("store-{seed}");
    scratch.build(&name, seed, &["--tag", &format!("x:{seed}")]);
    format!("./{name}:x:{seed}")
}

#[test]
fn an_image_is_added_and_the_whole_is_replaced_only_where_that_is_asked_for() {
    let scratch = Scratch::new();
    let [first, second] = [1, 2].map(|seed| store(&scratch, seed));
    for archive in ["a.oci.tar", "a.oci.tar.zst", "a.oci.tar.gz", "a.oci.tar.xz"] {
        scratch.osimage(["copy", &first, archive, "--flat"]).ok();
        scratch.osimage(["copy", &second, &format!("{archive}:y:2")]).ok();
        assert_eq!(names(&scratch, archive), ["x:1", "y:2"], "{archive}");
        // What is there already changes nothing, and what has the name is not moved.
        let before = fs::read(scratch.path(archive)).unwrap();
        scratch.osimage(["copy", "--no-clobber", &second, &format!("{archive}:y:2")]).ok();
        let clash = ["copy", "--no-clobber", &first, &format!("{archive}:y:2")];
        scratch.osimage(clash).run().says(&["is another image already"]).fails(7);
        assert!(fs::read(scratch.path(archive)).unwrap() == before, "{archive}");
        scratch.osimage(["copy", &first, &format!("{archive}:y:2")]).ok();
        assert_eq!(names(&scratch, archive), ["x:1", "y:2"], "{archive}");
        // It has no top folder, as before; a link to it stays one.
        let _ = fs::remove_file(scratch.path("link.oci.tar.zst"));
        std::os::unix::fs::symlink(archive, scratch.path("link.oci.tar.zst")).unwrap();
        scratch.osimage(["copy", &second, "link.oci.tar.zst:z:1"]).ok();
        assert!(scratch.path("link.oci.tar.zst").is_symlink());
        assert_eq!(names(&scratch, archive), ["x:1", "y:2", "z:1"], "{archive}");
        scratch.osimage(["copy", "--replace", &second, archive]).ok();
        assert_eq!(names(&scratch, archive), ["x:2"], "{archive}");
        fs::remove_file(scratch.path(archive)).unwrap();
    }
    scratch.osimage(["copy", "--replace", &first, "./layout"]).run().fails(2);
    scratch.write("b.oci.tar", "no archive");
    scratch.osimage(["copy", &first, "b.oci.tar"]).run().fails(5);
    assert_eq!(fs::read(scratch.path("b.oci.tar")).unwrap(), b"no archive");
}

#[test]
fn an_image_is_converted_into_an_archive_beside_what_it_has() {
    let scratch = Scratch::new();
    let image = store(&scratch, 1);
    scratch.osimage(["copy", &image, "a.oci.tar.zst:x:1"]).ok();
    let convert = |to: &str| {
        scratch.osimage(["convert", "--profile", "ironcore", "a.oci.tar.zst:x:1", to]).run()
    };
    convert("a.oci.tar.zst:y:1").ok();
    assert_eq!(names(&scratch, "a.oci.tar.zst"), ["x:1", "y:1"]);
    convert("./layout:y:1").ok();
    let digest = |place: &str| {
        let list = scratch.osimage(["list", "-q", place]).ok();
        list.split_whitespace().next().unwrap().to_owned()
    };
    assert_eq!(digest("a.oci.tar.zst:y:1"), digest("./layout"));
    for nameless in ["b.oci.tar", "./b"] {
        convert(nameless)
            .says(&["what the image is to be called", &format!("{nameless}:NAME")])
            .fails(2);
        assert!(!scratch.path(nameless).exists());
    }
}

#[test]
fn what_another_tool_put_into_the_index_stays() {
    let scratch = Scratch::new();
    let mut members = sound();
    assert_eq!(members[1].2.pop(), Some(b'}'));
    members[1].2.extend_from_slice(br#","x-mine":[123456789012345678901234567890]}"#);
    let borrowed: Vec<Member> = members
        .iter()
        .map(|(name, kind, content)| (name.as_str(), *kind, content.clone()))
        .collect();
    scratch.write("a.oci.tar", tar_file(&borrowed));
    scratch.osimage(["copy", &store(&scratch, 1), "a.oci.tar"]).ok();
    assert_eq!(names(&scratch, "a.oci.tar"), ["evil:1", "x:1"]);
    let tar = String::from_utf8_lossy(&fs::read(scratch.path("a.oci.tar")).unwrap()).into_owned();
    assert!(tar.contains(r#""x-mine":[123456789012345678901234567890]"#));
}

#[test]
fn several_that_add_at_once_lose_nothing() {
    let scratch = Scratch::new();
    let stores: Vec<_> = (1..=5).map(|seed| store(&scratch, seed)).collect();
    for archive in ["a.oci.tar", "a.oci.tar.zst"] {
        // The archive is not there at first, so one of them makes it.
        let runs: Vec<_> =
            stores.iter().map(|from| scratch.osimage(["copy", from, archive]).start()).collect();
        runs.into_iter().for_each(|run| drop(run.end().ok()));
        assert_eq!(names(&scratch, archive), ["x:1", "x:2", "x:3", "x:4", "x:5"], "{archive}");
    }
    // One name for all: one has it, and the others are told.
    let codes: Vec<_> = stores
        .iter()
        .map(|from| scratch.osimage(["copy", "--no-clobber", from, "b.oci.tar:one:1"]).start())
        .collect::<Vec<_>>()
        .into_iter()
        .map(|run| run.end().code)
        .collect();
    assert_eq!(codes.iter().filter(|code| **code == 0).count(), 1, "{codes:?}");
    assert_eq!(codes.iter().filter(|code| **code == 7).count(), 4, "{codes:?}");
    assert_eq!(names(&scratch, "b.oci.tar"), ["one:1"]);
}

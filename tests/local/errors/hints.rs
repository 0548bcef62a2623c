//! What is said where something was sought in the wrong place: where it may be, and how that is
//! typed.

use crate::common::Scratch;

#[test]
fn what_is_sought_in_the_wrong_place_is_told_the_right_one() {
    let scratch = Scratch::new();
    scratch.build("store", 1, &["--tag", "os:1"]);
    for (line, code, says) in [
        ("--store-path store list ghcr.io/me/os", 3, "`osimage tags ghcr.io/me/os`"),
        ("list ghcr.io/me/os:1", 3, "`osimage repos ghcr.io/me/os`"),
        ("--store-path store tag ghcr.io/me/os:1 b:2", 3, "osimage copy ghcr.io/me/os:1 b:2"),
        ("tag ghcr.io/me/os:1 ghcr.io/me/os:2", 3, "osimage copy ghcr.io/me/os:1 ghcr.io/me/os:2"),
        ("features resolve kvm", 3, "--features-dir DIR"),
        ("copy os:1", 2, "<TARGET>"),
        ("convert --profile native", 2, "<SOURCE>"),
    ] {
        scratch.osimage(line.split(' ')).run().says(&[says]).fails(code);
    }
    // A store that a user has named and that is not there is no empty one.
    let run = scratch.osimage(["--store-path", "nowhere", "list"]).run();
    run.says(&["there is no store at nowhere yet"]).ok();
    assert_eq!(scratch.osimage(["list"]).run().stderr, "");
}

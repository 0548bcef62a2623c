//! Targets that take no more: the room is out, or the disk fails.

use std::fs::{self, File};

use super::*;
use crate::common::disk::{fill, small_disk};
use crate::common::loops::{Loop, beginning};

const SIZE: usize = 5 * MIB;

#[test]
fn a_full_or_failing_target_does_not_start() {
    let test = "deploy::failing::a_full_or_failing_target_does_not_start";
    let Some(small) = small_disk(test) else { return };
    let (scratch, content) = (Scratch::new(), content(1, SIZE));
    archive(&scratch, "os.oci.tar", &content);
    let deploy = |target: &Path| scratch.osimage(["deploy", "os.oci.tar"]).arg(target).arg("--yes");
    let filler = fill(&small, 2 * MIB);
    // A file that is made leaves nothing.
    deploy(&small.join("new")).run().says(&["No space left"]).fails(1);
    let names = fs::read_dir(&small).unwrap().count();
    assert_eq!(names, 1, "the filler alone");
    // One that is there has holes, which cannot be filled.
    let sparse = small.join("sparse");
    File::create(&sparse).unwrap().set_len(SIZE as u64).unwrap();
    let failed = deploy(&sparse).run();
    failed.says(&["No space left", "nothing starts from what is not whole"]).fails(1);
    assert!(beginning(&sparse, MIB).iter().all(|byte| *byte == 0));
    fs::remove_file(&sparse).unwrap();
    // A disk whose cells fail: there is no room behind it.
    File::create(&sparse).unwrap().set_len(SIZE as u64).unwrap();
    let Some(device) = Loop::over(&sparse, &[], test) else { return };
    let failed = deploy(&device.path).run();
    failed.says(&["nothing starts from what is not whole"]).fails(1);
    assert!(beginning(&device.path, MIB).iter().all(|byte| *byte == 0));
    fs::remove_file(&filler).unwrap();
    deploy(&device.path).ok();
    assert!(beginning(&device.path, SIZE) == content);
}

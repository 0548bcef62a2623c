//! The format itself: what others must find in it, byte for byte.

use std::process::{Command, Stdio};

use super::*;
use crate::common::peer;

/// What this version of zstd makes of some content, and where that is cut. Another version may make
/// other frames; then its number is in the annotation, and this changes with it.
#[test]
fn the_test_vectors_hold() {
    // Letters, a hole, letters that are there already, a few bytes.
    let content = [&text(1, 300_000)[..], &vec![0; 100_000], &text(1, 100_000), b"end"].concat();
    let packed = How::Native.pack(&content);
    let cut: Vec<_> =
        packed.rows().iter().map(|row| (row.size, row.hash == [0; 32], row.hash[0])).collect();
    assert_eq!(Digest::of(&content).to_string(), CONTENT);
    assert_eq!(cut, CUT);
    assert_eq!(
        (packed.place.offset, packed.place.size, packed.place.digest.to_string().as_str()),
        PLACE
    );
    if chunks::compression(3) == "zstd/1.5.7/3" {
        assert_eq!((packed.blob.len(), packed.digest().to_string().as_str()), BLOB);
    }
    assert_eq!(write_table(&packed.rows()), packed.blob[packed.place.offset as usize..]);
    let table = How::Table.pack(&content);
    assert_eq!((table.blob.len(), table.digest().to_string().as_str()), ALONE);
}

const CONTENT: &str = "sha256:9cf1c4c12e1f285cf160f5217125f42a25567bbf0d145cb422f587242b5a3571";
/// The size of each chunk, whether it is zeros, and how its hash begins.
const CUT: [(u32, bool, u8); 7] = [
    (106_409, false, 149),
    (70_273, false, 94),
    (33_803, false, 247),
    (58_678, false, 105),
    (33_941, false, 244),
    (94_208, true, 0),
    (102_691, false, 198),
];
const PLACE: (u64, u64, &str) =
    (201523, 309, "sha256:27ba01f9f55f233ba807ed890c512a4ad0a1b3a51b1f374dc3022391fe830c99");
const BLOB: (usize, &str) =
    (201832, "sha256:6559f57156f1293081c75fe2ee98e1ada6833a97dd4914002477b3e728c6bcec");
const ALONE: (usize, &str) =
    (309, "sha256:c5617846f90ab9c61cd2b2b856abc99da628efca8050386360bb797302221114");

/// `zstd -d` over bytes.
fn unzstd(bytes: &[u8]) -> Option<Vec<u8>> {
    let program = peer("zstd")?;
    let scratch = Scratch::new();
    let packed = scratch.write("packed.zst", bytes);
    let mut command = Command::new(program);
    command.args(["-d", "-c"]).arg(packed).stdin(Stdio::null());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(output.stdout)
}

#[test]
fn plain_zstd_reads_what_is_stored_and_what_is_attached() {
    for content in
        [Vec::new(), vec![0; 9_000_000], text(1, 700_000), versions(4_000_000)[1].clone()]
    {
        let Some(plain) = unzstd(&How::Native.pack(&content).blob) else { return };
        assert!(plain == content);
    }
    // What the program makes, of an image in a registry.
    let bench = Bench::new(How::Table);
    let [_, new] = versions(How::Frames.len());
    let registry = Registry::start();
    image(&registry, descriptor(ROOTFS, &new), &new);
    let reference = name(&registry);
    bench.scratch.osimage(["chunk", &reference]).ok();
    let attached = bench.scratch.osimage(["discover", &reference, "--format", "json"]).ok();
    assert!(attached.contains(CHUNKS), "{attached}");
    let frames = How::Frames.pack(&new);
    let found =
        registry.blobs("os").into_iter().any(|(digest, _)| digest == frames.digest().to_string());
    assert!(found, "the same bytes as the library makes");
    assert!(unzstd(&frames.blob).unwrap() == new);
    let again = bench.scratch.osimage(["chunk", &reference]).run();
    assert!(again.stderr.contains("has chunks already"), "{}", again.stderr);
}

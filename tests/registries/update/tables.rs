//! Tables that lie, and annotations that do: from whoever made the image, and from anybody who
//! attached something to it.

use super::*;

/// What a table may say that is not so.
fn lies(packed: &Packed) -> Vec<(&'static str, Vec<u8>)> {
    let rows = packed.rows();
    let (first, last) = (0, rows.len() - 1);
    let data: Vec<_> = (0..rows.len()).filter(|n| rows[*n].hash != [0; 32]).collect();
    let changed = |change: &dyn Fn(&mut Vec<Row>)| {
        let mut rows = rows.clone();
        change(&mut rows);
        write_table(&rows)
    };
    let raw = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut table = write_table(&rows);
        change(&mut table);
        table
    };
    let count = |number: u32| {
        raw(&|table| {
            let at = table.len() - 9;
            table[at..at + 4].copy_from_slice(&number.to_le_bytes());
        })
    };
    vec![
        ("a hash", changed(&|rows| rows[data[3]].hash[5] ^= 1)),
        ("all hashes", changed(&|rows| rows.iter_mut().for_each(|row| row.hash = [7; 32]))),
        ("all zeros", changed(&|rows| rows.iter_mut().for_each(|row| row.hash = [0; 32]))),
        ("one is zeros", changed(&|rows| rows[data[4]].hash = [0; 32])),
        ("two exchanged", changed(&|rows| rows.swap(data[1], data[2]))),
        ("one twice", changed(&|rows| rows[data[1]] = rows[data[2]].clone())),
        ("one too few", changed(&|rows| rows.truncate(last))),
        ("one more", changed(&|rows| rows.push(rows[last].clone()))),
        ("none", changed(&|rows| rows.clear())),
        (
            "sizes moved",
            changed(&|rows| {
                rows[data[1]].size -= 1;
                rows[data[2]].size += 1;
            }),
        ),
        (
            "frames moved",
            changed(&|rows| {
                rows[data[1]].stored -= 1;
                rows[data[2]].stored += 1;
            }),
        ),
        ("a size of nothing", changed(&|rows| rows[data[1]].size = 0)),
        ("a frame of nothing", changed(&|rows| rows[data[1]].stored = 0)),
        ("a huge chunk", changed(&|rows| rows[data[1]].size = u32::MAX)),
        ("a huge frame", changed(&|rows| rows[data[1]].stored = u32::MAX)),
        (
            "huge zeros",
            changed(&|rows| {
                rows.push(Row { stored: 12, size: u32::MAX, hash: [0; 32] });
            }),
        ),
        (
            "a frame of zeros that is all",
            changed(&|rows| {
                let stored = rows.iter().map(|row| row.stored).sum();
                let size = rows.iter().map(|row| row.size).sum();
                *rows = vec![Row { stored, size, hash: [0; 32] }];
            }),
        ),
        (
            "a chunk that is all",
            changed(&|rows| {
                let stored = rows.iter().map(|row| row.stored).sum();
                let size = rows.iter().map(|row| row.size).sum();
                *rows = vec![Row { stored, size, hash: [9; 32] }];
            }),
        ),
        ("1,000,000,000 chunks", count(1_000_000_000)),
        ("as many as can be said", count(u32::MAX)),
        ("no chunks but bytes", count(0)),
        ("another magic", raw(&|table| table[0] ^= 1)),
        ("another beginning", raw(&|table| table[8] ^= 1)),
        ("another descriptor", raw(&|table| *table.iter_mut().nth_back(4).unwrap() = 0x80)),
        ("nothing but zeros", vec![0; 1000]),
        ("one byte", vec![0]),
        ("noise", noise(first as u64 + 1, 5000)),
    ]
}

/// Whoever attaches something can make it take longer, and nothing else.
#[test]
fn what_is_attached_may_lie() {
    for how in How::ATTACHED {
        let bench = Bench::new(how);
        for (what, table) in lies(&bench.packed) {
            let what = format!("{how:?}, {what}");
            let registry = Registry::start();
            let packed = bench.packed.clone().with_table(&table);
            put(&registry, &packed);
            let bench = Bench { registry, packed, scratch: Scratch::new(), old: Vec::new() };
            bench.scratch.write("old", &versions(how.len())[0]);
            let run = bench.pull().memory(100 << 20).run();
            assert_eq!(run.code, 0, "{what}: {}", run.stderr);
            bench.is_right(&what);
            let whole = bench.packed.content.len() as u64;
            let sent = bench.registry.sent();
            assert!(sent < 2 * whole + whole / 2, "{what}: {sent} bytes were sent");
            assert!(bench.registry.count("GET blob") < 100, "{what}");
        }
    }
}

/// Whoever makes an image can make one that cannot be had, or whose table is of no use. What has a
/// name is what the image names.
#[test]
fn an_image_whose_table_lies_gives_its_content_or_nothing() {
    let bench = Bench::new(How::Native);
    for (what, table) in lies(&bench.packed) {
        let registry = Registry::start();
        let packed = bench.packed.clone().with_table(&table);
        put(&registry, &packed);
        let bench = Bench { registry, packed, scratch: Scratch::new(), old: Vec::new() };
        bench.scratch.write("old", &versions(How::Native.len())[0]);
        for seeded in [true, false] {
            let launch = if seeded { bench.pull() } else { bench.pull_without() };
            let run = launch.memory(100 << 20).run();
            // zstd passes over what is in skippable frames, and over nothing else.
            match run.code {
                0 => bench.is_right(what),
                code => {
                    assert_eq!(code, 5, "{what}: {}", run.stderr);
                    bench.is_nothing(what);
                }
            }
        }
        // As a blob it is what it is.
        let layout = ["pull", &name(&bench.registry), "--to", "./layout", "--seed", "old"];
        let run = bench.scratch.osimage(layout).memory(100 << 20).run();
        assert_eq!(run.code, 0, "{what}: {}", run.stderr);
        let blob = bench.scratch.path("layout/blobs/sha256").join(bench.packed.digest().hex());
        assert!(fs::read(blob).unwrap() == bench.packed.blob, "{what}");
    }
}

/// The registry sends another table than the one that the manifest names.
#[test]
fn a_table_that_is_not_the_one_named_is_not_used() {
    for how in How::ALL {
        let bench = Bench::new(how);
        let place = bench.packed.place.clone();
        for (what, table) in lies(&bench.packed) {
            let mut other = bench.packed.blob.clone();
            other.truncate(place.offset as usize);
            other.extend(&table);
            other.resize(bench.packed.blob.len(), 0);
            bench.registry.put_blob_as("os", &bench.packed.digest(), Content::bytes(other));
            let run = bench.pull().run();
            match (how, run.code) {
                // What is behind the frames is a part of the file that is decompressed.
                (How::Native, 5) => bench.is_nothing(what),
                _ => {
                    assert_eq!(run.code, 0, "{how:?}, {what}: {}", run.stderr);
                    bench.is_right(&format!("{how:?}, {what}"));
                }
            }
        }
    }
}

#[test]
fn a_frame_that_is_a_bomb_takes_no_memory() {
    // A frame that says it is a chunk and becomes 1 GiB.
    let bomb = zstd::bulk::compress(&vec![0; 1 << 30], 3).unwrap();
    for how in [How::Native, How::Frames] {
        let bench = Bench::new(how);
        let mut rows = bench.packed.rows();
        let n = rows.iter().position(|row| row.hash != [0; 32]).unwrap();
        let end = rows[n].stored as usize;
        rows[n].stored = bomb.len() as u32;
        let mut packed = bench.packed.clone();
        let frames = &bench.packed.blob[end..bench.packed.place.offset as usize];
        packed.blob = [&bomb[..], frames].concat();
        packed.place.offset = packed.blob.len() as u64;
        let packed = packed.with_table(&write_table(&rows));
        let registry = Registry::start();
        put(&registry, &packed);
        let bench = Bench { registry, packed, scratch: Scratch::new(), old: Vec::new() };
        bench.scratch.write("old", noise(1, 10));
        let run = bench.pull().memory(100 << 20).run();
        match how {
            How::Native => {
                assert_eq!(run.code, 5, "{}", run.stderr);
                bench.is_nothing("a bomb");
            }
            _ => {
                assert_eq!(run.code, 0, "{}", run.stderr);
                bench.is_right("a bomb");
            }
        }
    }
}

/// Every annotation: missing, no number, and one that does not fit.
#[test]
fn annotations_may_say_anything() {
    let sizes =
        ["", "x", "-1", "1.5", "0", "1", "18446744073709551615", "99999999999999999999", " 5"];
    let digests = ["", "x", "sha256:00", "md5:d41d8cd98f00b204e9800998ecf8427e"];
    let other = Digest::of(b"other").to_string();
    for how in How::ALL {
        let bench = Bench::new(how);
        for (key, values) in [
            ("uncompressed.digest", &digests[..]),
            ("uncompressed.size", &sizes),
            ("chunks.offset", &sizes),
            ("chunks.size", &sizes),
            ("chunks.digest", &digests),
            ("chunking", &["", "x"]),
            ("compression", &["", "x", "zstd/1.5.7/99", "zstd/1.5.7/0", "a/b/1000000"]),
        ] {
            let key = format!("dev.osimage.{key}");
            for value in values.iter().map(|value| Some(*value)).chain([None, Some(&*other)]) {
                // No more than one of them for what takes longer.
                if how == How::Frames && value.is_some_and(|value| value.len() > 3) {
                    continue;
                }
                let what = format!("{how:?}, {key} {value:?}");
                let (registry, mut layer) = (Registry::start(), bench.packed.layer());
                match value {
                    Some(value) => layer["annotations"][&key] = json!(value),
                    None => drop(layer["annotations"].as_object_mut().unwrap().remove(&key)),
                }
                put_as(&registry, &bench.packed, layer);
                let bench = Bench { registry, scratch: Scratch::new(), ..copy(&bench) };
                bench.scratch.write("old", &bench.old);
                for launch in [bench.pull(), bench.pull_without()] {
                    let run = launch.run();
                    match (how, run.code) {
                        // Without that it is a layer of another tool's.
                        (How::Native, 0) if key.ends_with("uncompressed.digest") => {
                            is_right(&bench.scratch.path("out"), &bench.packed.blob, &what);
                            fs::remove_dir_all(bench.scratch.path("out")).unwrap();
                        }
                        (_, 0) => bench.is_right(&what),
                        (How::Native, 5) => bench.is_nothing(&what),
                        _ => panic!("{what}: {run:#?}"),
                    }
                }
            }
        }
    }
}

fn copy(bench: &Bench) -> Bench {
    Bench {
        scratch: Scratch::new(),
        registry: Registry::start(),
        old: bench.old.clone(),
        packed: bench.packed.clone(),
    }
}

/// A sound one beside one that is not: the sound one counts, whichever comes first.
#[test]
fn one_that_is_broken_does_not_keep_out_another() {
    for how in How::ATTACHED {
        let bench = Bench::new(how);
        let sound = bench.packed.layer();
        let mut no_number = sound.clone();
        no_number["annotations"]["dev.osimage.chunks.size"] = json!("many");
        let other_table = bench.packed.clone().with_table(&noise(1, 3000));
        let mut absent = sound.clone();
        absent["annotations"]["dev.osimage.chunks.digest"] = json!(Digest::of(b"no").to_string());
        for (what, broken) in
            [("no number", no_number), ("no table", other_table.layer()), ("another table", absent)]
        {
            for nonce in 0..4 {
                let registry = Registry::start();
                let kept = image(
                    &registry,
                    descriptor(ROOTFS, &bench.packed.content),
                    &bench.packed.content,
                );
                registry.put_blob("os", Content::bytes(bench.packed.blob.clone()));
                registry.put_blob("os", Content::bytes(other_table.blob.clone()));
                // The digest decides which comes first.
                let mut broken = broken.clone();
                broken["annotations"]["nonce"] = json!(nonce.to_string());
                attach(&registry, &kept, &[broken]);
                attach(&registry, &kept, std::slice::from_ref(&sound));
                let bench = Bench { registry, ..copy(&bench) };
                bench.scratch.write("old", &bench.old);
                bench.pull().ok();
                let sent = bench.registry.sent();
                assert!(sent < little(how), "{how:?}, {what}: {sent} bytes were sent");
                bench.is_right(what);
            }
        }
    }
}

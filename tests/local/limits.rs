//! Limits: whatever a layout or an archive holds, a command ends with an answer or an error, in no
//! more memory than [`MEMORY`], and after work that grows no faster than what it was given.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::Path;

use osimage::compress::{Format, Settings, Writer};
use osimage::digest::Digest;
use osimage::oci;

use crate::common::Scratch;
use crate::common::bounds::{
    MANIFEST, MEMORY, attached, entry, in_proportion, index, layer, manifest, pairs, stray, tried,
    whole,
};
use crate::common::hostile::{CONFIG, EVIL_CONFIG, KERNEL, append, descriptor, named};

/// What a layout holds: its index, and its content in order.
#[derive(Default)]
struct Content {
    index: Vec<u8>,
    blobs: Vec<Vec<u8>>,
}

impl Content {
    /// Content of an index with these entries and fields.
    fn of(entries: &[String], more: &str, blobs: Vec<Vec<u8>>) -> Self {
        Content { index: index(entries, more), blobs: [vec![EVIL_CONFIG.into()], blobs].concat() }
    }

    /// One image, `x:1`, of this manifest.
    fn image(manifest: Vec<u8>, mut blobs: Vec<Vec<u8>>) -> Self {
        let entry = entry(&manifest, &named("x:1"));
        blobs.push(manifest);
        Content::of(&[entry], "", blobs)
    }

    fn members(&self) -> Vec<(String, &[u8])> {
        let blobs = self.blobs.iter().map(|blob| (Digest::of(blob), blob.as_slice()));
        let blobs: BTreeMap<_, _> =
            blobs.map(|(digest, blob)| (format!("blobs/sha256/{}", digest.hex()), blob)).collect();
        let mut members = vec![
            ("oci-layout".to_owned(), oci::LayoutFile::CONTENT.as_bytes()),
            ("index.json".to_owned(), self.index.as_slice()),
        ];
        members.extend(blobs);
        members
    }

    fn layout(&self, folder: &Path) {
        fs::create_dir_all(folder.join("blobs/sha256")).unwrap();
        self.members()
            .iter()
            .for_each(|(name, bytes)| fs::write(folder.join(name), bytes).unwrap());
    }

    fn archive(&self, path: &Path, format: Format) {
        let settings = Settings::new(format).level((format != Format::None).then_some(1));
        let mut writer = Writer::new(fs::File::create(path).unwrap(), &settings).unwrap();
        for (name, bytes) in self.members() {
            let mut member = Vec::new();
            append(&mut member, &name, tar::EntryType::Regular, bytes, None);
            writer.write_all(&member).unwrap();
        }
        writer.write_all(&[0; 1024]).unwrap();
        writer.finish().unwrap();
    }
}

/// A shape that content can have, in a size that can be divided by sixteen.
struct Shape {
    name: &'static str,
    size: usize,
    content: fn(usize) -> Content,
}

const SHAPES: &[Shape] = &[
    Shape {
        name: "manifests filled with blanks",
        size: 64,
        content: |n| {
            let manifests: Vec<_> = (0..n).map(|n| manifest(&[layer(n)], "", MANIFEST)).collect();
            let entries: Vec<_> = manifests.iter().map(|json| entry(json, "")).collect();
            Content::of(&entries, "", manifests)
        },
    },
    Shape {
        name: "an index of nothing but a field of its own",
        size: 20,
        content: |n| {
            let objects = r#"{"":0},"#.repeat(n * (1 << 20) / 7);
            Content::of(&[], &format!(r#","x":[{objects}0]"#), Vec::new())
        },
    },
    Shape {
        name: "entries that point to nothing",
        size: 80_000,
        content: |n| Content::of(&(0..n).map(|n| stray(n, "")).collect::<Vec<_>>(), "", Vec::new()),
    },
    Shape {
        name: "entries with long names",
        size: 20_000,
        content: |n| {
            let name = |n| named(&format!("{n}{}", "n".repeat(900)));
            Content::of(&(0..n).map(|n| stray(n, &name(n))).collect::<Vec<_>>(), "", Vec::new())
        },
    },
    Shape {
        name: "entries that are named as ids",
        size: 50_000,
        content: |n| {
            let name = |n| named(&format!("{n:012x}"));
            Content::of(&(0..n).map(|n| stray(n, &name(n))).collect::<Vec<_>>(), "", Vec::new())
        },
    },
    Shape {
        name: "entries with many annotations",
        size: 200,
        content: |n| {
            let more = format!(r#","annotations":{{{}}}"#, pairs(10_000));
            Content::of(&(0..n).map(|n| stray(n, &more)).collect::<Vec<_>>(), "", Vec::new())
        },
    },
    Shape {
        name: "entries with annotations that are escaped",
        size: 200,
        content: |n| {
            let more = format!(r#","annotations":{{{},"\u0061":"\u0061"}}"#, pairs(9_000));
            Content::of(&(0..n).map(|n| stray(n, &more)).collect::<Vec<_>>(), "", Vec::new())
        },
    },
    Shape {
        name: "one entry many times",
        size: 100_000,
        content: |n| {
            let manifest = manifest(&[], "", 0);
            Content::of(&vec![entry(&manifest, ""); n], "", vec![manifest])
        },
    },
    Shape {
        name: "one long name",
        size: 16,
        content: |n| {
            let manifest = manifest(&[], "", 0);
            let entry = entry(&manifest, &named(&"n".repeat(MANIFEST)));
            Content::of(&vec![entry; n], "", vec![manifest])
        },
    },
    Shape {
        name: "images without names",
        size: 4_000,
        content: |n| {
            let manifests: Vec<_> = (0..n).map(|n| manifest(&[], "", 500 + n)).collect();
            let entries: Vec<_> = manifests.iter().map(|json| entry(json, "")).collect();
            Content::of(&entries, "", manifests)
        },
    },
    Shape {
        name: "small manifests that are attached to a large one, behind large ones",
        size: 400,
        content: |n| {
            let large = |n| manifest(&[layer(n)], "", MANIFEST);
            let mut manifests = vec![large(0), large(1), large(2)];
            let subject = manifests[2].clone();
            manifests.extend((0..n).map(|n| attached(&subject, n, 0)));
            let entries: Vec<_> = manifests.iter().map(|json| entry(json, "")).collect();
            Content::of(&entries, "", manifests)
        },
    },
    Shape {
        name: "large manifests that are attached",
        size: 60,
        content: |n| {
            let subject = manifest(&[], "", 0);
            let mut manifests = vec![subject.clone()];
            manifests.extend((0..n).map(|n| attached(&subject, n, MANIFEST)));
            let mut entries: Vec<_> = manifests.iter().map(|json| entry(json, "")).collect();
            entries[0] = entry(&subject, &named("x:1"));
            Content::of(&entries, "", manifests)
        },
    },
    Shape {
        name: "a chain of what is attached",
        size: 1_000,
        content: |n| {
            let mut manifests = vec![manifest(&[], "", 0)];
            for n in 0..n {
                manifests.push(attached(&manifests[n], n, 0));
            }
            let mut entries: Vec<_> = manifests.iter().map(|json| entry(json, "")).collect();
            entries[0] = entry(&manifests[0], &named("x:1"));
            Content::of(&entries, "", manifests)
        },
    },
    Shape {
        name: "a manifest of many layers",
        size: 36_000,
        content: |n| {
            Content::image(manifest(&(0..n).map(layer).collect::<Vec<_>>(), "", 0), vec![])
        },
    },
    Shape {
        name: "manifests of many layers",
        size: 16,
        content: |n| {
            let layers = |m: usize| (0..24_000).map(move |n| layer((m << 32) | n));
            let manifests: Vec<_> =
                (0..n).map(|m| manifest(&layers(m).collect::<Vec<_>>(), "", 0)).collect();
            let entries: Vec<_> = manifests.iter().map(|json| entry(json, "")).collect();
            Content::of(&entries, "", manifests)
        },
    },
    Shape {
        name: "a manifest that is nested deep",
        size: 16,
        content: |n| {
            let inside = "0,".repeat(n * 125_000);
            let (open, close) = ("[".repeat(120), "]".repeat(120));
            Content::image(manifest(&[], &format!(r#","x":{open}{inside}0{close}"#), 0), vec![])
        },
    },
    Shape {
        name: "a config of many keys",
        size: 80_000,
        content: |n| {
            let config = format!("{{{}}}", pairs(n)).into_bytes();
            let config_descriptor =
                descriptor(CONFIG, &Digest::of(&config).to_string(), config.len(), "");
            let json = format!(r#"{{"schemaVersion":2,"config":{config_descriptor},"layers":[]}}"#);
            Content::image(json.into_bytes(), vec![config])
        },
    },
    Shape {
        name: "an index of one manifest many times, in an index",
        size: 24_000,
        content: |n| {
            let manifest = manifest(&[], "", 0);
            let inner = index(&vec![entry(&manifest, ""); n], "");
            let outer =
                descriptor(oci::INDEX, &Digest::of(&inner).to_string(), inner.len(), &named("x:1"));
            Content::of(&[outer], "", vec![manifest, inner])
        },
    },
    Shape {
        name: "an index of many images",
        size: 2_000,
        content: |n| {
            let manifests: Vec<_> = (0..n).map(|n| manifest(&[], "", 500 + n)).collect();
            let entries: Vec<_> = manifests.iter().map(|json| entry(json, "")).collect();
            let index = index(&entries, "");
            let entry =
                descriptor(oci::INDEX, &Digest::of(&index).to_string(), index.len(), &named("x:1"));
            Content::of(&[entry], "", [manifests, vec![index]].concat())
        },
    },
    Shape {
        name: "a large layer of nothing",
        size: 512,
        content: |n| {
            let zeros = vec![0; n << 20];
            let layer = descriptor(KERNEL, &Digest::of(&zeros).to_string(), zeros.len(), "");
            Content::image(manifest(&[layer], "", 0), vec![zeros])
        },
    },
    Shape {
        name: "much content that nothing needs",
        size: 12_000,
        content: |n| Content::of(&[], "", (0..n).map(|n| n.to_be_bytes().to_vec()).collect()),
    },
];

/// What is done with a place that came from elsewhere.
fn commands(place: &str) -> Vec<Vec<String>> {
    let image = match place.ends_with('/') {
        true => format!("./{place}:x:1"),
        false => format!("{place}:x:1"),
    };
    let mut commands = vec![
        format!("list {place}"),
        format!("list --wide --format json {place}"),
        format!("inspect --format tree {image}"),
        format!("inspect {image}"),
        format!("inspect {place}"),
        format!("discover {image}"),
        format!("verify {place}"),
        format!("extract {image} -o extracted"),
        format!("export {place} exported.oci.tar"),
        format!("--store-path store import {place}"),
    ];
    if place.ends_with('/') {
        commands.push(format!("gc {place}"));
    }
    commands.iter().map(|line| line.split(' ').map(str::to_owned).collect()).collect()
}

fn clean(scratch: &Scratch) {
    let _ = fs::remove_file(scratch.path("exported.oci.tar"));
    for folder in ["extracted", "store"] {
        let _ = fs::remove_dir_all(scratch.path(folder));
    }
}

/// Runs every command on a place, each within the memory that it may have; the seconds that each
/// took.
fn run(scratch: &Scratch, place: &str) -> Vec<(String, f64)> {
    let times = commands(place).into_iter().map(|args| {
        let run = scratch.osimage(&args).memory(MEMORY).run();
        clean(scratch);
        (format!("{args:?}"), run.cpu.expect("it was measured"))
    });
    times.collect()
}

#[test]
fn whatever_is_in_a_layout_memory_is_bounded_and_work_grows_as_it_does() {
    for shape in SHAPES {
        in_proportion(tried(shape.size), |size| {
            let scratch = Scratch::new();
            (shape.content)(size).layout(&scratch.path("all"));
            let times = run(&scratch, "all/").into_iter();
            times.map(|(what, time)| (format!("{}: {what}", shape.name), time)).collect()
        });
    }
}

#[test]
fn whatever_is_in_an_archive_memory_is_bounded() {
    for shape in SHAPES {
        let scratch = Scratch::new();
        // Work is looked at in layouts alone, so less will do here.
        let size = if whole() { shape.size } else { (tried(shape.size) / 4).max(1) };
        let all = (shape.content)(size);
        all.archive(&scratch.path("all.oci.tar"), Format::None);
        let _ = run(&scratch, "all.oci.tar");
        if whole() {
            all.archive(&scratch.path("all.oci.tar.gz"), Format::Gzip);
            let _ = run(&scratch, "all.oci.tar.gz");
        }
    }
}

//! Images and indexes that are hostile.

use super::*;

pub const SHAPES: &[Shape] = &[
    Shape {
        name: "a manifest filled with blanks",
        size: 64,
        commands: READ,
        serve: |registry, n| image(registry, manifest(&[layer(0)], "", n * MANIFEST / 64)),
    },
    Shape {
        name: "a manifest of many layers",
        size: 36_000,
        commands: READ,
        serve: |registry, n| {
            image(registry, manifest(&(0..n).map(layer).collect::<Vec<_>>(), "", 0));
        },
    },
    Shape {
        name: "a manifest of one layer many times",
        size: 36_000,
        commands: READ,
        serve: |registry, n| image(registry, manifest(&vec![layer(0); n], "", 0)),
    },
    Shape {
        name: "a manifest of many annotations",
        size: 400_000,
        commands: READ,
        serve: |registry, n| {
            let more = format!(r#","annotations":{{{}}}"#, pairs(n));
            image(registry, manifest(&[layer(0)], &more, 0));
        },
    },
    Shape {
        name: "layers of many annotations",
        size: 32,
        commands: READ,
        serve: |registry, n| {
            let named = |n| {
                let more = format!(r#","annotations":{{{}}}"#, pairs(9_000));
                descriptor(KERNEL, &Digest::of(&[n as u8]).to_string(), 8, &more)
            };
            image(registry, manifest(&(0..n).map(named).collect::<Vec<_>>(), "", 0));
        },
    },
    Shape {
        name: "a manifest that is nested deep",
        size: 16,
        commands: READ,
        serve: |registry, n| {
            let inside = "0,".repeat(n * 125_000);
            let (open, close) = ("[".repeat(120), "]".repeat(120));
            image(registry, manifest(&[], &format!(r#","x":{open}{inside}0{close}"#), 0));
        },
    },
    Shape {
        name: "a manifest that is nested without end",
        size: 16,
        commands: READ,
        serve: |registry, n| image(registry, "[".repeat(n * MANIFEST / 17)),
    },
    Shape {
        name: "manifests and blobs without end",
        size: 16,
        commands: FEW,
        serve: |registry, _| {
            image(registry, sound());
            let endless = || {
                Response::new(200).content(Content::endless()).with("Content-Type", oci::MANIFEST)
            };
            on(registry, "GET manifest", move |_| endless().untold());
            on(registry, "GET blob", move |_| endless().chunked());
            on(registry, "GET tags", move |_| endless());
            on(registry, "GET referrers", move |_| endless().chunked());
        },
    },
    Shape {
        name: "blobs that are larger than they should be",
        size: 16,
        commands: READ,
        serve: |registry, n| {
            let config =
                descriptor(CONFIG, &Digest::of(EVIL_CONFIG.as_bytes()).to_string(), i64::MAX, "");
            let layers: Vec<_> = (0..n)
                .map(|n| descriptor(KERNEL, &Digest::of(&[n as u8]).to_string(), i64::MAX >> n, ""))
                .collect();
            let layers = layers.join(",");
            image(
                registry,
                format!(r#"{{"schemaVersion":2,"config":{config},"layers":[{layers}]}}"#),
            );
            on(registry, "GET blob", |_| Response::new(200).content(Content::pages(1, 1 << 20)));
        },
    },
    Shape {
        name: "a config of many keys",
        size: 80_000,
        commands: READ,
        serve: |registry, n| {
            let config = format!("{{{}}}", pairs(n));
            let described =
                descriptor(CONFIG, &Digest::of(config.as_bytes()).to_string(), config.len(), "");
            registry.put_blob("x", Content::bytes(config));
            image(registry, format!(r#"{{"schemaVersion":2,"config":{described},"layers":[]}}"#));
        },
    },
    Shape {
        name: "an index of nothing but a field of its own",
        size: 16,
        commands: READ,
        serve: |registry, n| {
            let objects = r#"{"":0},"#.repeat(n * MANIFEST / 120);
            image_index(registry, index(&[], &format!(r#","x":[{objects}0]"#)));
        },
    },
    Shape {
        name: "an index of one image many times",
        size: 24_000,
        commands: &[
            READ[1], READ[2], READ[5], READ[8], READ[12], READ[14], WRITE[2], WRITE[3], WRITE[4],
        ],
        serve: |registry, n| {
            put(registry, &[sound()]);
            image_index(registry, index(&vec![entry(&sound(), &of_amd64()); n], ""));
        },
    },
    Shape {
        name: "an index of entries that point to nothing",
        size: 20_000,
        commands: &[READ[1], READ[2], READ[8], READ[12], WRITE[1], WRITE[3], WRITE[4]],
        serve: |registry, n| {
            let entries: Vec<_> = (0..n).map(|n| stray(n, &of_amd64())).collect();
            image_index(registry, index(&entries, ""));
        },
    },
    Shape {
        name: "an index of many images",
        size: 1_600,
        commands: &[READ[1], READ[2], READ[12], READ[13], WRITE[2], WRITE[3], WRITE[4]],
        serve: |registry, n| {
            let manifests: Vec<_> = (0..n).map(|n| manifest(&[layer(0)], "", 500 + n)).collect();
            put(registry, &manifests);
            let of_variant = |(n, json): (usize, &Vec<u8>)| {
                let platform = format!(r#""os":"linux","architecture":"arm","variant":"v{n}""#);
                entry(json, &format!(r#","platform":{{{platform}}}"#))
            };
            let entries: Vec<_> = manifests.iter().enumerate().map(of_variant).collect();
            image_index(registry, index(&entries, ""));
        },
    },
    Shape {
        name: "an index of large images",
        size: 64,
        commands: READ,
        serve: |registry, n| {
            let manifests: Vec<_> = (0..n).map(|n| manifest(&[layer(n)], "", MANIFEST)).collect();
            put(registry, &manifests);
            let entries: Vec<_> = manifests.iter().map(|json| entry(json, &of_amd64())).collect();
            image_index(registry, index(&entries, ""));
        },
    },
    Shape {
        name: "indexes that each list all of the next ones",
        size: 160,
        commands: READ,
        serve: |registry, n| {
            put(registry, &[sound()]);
            let mut level = vec![entry(&sound(), &of_amd64())];
            for depth in 0..6 {
                let indexes = (0..n).map(|n| index(&level, &format!(r#","x":"{depth} {n}""#)));
                let next = indexes.map(|bytes| {
                    let digest = registry.put_manifest("x", None, oci::INDEX, bytes.clone());
                    descriptor(oci::INDEX, &digest.to_string(), bytes.len(), &of_amd64())
                });
                level = next.collect();
            }
            image_index(registry, index(&level, ""));
        },
    },
    Shape {
        name: "indexes in indexes",
        size: 32,
        commands: READ,
        serve: |registry, n| {
            put(registry, &[sound()]);
            let mut inner = index(&[entry(&sound(), &of_amd64())], "");
            for _ in 0..n {
                let digest = registry.put_manifest("x", None, oci::INDEX, inner.clone());
                let entry = descriptor(oci::INDEX, &digest.to_string(), inner.len(), &of_amd64());
                inner = index(&[entry], "");
            }
            image_index(registry, inner);
        },
    },
];

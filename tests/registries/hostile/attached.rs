//! Lists of what is attached, and what they list.

use super::*;

pub const SHAPES: &[Shape] = &[
    Shape {
        name: "large manifests that are attached",
        size: 64,
        commands: ATTACHED,
        serve: |registry, n| {
            image(registry, sound());
            let attached: Vec<_> = (0..n).map(|n| attached(&sound(), n, MANIFEST)).collect();
            put(registry, &attached);
        },
    },
    Shape {
        name: "attached manifests of many annotations",
        size: 64,
        commands: ATTACHED,
        serve: |registry, n| {
            image(registry, sound());
            let subject = entry(&sound(), "");
            let pairs = pairs(9_900);
            let attached: Vec<_> = (0..n)
                .map(|n| {
                    let more = format!(r#","subject":{subject},"annotations":{{{pairs}}}"#);
                    manifest(&[layer(n)], &more, 0)
                })
                .collect();
            put(registry, &attached);
        },
    },
    Shape {
        name: "many small manifests that are attached",
        size: 960,
        commands: ATTACHED,
        serve: |registry, n| {
            image(registry, sound());
            put(registry, &(0..n).map(|n| attached(&sound(), n, 0)).collect::<Vec<_>>());
        },
    },
    Shape {
        name: "a list of what is attached that has no end",
        size: 1_600,
        commands: ATTACHED,
        serve: |registry, n| {
            image(registry, sound());
            on(registry, "GET referrers", move |request| pages(request, n, |_| referrers(&[])));
        },
    },
    Shape {
        name: "a list of what is attached, of many entries on many pages",
        size: 96_000,
        commands: ATTACHED,
        serve: |registry, n| {
            image(registry, sound());
            on(registry, "GET referrers", move |request| {
                pages(request, n.div_ceil(100), |page| {
                    let entries = (0..100).map(|n| stray(page * 100 + n, ""));
                    referrers(&entries.collect::<Vec<_>>())
                })
            });
        },
    },
    Shape {
        name: "a list of what is attached, of entries of many annotations",
        size: 32,
        commands: ATTACHED,
        serve: |registry, n| {
            image(registry, sound());
            let more = format!(r#","annotations":{{{}}}"#, pairs(9_900));
            let entries: Vec<_> = (0..n).map(|n| stray(n, &more)).collect();
            on(registry, "GET referrers", move |_| referrers(&entries));
        },
    },
    Shape {
        name: "a list of what is attached under the tag, of many entries",
        size: 20_000,
        commands: ATTACHED,
        serve: |registry, n| {
            registry.ways(|ways| ways.referrers = false);
            image(registry, sound());
            let entries: Vec<_> = (0..n).map(|n| stray(n, "")).collect();
            let tag = format!("sha256-{}", Digest::of(&sound()).hex());
            registry.put_manifest("x", Some(&tag), oci::INDEX, index(&entries, ""));
        },
    },
    Shape {
        name: "a chain of what is attached",
        size: 960,
        commands: ATTACHED,
        serve: |registry, n| {
            image(registry, sound());
            let mut subject = sound();
            for n in 0..n {
                subject = attached(&subject, n, 0);
                put(registry, &[subject.clone()]);
            }
        },
    },
    Shape {
        name: "to everything many things are attached",
        size: 64,
        commands: ATTACHED,
        serve: |registry, n| {
            image(registry, sound());
            // What is attached is made up when somebody asks for it.
            let made = std::sync::Arc::new(std::sync::Mutex::new(std::collections::HashMap::<
                String,
                Vec<u8>,
            >::new()));
            let kept = made.clone();
            on(registry, "GET referrers", move |request| {
                let subject = request.path.rsplit('/').next().expect("a digest").to_owned();
                let described = descriptor(oci::MANIFEST, &subject, 9, "");
                let mut kept = kept.lock().expect("a lock");
                let entries = (0..n).map(|n| {
                    let bytes = manifest(&[layer(n)], &format!(r#","subject":{described}"#), 0);
                    let entry = entry(&bytes, "");
                    kept.insert(Digest::of(&bytes).to_string(), bytes);
                    entry
                });
                referrers(&entries.collect::<Vec<_>>())
            });
            registry.on(move |request| {
                let digest = request.path.rsplit('/').next()?;
                let bytes = made.lock().expect("a lock").get(digest).cloned()?;
                (request.method == "GET").then(|| {
                    let answer = Response::new(200).with("Content-Type", oci::MANIFEST);
                    Fault::Answer(answer.body(bytes))
                })
            });
        },
    },
];

//! Lists of tags and of repositories.

use super::*;

pub const SHAPES: &[Shape] = &[
    Shape {
        name: "many names in one list",
        size: 96_000,
        commands: LISTS,
        serve: |registry, n| {
            names(
                registry,
                |_, n, key| {
                    let names: Vec<_> = (0..n).map(|n| format!("{n}.0.{n}")).collect();
                    Response::json(200, &json!({"name": "x", key: names}))
                },
                n,
            );
        },
    },
    Shape {
        name: "names on pages without end",
        size: 1_600,
        commands: LISTS,
        serve: |registry, n| {
            names(
                registry,
                |request, n, key| {
                    pages(request, n, |page| {
                        Response::json(200, &json!({key: [format!("1.0.{page}")]}))
                    })
                },
                n,
            );
        },
    },
    Shape {
        name: "many names on many pages",
        size: 320,
        commands: LISTS,
        serve: |registry, n| {
            names(
                registry,
                |request, n, key| {
                    pages(request, n, |page| {
                        let names: Vec<_> = (0..1_000).map(|n| format!("{page}-{n}")).collect();
                        Response::json(200, &json!({key: names}))
                    })
                },
                n,
            );
        },
    },
    Shape {
        name: "a long name",
        size: 16,
        commands: LISTS,
        serve: |registry, n| {
            names(
                registry,
                |_, n, key| {
                    let long = "1".repeat(n * MANIFEST / 17);
                    Response::json(200, &json!({key: [long]}))
                },
                n,
            );
        },
    },
    Shape {
        name: "a list of nothing but other fields",
        size: 16,
        commands: LISTS,
        serve: |registry, n| {
            names(
                registry,
                |_, n, key| {
                    let nested = "[{\"\":0},".repeat(100) + "0" + &"]".repeat(100);
                    let filled = vec![nested; n * 200].join(",");
                    Response::new(200).body(format!(r#"{{"x":[{filled}],"{key}":["a"]}}"#))
                },
                n,
            );
        },
    },
    Shape {
        name: "long links to further pages",
        size: 16,
        commands: &[LISTS[0], LISTS[2], ATTACHED[1]],
        serve: |registry, n| {
            image(registry, sound());
            registry.on(move |request| {
                let is_list = matches!(
                    call_of(request).as_str(),
                    "GET tags" | "GET catalog" | "GET referrers"
                );
                let link = "<a>; rel=\"\\\\x\"; b=c, ".repeat(n * 200);
                is_list.then(|| Fault::change(move |answer| answer.with("Link", link + "<z")))
            });
        },
    },
];

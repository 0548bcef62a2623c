//! Challenges, tokens, refusals, redirects, and HTTP itself.

use super::*;

pub const SHAPES: &[Shape] = &[
    Shape {
        name: "a long challenge",
        size: 16,
        commands: FEW,
        serve: |registry, n| {
            let challenge = "Basi a=\"\\\\b\", c ".repeat(n * 250);
            on_all(registry, move |_| Response::new(401).with("WWW-Authenticate", &challenge));
        },
    },
    Shape {
        name: "many challenges",
        size: 80,
        commands: FEW,
        serve: |registry, n| {
            on_all(registry, move |_| {
                (0..n).fold(Response::new(401), |answer, n| {
                    answer.and("WWW-Authenticate", format!("Scheme{n} realm=\"{n}\""))
                })
            });
        },
    },
    Shape {
        name: "a token without end",
        size: 16,
        commands: FEW,
        serve: |registry, n| {
            tokens(registry, |_| Response::new(200).content(Content::endless()).chunked(), n);
        },
    },
    Shape {
        name: "a token that is nested",
        size: 16,
        commands: FEW,
        serve: |registry, n| {
            tokens(registry, |n| Response::new(200).body("{\"x\":[".repeat(n * 600)), n);
        },
    },
    Shape {
        name: "a long token",
        size: 16,
        commands: FEW,
        serve: |registry, n| {
            image(registry, sound());
            let token = |n: usize| json!({"token": "t".repeat(n * 3_000), "expires_in": u64::MAX});
            tokens(registry, move |n| Response::json(200, &token(n)), n);
        },
    },
    Shape {
        name: "tokens that are never good",
        size: 16,
        commands: FEW,
        serve: |registry, _| {
            on_all(registry, |request| {
                let realm = format!("http://{}/token", request.header("Host").unwrap_or_default());
                match request.path.as_str() {
                    "/token" => Response::json(200, &json!({"token": "t", "expires_in": 0})),
                    _ => Response::new(401)
                        .with("WWW-Authenticate", format!("Bearer realm=\"{realm}\"")),
                }
            });
        },
    },
    Shape {
        name: "a no without end",
        size: 16,
        commands: FEW,
        serve: |registry, _| {
            on_all(registry, |_| Response::new(400).content(Content::endless()).chunked());
        },
    },
    Shape {
        name: "a failure without end",
        size: 16,
        commands: FEW,
        serve: |registry, _| {
            on_all(registry, |_| Response::new(500).content(Content::endless()).untold());
        },
    },
    Shape {
        name: "a no of many words",
        size: 16,
        commands: FEW,
        serve: |registry, n| {
            let message = "\u{1b}[2J<no> ".repeat(n * 300);
            on_all(registry, move |_| Response::error(404, &message, &message));
        },
    },
    Shape {
        name: "a no of many errors, nested",
        size: 16,
        commands: FEW,
        serve: |registry, n| {
            let nested = r#"{"errors":[{"code":"A","detail":"#.repeat(n * 120);
            on_all(registry, move |_| Response::new(403).body(nested.clone()));
        },
    },
    Shape {
        name: "redirects without end",
        size: 16,
        commands: FEW,
        serve: |registry, _| {
            image(registry, sound());
            on_all(registry, |request| {
                let n = request.query("n").and_then(|n| n.parse::<u64>().ok()).unwrap_or_default();
                Response::redirect(307, &format!("{}?n={}", request.path, n + 1))
            });
        },
    },
    Shape {
        name: "long redirects",
        size: 16,
        commands: FEW,
        serve: |registry, n| {
            image(registry, sound());
            let place = format!("/{}", "a/../".repeat(n * 600));
            on_all(registry, move |_| Response::redirect(307, &place));
        },
    },
    Shape {
        name: "many headers",
        size: 16_000,
        commands: FEW,
        serve: |registry, n| {
            image(registry, sound());
            registry.on(move |_| {
                Some(Fault::change(move |answer| {
                    (0..n).fold(answer, |answer, n| answer.and(&format!("X-{n}"), n))
                }))
            });
        },
    },
    Shape {
        name: "one long header",
        size: 16,
        commands: FEW,
        serve: |registry, n| {
            image(registry, sound());
            registry.on(move |_| {
                let long = "x".repeat(n << 20);
                Some(Fault::change(move |answer| answer.with("Docker-Content-Digest", long)))
            });
        },
    },
    Shape {
        name: "many answers before the answer",
        size: 160_000,
        commands: FEW,
        serve: |registry, n| {
            on_all(registry, move |_| {
                let end = "HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n";
                Response::raw("HTTP/1.1 103 Early\r\nX: y\r\n\r\n".repeat(n) + end)
            });
        },
    },
    Shape {
        name: "a body in chunks of one byte",
        size: 160_000,
        commands: &["resolve REG/x:1", "pull REG/x:1 -o pulled", "copy -r REG/x:1 ./pulled:1"],
        serve: |registry, n| {
            let bytes = manifest(&[layer(0)], "", n);
            image(registry, bytes.clone());
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: {}\r\nTransfer-Encoding: chunked\r\n\r\n",
                oci::MANIFEST
            );
            let chunks: String =
                bytes.iter().map(|byte| format!("1;a=b\r\n{}\r\n", char::from(*byte))).collect();
            let whole = head + &chunks + "0\r\n\r\n";
            on(registry, "GET manifest", move |_| Response::raw(whole.clone()));
        },
    },
    Shape {
        name: "uploads that lead elsewhere and never come on",
        size: 16,
        commands: &[WRITE[0], WRITE[5], WRITE[7], "push --chunk-size 10K sound.oci.tar REG/x:5"],
        serve: |registry, n| {
            image(registry, sound());
            registry.on(move |request| {
                let place = format!("/v2/x/blobs/uploads/{}", "7".repeat(n * 1_000));
                let answer = move || {
                    let answer = Response::new(202).with("Location", place);
                    answer.with("Range", "0-0").with("OCI-Chunk-Min-Length", "1")
                };
                let is_upload = request.path.contains("/uploads/");
                is_upload.then(|| Fault::Answer(answer()))
            });
        },
    },
];

//! Clients that send nonsense, or nothing, or take nothing: the server goes on, and tells nothing.

use std::io::{Read, Write};
use std::net::TcpStream;

use super::{Layers, Served, bench, raw};
use crate::common::noise;
use crate::common::remote::name;

/// Requests that are wrong in one way each.
fn odd(host: &str) -> Vec<Vec<u8>> {
    let paths = [
        "/boot/HOST/secret/v1/vmlinuz",
        "/boot/HOST/os/../secret/v1/vmlinuz",
        "/boot/HOST/os/v1/../../../secret/v1/vmlinuz",
        "/boot/HOST/os/v1/%2e%2e/%2e%2e/etc/passwd",
        "/boot/HOST/os%2f..%2fsecret/v1/vmlinuz",
        "//boot/HOST/os/v1/vmlinuz",
        "/boot/HOST/os/v1/vmlinuz%00",
        "/boot/HOST/os/v1/..%5c..%5cetc%5cpasswd",
        "/boot/user:password@HOST/os/v1/vmlinuz",
        "http://HOST/v2/secret/manifests/v1",
        "*",
        "/..",
        "/%",
        "?",
        "/boot?/HOST/os/v1/vmlinuz",
        "/proc/self/environ",
    ];
    let mut all: Vec<Vec<u8>> = paths
        .map(|path| path.replace("HOST", host))
        .iter()
        .map(|path| {
            format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").into_bytes()
        })
        .collect();
    let ok = format!("/boot/{host}/os/v1/cmdline");
    let long = "a".repeat(100_000);
    for text in [
        format!("GET {ok}/{long} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"),
        format!("GET {ok} HTTP/1.1\r\nHost: x\r\nX: {long}\r\nConnection: close\r\n\r\n"),
        format!("GET {ok} HTTP/1.1\r\n{}Connection: close\r\n\r\n", "X: y\r\n".repeat(1000)),
        format!("GET {ok} HTTP/9.9\r\n\r\n"),
        format!("GET {ok}\r\n\r\n"),
        long.clone(),
        "\r\n\r\n\r\n\r\n".to_owned(),
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(),
        format!("GET {ok} HTTP/1.1\r\nHost: x\r\nRange: bytes={long}\r\nConnection: close\r\n\r\n"),
        format!(
            "POST {ok} HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\nConnection: close\r\n\r\nx"
        ),
        format!(
            "POST {ok} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc"
        ),
        format!(
            "GET {ok} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\nFFFFFFFFFFFFFFFFFF\r\n"
        ),
    ] {
        all.push(text.into_bytes());
    }
    all.push(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec());
    all.push(noise(3, 5000));
    all
}

#[test]
fn nonsense_is_answered_by_a_no() {
    nonsense(600);
}

#[test]
#[ignore = "it takes minutes"]
fn ten_thousand_pieces_of_nonsense_are_answered_by_a_no() {
    nonsense(10_000);
}

/// Sends so many requests that have bytes changed, beside those that are wrong in one way.
fn nonsense(count: usize) {
    let (scratch, registry, layers) = bench();
    let secret = Layers::new(5);
    secret.put(&registry, "secret", Some("v1"));
    let served = Served::start(&scratch, &[&name(&registry)]);
    let odd = odd(&registry.host());
    let mut requests: Vec<_> = odd.clone();
    // Each with bytes changed, in ways that are the same in each run.
    for (n, request) in odd.iter().cycle().take(count).enumerate() {
        let mut request = request.clone();
        request.truncate(2000);
        for change in noise(n as u64, 9).chunks_exact(3) {
            let at = (usize::from(change[0]) << 8 | usize::from(change[1])) % request.len();
            request[at] = change[2];
        }
        // Whoever sends too little ends the connection.
        request.extend(b"\r\n\r\n");
        requests.push(request);
    }
    let threads = 4;
    std::thread::scope(|scope| {
        for part in requests.chunks(requests.len().div_ceil(threads)) {
            let (address, secret) = (&served.address, &secret);
            scope.spawn(move || {
                for request in part {
                    let mut socket = TcpStream::connect(address).unwrap();
                    let _ = socket.write_all(request);
                    let _ = socket.shutdown(std::net::Shutdown::Write);
                    let mut answer = Vec::new();
                    let _ = socket.read_to_end(&mut answer);
                    let shown = String::from_utf8_lossy(&request[..request.len().min(200)]);
                    // What was asked for by chance and may be is answered; nothing else is told.
                    for content in [&secret.kernel, &secret.initrd, &secret.rootfs] {
                        let told = answer.windows(32).any(|part| part == &content[..32]);
                        assert!(!told, "{shown} tells of another repository");
                    }
                    let text = String::from_utf8_lossy(&answer);
                    let is_answer = answer.is_empty() || text.starts_with("HTTP/1.");
                    assert!(is_answer, "{shown} gives {text}");
                }
            });
        }
    });
    let calls: Vec<_> = registry.requests().iter().map(|it| it.path.clone()).collect();
    assert!(calls.iter().all(|path| !path.contains("secret")), "{calls:?}");
    served.get(&Served::path(&registry, "vmlinuz")).is(&layers.kernel, "after all of that");
    let log = served.stop();
    assert!(!log.contains("a fault of this program") && !log.contains("panicked"), "{log}");
    assert!(log.bytes().all(|byte| byte == b'\n' || !byte.is_ascii_control()));
}

#[test]
fn slow_clients_keep_nobody_waiting() {
    let (scratch, registry, layers) = bench();
    let served = Served::start(&scratch, &[&name(&registry)]);
    let path = Served::path(&registry, "rootfs.raw");
    // Some ask and take nothing, some never ask.
    let mut held = Vec::new();
    for n in 0..100 {
        let mut socket = TcpStream::connect(&served.address).unwrap();
        let request = match n % 2 {
            0 => format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n"),
            _ => "GET /bo".to_owned(),
        };
        socket.write_all(request.as_bytes()).unwrap();
        held.push(socket);
    }
    served.get(&path).is(&layers.rootfs, "beside them");
    let answer =
        raw(&served.address, b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert!(answer.ends_with(b"ok\n"));
    // They can have the rest when they want it.
    let mut first = held.swap_remove(0);
    let mut got = Vec::new();
    while got.len() < layers.rootfs.len() {
        let mut block = vec![0; 1 << 20];
        let n = first.read(&mut block).unwrap();
        assert!(n > 0, "{} bytes", got.len());
        got.extend_from_slice(&block[..n]);
    }
    assert!(
        layers.rootfs.starts_with(&got[got.len() - 1000..])
            || layers.rootfs.ends_with(&got[got.len() - 1000..])
    );
    drop(held);
    served.stop();
}

//! Many clients for a large layer that nobody has asked for before: one transfer, within a bound of
//! memory, and the right bytes for everybody.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Barrier;

use super::{Layers, Served};
use crate::common::Scratch;
use crate::common::answer::Content;
use crate::common::registry::Registry;
use crate::common::remote::{CONFIG, KERNEL, MANIFEST, descriptor, name};
use serde_json::json;

/// Serves a layer of so many bytes to so many clients at once, beside some who take nothing.
fn load(size: u64, clients: usize, idle: usize, memory: u64) {
    let (scratch, registry) = (Scratch::new(), Registry::start());
    let layers = Layers::new(1);
    let rootfs = Content::pages(7, size);
    let config = b"{}".to_vec();
    let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST,
        "config": descriptor(CONFIG, &config),
        "layers": [
            {"mediaType": super::ROOTFS, "digest": rootfs.digest().to_string(), "size": size},
            descriptor(KERNEL, &layers.kernel)]});
    registry.put_blob("os", Content::bytes(config));
    registry.put_blob("os", Content::bytes(layers.kernel.clone()));
    registry.put_blob("os", rootfs.clone());
    registry.put_manifest("os", Some("v1"), MANIFEST, manifest.to_string());
    let served = Served::start(&scratch, &[&name(&registry)]);
    let (path, address) = (Served::path(&registry, "rootfs.raw"), served.address.clone());
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    let held: Vec<_> = (0..idle)
        .map(|_| {
            let mut socket = TcpStream::connect(&address).unwrap();
            socket.write_all(request.as_bytes()).unwrap();
            socket
        })
        .collect();
    let barrier = Barrier::new(clients);
    std::thread::scope(|scope| {
        for _ in 0..clients {
            let (barrier, rootfs, address, request) = (&barrier, &rootfs, &address, &request);
            scope.spawn(move || {
                let mut socket = TcpStream::connect(address).unwrap();
                barrier.wait();
                socket.write_all(request.as_bytes()).unwrap();
                let mut head = Vec::new();
                let mut byte = [0];
                while !head.ends_with(b"\r\n\r\n") {
                    socket.read_exact(&mut byte).unwrap();
                    head.push(byte[0]);
                }
                assert!(head.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&head));
                let mut block = vec![0; 64 * 1024];
                let compared = rootfs.each(block.len(), |expected| {
                    let got = &mut block[..expected.len()];
                    socket.read_exact(got)?;
                    assert!(got == expected, "other bytes");
                    Ok(())
                });
                compared.unwrap();
                assert_eq!(socket.read(&mut byte).unwrap(), 0, "more than there is");
            });
        }
    });
    assert_eq!(served.counter("fetches_total"), 1);
    assert_eq!(registry.count("GET blob"), 2, "the config and the layer");
    let peak = served.running.peak();
    assert!(peak <= memory, "{peak} bytes of memory");
    drop(held);
    served.stop();
}

#[test]
fn sixty_clients_for_a_layer() {
    load(20_000_000, 60, 30, 64 << 20);
}

#[test]
#[ignore = "it takes minutes"]
fn two_hundred_clients_for_a_disk() {
    load(450_000_000, 200, 100, 64 << 20);
}

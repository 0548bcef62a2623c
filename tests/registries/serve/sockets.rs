//! Sockets, certificates and signals.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use super::{Served, bench, launch};
use crate::common::pki::Pki;
use crate::common::remote::name;

/// Fetches over TLS, by curl.
fn curl(scratch: &crate::common::Scratch, ca: &str, url: &str) -> crate::common::run::Run {
    scratch.program("curl").args(["-sS", "--cacert", ca, url]).run()
}

#[test]
fn tls_and_another_certificate_while_it_runs() {
    let (scratch, registry, layers) = bench();
    let [first, second] = ["first", "second"].map(|name| Pki::new(&scratch, name));
    let text = |path: &std::path::Path| path.to_str().unwrap().to_owned();
    let copy = |pki: &Pki| {
        std::fs::copy(&pki.server.certificate, scratch.path("cert.pem")).unwrap();
        std::fs::copy(&pki.server.key, scratch.path("key.pem")).unwrap();
    };
    copy(&first);
    let args = [&*name(&registry), "--tls-cert", "cert.pem", "--tls-key", "key.pem"];
    let mut served = Served::start(&scratch, &args);
    let url = |file| format!("https://{}{}", served.address, Served::path(&registry, file));
    let [kernel, rootfs] = ["vmlinuz", "rootfs.raw"].map(url);
    let [first_ca, second_ca] = [&first.ca, &second.ca].map(|ca| text(ca));
    assert!(curl(&scratch, &first_ca, &kernel).bytes_ok() == layers.kernel);
    assert!(curl(&scratch, &first_ca, &rootfs).bytes_ok() == layers.rootfs);
    assert_ne!(curl(&scratch, &second_ca, &kernel).code, 0);

    let hang_up = |served: &mut Served, said: &str| {
        let before = served.log().matches(said).count();
        served.running.signal(rustix::process::Signal::HUP);
        for _ in 0..2000 {
            if served.log().matches(said).count() > before {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("{said} is not said: {}", served.log());
    };
    scratch.write("key.pem", "nonsense");
    hang_up(&mut served, "nothing was read anew");
    assert!(curl(&scratch, &first_ca, &kernel).bytes_ok() == layers.kernel);
    copy(&second);
    hang_up(&mut served, "osimage: read anew");
    assert!(curl(&scratch, &second_ca, &kernel).bytes_ok() == layers.kernel);
    assert_ne!(curl(&scratch, &first_ca, &kernel).code, 0);
    served.stop();
}

#[test]
fn an_answer_that_has_begun_ends_before_the_server_does() {
    let (scratch, registry, layers) = bench();
    let mut served = Served::start(&scratch, &[&name(&registry)]);
    let path = Served::path(&registry, "rootfs.raw");
    served.get(&path).is(&layers.rootfs, "into the cache");
    let mut socket = TcpStream::connect(&served.address).unwrap();
    socket.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).unwrap();
    let mut got = vec![0; 1000];
    socket.read_exact(&mut got).unwrap();
    served.running.signal(rustix::process::Signal::TERM);
    let address = served.address.clone();
    served.wait_until("nobody is let in", || TcpStream::connect(&address).is_err());
    socket.read_to_end(&mut got).unwrap();
    assert!(got.ends_with(&layers.rootfs), "{} bytes", got.len());
    served.running.end().ok();
}

#[test]
fn sockets_may_be_handed_over() {
    let (scratch, registry, layers) = bench();
    // As systemd starts a service (sd_listen_fds(3)).
    let activate = r#"
import os, socket, sys
server = socket.socket() if "--silent" in sys.argv else socket.create_server(("127.0.0.1", 0))
sys.argv = [it for it in sys.argv if it != "--silent"]
print("serving on http://%s:%d" % server.getsockname(), file=sys.stderr, flush=True)
os.dup2(server.fileno(), 3)
os.set_inheritable(3, True)
os.environ["LISTEN_FDS"] = "1"
os.environ["LISTEN_PID"] = str(os.getpid())
os.execv(sys.argv[1], sys.argv[1:])
"#;
    let image = name(&registry);
    let program = env!("CARGO_BIN_EXE_osimage");
    let args = ["-c", activate, program, "serve", "--cache", "cache", &*image];
    let served = Served::of(scratch.program("python3").args(args));
    served.get(&Served::path(&registry, "vmlinuz")).is(&layers.kernel, "handed over");
    served.stop();
    // Both make no sense.
    let args = ["-c", activate, program, "serve", "--listen", "127.0.0.1:0", &*image];
    let _ = scratch.program("python3").args(args).fails(2);
    let args = ["-c", activate, program, "--silent", "serve", "--cache", "cache", &*image];
    let run = scratch.program("python3").args(args).run();
    run.says(&["the socket 0 that was handed over", "nobody listens on it"]).fails(2);
}

#[test]
fn records_are_lines_or_json() {
    let (scratch, registry, _) = bench();
    let mut served = Served::of(launch(&scratch, &[&name(&registry), "--json"]));
    let path = Served::path(&registry, "cmdline");
    served.get(&format!("{path}?token=hunter2"));
    served.get("/nowhere");
    let seen = |log: &str| log.lines().filter(|line| line.starts_with('{')).count() == 2;
    for _ in 0..2000 {
        if seen(&served.log()) {
            break;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    served.wait_until("two records", || true);
    let log = served.stop();
    let records: Vec<serde_json::Value> = log
        .lines()
        .filter(|line| line.starts_with('{'))
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let shown: Vec<_> =
        records.iter().map(|it| (&it["path"], &it["status"], &it["bytes"])).collect();
    assert_eq!(shown[0], (&path.into(), &200.into(), &19.into()), "{log}");
    assert_eq!(shown[1].1, &serde_json::Value::from(404), "{log}");
    assert!(!log.contains("hunter2"), "{log}");
}

//! Real registries, each started for one test on a loopback port with a folder of its own, and
//! stopped at the test's end: Debian's docker-registry, nginx before it, crane's and
//! ferro-oci-server. One that is not installed is none.

use std::fs::File;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::pki::Pki;
use super::token::{SERVICE, TokenServer};
use super::{Scratch, peer, success};

/// A server that does not answer by then has failed.
const START_TICKS: usize = 1500;
const TICK: Duration = Duration::from_millis(20);
/// A port that was free may be taken before the server gets it.
const ATTEMPTS: usize = 5;

/// A running server, which ends with this value.
pub struct Server {
    /// `127.0.0.1:PORT`, as it stands in a reference.
    pub host: String,
    tls: bool,
    child: Child,
    scratch: Scratch,
}

impl Server {
    pub fn url(&self, path: &str) -> String {
        format!("http{}://{}{path}", if self.tls { "s" } else { "" }, self.host)
    }

    /// What the server has said.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.scratch.path("log")).unwrap_or_default()
    }

    /// Where the server keeps what it was given.
    pub fn storage(&self) -> PathBuf {
        self.scratch.path("storage")
    }

    /// Starts a command that finds a free port itself, which `port` finds in what it says.
    fn start(
        scratch: Scratch,
        tls: bool,
        command: &mut Command,
        port: impl Fn(&str) -> Option<u16>,
    ) -> Option<Server> {
        let log = File::create(scratch.path("log")).expect("a log");
        command
            .current_dir(scratch.path(""))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log);
        let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let mut server = Server { host: String::new(), tls, child, scratch };
        for _ in 0..START_TICKS {
            if let Some(port) = port(&server.log()) {
                server.host = format!("127.0.0.1:{port}");
                return Some(server);
            }
            if server.child.try_wait().expect("wait").is_some() {
                return None;
            }
            std::thread::sleep(TICK);
        }
        panic!("{command:?} does not answer: {}", server.log());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The number after `text`, up to what is no digit.
fn number_after(log: &str, text: &str) -> Option<u16> {
    let rest = &log[log.find(text)? + text.len()..];
    // The line must be whole.
    rest.find(|c: char| !c.is_ascii_digit()).and_then(|end| rest[..end].parse().ok())
}

/// How docker-registry checks who somebody is.
pub enum DockerAuth<'a> {
    Open,
    /// Basic, with users and passwords.
    Basic(&'a [(&'a str, &'a str)]),
    /// Bearer, with tokens of this server.
    Bearer(&'a TokenServer),
    /// A Bearer challenge with this realm, and any Authorization is taken.
    Silly(&'a str),
}

/// Debian's docker-registry, with deletion.
pub fn docker_registry(auth: &DockerAuth<'_>, tls: Option<&Pki>) -> Option<Server> {
    let program = peer("docker-registry")?;
    let scratch = Scratch::new();
    let auth = match auth {
        DockerAuth::Open => String::new(),
        DockerAuth::Basic(users) => {
            let htpasswd = peer("htpasswd")?;
            let line = |(user, password): &(&str, &str)| {
                success(Command::new(&htpasswd).args(["-Bbn", user, password]), "htpasswd")
            };
            let users: String = users.iter().map(line).collect();
            format!(
                "auth: {{htpasswd: {{realm: test, path: '{}'}}}}\n",
                scratch.write("users", users).display()
            )
        }
        DockerAuth::Bearer(server) => {
            let certificate = server.certificate(&scratch);
            let (realm, certificate) = (server.realm(), certificate.display());
            format!(
                "auth: {{token: {{realm: '{realm}', service: {SERVICE}, issuer: osimage-tests, rootcertbundle: '{certificate}'}}}}\n"
            )
        }
        DockerAuth::Silly(realm) => {
            format!("auth: {{silly: {{realm: '{realm}', service: {SERVICE}}}}}\n")
        }
    };
    let https = tls.map_or(String::new(), |pki| {
        format!(
            ", tls: {{certificate: '{}', key: '{}'}}",
            pki.server.certificate.display(),
            pki.server.key.display()
        )
    });
    let config = format!(
        "version: 0.1\n\
         log: {{level: info, accesslog: {{disabled: true}}}}\n\
         storage: {{filesystem: {{rootdirectory: '{}'}}, delete: {{enabled: true}}}}\n\
         http: {{addr: '127.0.0.1:0'{https}}}\n\
         {auth}",
        scratch.path("storage").display(),
    );
    let config = scratch.write("config.yml", config);
    let mut command = Command::new(program);
    command.env_clear().arg("serve").arg(config);
    let server = Server::start(scratch, tls.is_some(), &mut command, |log| {
        number_after(log, "listening on 127.0.0.1:")
    });
    Some(server.expect("docker-registry starts"))
}

/// `crane registry serve`.
pub fn crane_registry() -> Option<Server> {
    let program = peer("crane")?;
    let scratch = Scratch::new();
    let storage = scratch.path("storage");
    std::fs::create_dir(&storage).expect("a folder");
    let mut command = Command::new(program);
    command.args(["registry", "serve", "--address", "127.0.0.1:0", "--disk"]).arg(storage);
    let server =
        Server::start(scratch, false, &mut command, |log| number_after(log, "serving on port "));
    Some(server.expect("crane starts"))
}

/// ferro-oci-server, which has the referrers API.
pub fn ferro_registry() -> Option<Server> {
    let program = peer("ferro-oci-server")?;
    on_free_port(|port| {
        let scratch = Scratch::new();
        let mut command = Command::new(&program);
        command
            .env_clear()
            .env("FERRO_OCI_LISTEN", format!("127.0.0.1:{port}"))
            .env("FERRO_OCI_STORAGE_DIR", scratch.path("storage"));
        // It says so once it listens, before the colours of what follows.
        Server::start(scratch, false, &mut command, |log| log.contains("listening").then_some(port))
    })
}

/// What nginx demands, or does, before another server.
#[derive(Clone, Copy)]
pub enum Nginx<'a> {
    /// TLS with a certificate of the client's.
    ClientCertificates(&'a Pki),
    /// Plain, and a longer request is answered with 413.
    BodyLimit(u64),
    /// Plain, and whoever wants a blob is sent to another server, which wants to see what stands in
    /// the address.
    SignedAddresses,
}

/// nginx before a plain server.
pub fn nginx(before: &Server, how: Nginx<'_>) -> Option<Server> {
    let program = peer("nginx")?;
    on_free_port(|port| {
        let scratch = Scratch::new();
        let folder = scratch.path("");
        let (before, mut more) = (&before.host, String::new());
        let (listen, how) = match how {
            Nginx::ClientCertificates(pki) => {
                let (certificate, key, ca) =
                    (pki.server.certificate.display(), pki.server.key.display(), pki.ca.display());
                let settings = format!(
                    "ssl_certificate '{certificate}'; ssl_certificate_key '{key}'; ssl_client_certificate '{ca}'; \
                     ssl_verify_client on; client_max_body_size 0;"
                );
                (format!("127.0.0.1:{port} ssl"), settings)
            }
            Nginx::BodyLimit(bytes) => {
                (format!("127.0.0.1:{port}"), format!("client_max_body_size {bytes};"))
            }
            Nginx::SignedAddresses => {
                let other = free_port();
                let settings = format!(
                    "client_max_body_size 0;\n\
                     location ~ ^/v2/.+/blobs/sha256: {{\n\
                       if ($request_method = GET) {{\n\
                         return 307 http://127.0.0.1:{other}$uri?signature=s3cret;\n\
                       }}\n\
                       proxy_pass http://{before}; proxy_set_header Host $http_host;\n\
                     }}"
                );
                more = format!(
                    "server {{\n\
                       listen 127.0.0.1:{other};\n\
                       if ($arg_signature != s3cret) {{ return 403; }}\n\
                       location / {{ proxy_pass http://{before}; proxy_http_version 1.1; }}\n\
                     }}"
                );
                (format!("127.0.0.1:{port}"), settings)
            }
        };
        let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("{kind}_temp_path {kind};"))
            .join(" ");
        let tls = listen.ends_with("ssl");
        let config = format!(
            "daemon off; master_process off; pid nginx.pid; error_log stderr warn;\n\
             events {{ }}\n\
             http {{\n\
               access_log off; {temporary}\n\
               server {{\n\
                 listen {listen}; {how}\n\
                 location / {{\n\
                   proxy_pass http://{before}; proxy_http_version 1.1; proxy_request_buffering off; proxy_buffering off;\n\
                   proxy_set_header Host $http_host; proxy_set_header X-Forwarded-Proto $scheme;\n\
                 }}\n\
               }}\n\
               {more}\n\
             }}\n"
        );
        let config = scratch.write("nginx.conf", config);
        let pid = scratch.path("nginx.pid");
        let mut command = Command::new(&program);
        command.arg("-p").arg(&folder).arg("-c").arg(config).args(["-e", "stderr"]);
        // The file comes once it listens; a port that is taken is tried again for a while before
        // nginx gives up.
        Server::start(scratch, tls, &mut command, |_| pid.exists().then_some(port))
    })
}

/// Starts a server that must be told its port.
fn on_free_port(start: impl Fn(u16) -> Option<Server>) -> Option<Server> {
    for _ in 0..ATTEMPTS {
        if let Some(server) = start(free_port()) {
            return Some(server);
        }
    }
    panic!("a server does not start");
}

fn free_port() -> u16 {
    let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
    free.local_addr().expect("an address").port()
}

//! Every kind of registry that there is here, for tests that hold for all of them, and how each
//! client is told to reach it.

use std::any::Any;

use serde_json::{Map, Value, json};

use super::Scratch;
use super::encode::base64;
use super::pki::Pki;
use super::registry::{Auth, Registry};
use super::run::Launch;
use super::servers::{
    DockerAuth, Nginx, Server, crane_registry, docker_registry, ferro_registry, nginx,
};
use super::token::TokenServer;

/// How a registry is reached.
#[derive(Clone, Copy, PartialEq)]
enum Wire {
    Plain,
    Tls,
    ClientCertificate,
}

/// A registry; its credentials are in the scratch folder's `.docker/config.json`, where every
/// client looks.
pub struct Place {
    pub name: &'static str,
    /// `127.0.0.1:PORT`
    pub host: String,
    /// Whether it has the referrers API.
    pub referrers: bool,
    wire: Wire,
    files: [String; 4],
    _servers: Vec<Box<dyn Any>>,
}

/// A registry of each kind that is installed.
pub fn places(scratch: &Scratch) -> Vec<Place> {
    let pki = Pki::new(scratch, "pki");
    let path = |path: &std::path::Path| path.to_str().expect("UTF-8").to_owned();
    // The folder in which skopeo looks for certificates.
    for (name, file) in [
        ("ca.crt", &pki.ca),
        ("client.cert", &pki.client.certificate),
        ("client.key", &pki.client.key),
    ] {
        let content = std::fs::read(file).expect("a PEM file");
        scratch.write(format!("certificates/{name}"), content);
    }
    let files = [
        path(&pki.ca),
        path(&pki.client.certificate),
        path(&pki.client.key),
        path(&scratch.path("certificates")),
    ];
    let (mut all, mut logins) = (Vec::new(), Map::new());
    let mut add = |name, host: String, wire, referrers, login: bool, servers: Vec<Box<dyn Any>>| {
        if login {
            logins.insert(host.clone(), json!({"auth": base64(b"alice:s3cret")}));
        }
        all.push(Place { name, host, referrers, wire, files: files.clone(), _servers: servers });
    };
    let tokens = TokenServer::start(None);
    for (name, auth, wire) in [
        ("own", Auth::Open, Wire::Plain),
        ("own, Basic", Auth::Basic("alice", "s3cret"), Wire::Plain),
        ("own, Bearer", Auth::Bearer(tokens.tokens.clone()), Wire::Plain),
        ("own, TLS", Auth::Open, Wire::Tls),
    ] {
        let login = !matches!(auth, Auth::Open);
        let own = Registry::with(auth, (wire == Wire::Tls).then(|| pki.tls()));
        add(name, own.host(), wire, true, login, vec![Box::new(own)]);
    }
    let mut real = |name, server: Option<Server>, wire, referrers, login| {
        if let Some(server) = server {
            add(name, server.host.clone(), wire, referrers, login, vec![Box::new(server)]);
        }
    };
    real("docker-registry", docker_registry(&DockerAuth::Open, None), Wire::Plain, false, false);
    real(
        "docker-registry, Basic",
        docker_registry(&DockerAuth::Basic(&[("alice", "s3cret")]), None),
        Wire::Plain,
        false,
        true,
    );
    real(
        "docker-registry, Bearer",
        docker_registry(&DockerAuth::Bearer(&tokens), None),
        Wire::Plain,
        false,
        true,
    );
    real(
        "docker-registry, any token",
        docker_registry(&DockerAuth::Silly(&tokens.realm()), None),
        Wire::Plain,
        false,
        true,
    );
    real(
        "docker-registry, TLS",
        docker_registry(&DockerAuth::Open, Some(&pki)),
        Wire::Tls,
        false,
        false,
    );
    real("crane", crane_registry(), Wire::Plain, false, false);
    real("ferro-oci-server", ferro_registry(), Wire::Plain, true, false);
    if let Some(plain) = docker_registry(&DockerAuth::Open, None)
        && let Some(front) = nginx(&plain, Nginx::ClientCertificates(&pki))
    {
        let host = front.host.clone();
        add(
            "docker-registry, client certificate",
            host,
            Wire::ClientCertificate,
            false,
            false,
            vec![Box::new(front), Box::new(plain)],
        );
    }
    scratch.write(".docker/config.json", json!({"auths": Value::Object(logins)}).to_string());
    // The token server lives as long as those that name it.
    all[0]._servers.push(Box::new(tokens));
    all
}

impl Place {
    /// The name of an image there.
    pub fn image(&self, rest: &str) -> String {
        format!("{}/{rest}", self.host)
    }

    /// The options of osimage, and those of oras for the only end.
    pub fn options(&self) -> Vec<String> {
        let [ca, certificate, key, _] = &self.files;
        let pairs: &[(&str, &String)] = match self.wire {
            Wire::Plain => &[],
            Wire::Tls => &[("--ca-file", ca)],
            Wire::ClientCertificate => {
                &[("--ca-file", ca), ("--cert-file", certificate), ("--key-file", key)]
            }
        };
        pairs.iter().flat_map(|(name, value)| [(*name).to_owned(), (*value).clone()]).collect()
    }

    /// The options of oras for one end: `""` for the only one, `"from-"` or `"to-"`.
    pub fn oras(&self, end: &str) -> Vec<String> {
        let plain = (self.wire == Wire::Plain).then(|| "--plain-http".to_owned());
        self.options()
            .into_iter()
            .chain(plain)
            .map(|option| option.replacen("--", &format!("--{end}"), 1))
            .collect()
    }

    /// The option of skopeo for one end: `""` for the only one, `"src-"` or `"dest-"`.
    pub fn skopeo(&self, end: &str) -> String {
        match self.wire {
            Wire::Plain => format!("--{end}tls-verify=false"),
            _ => format!("--{end}cert-dir={}", self.files[3]),
        }
    }

    pub fn wants_client_certificate(&self) -> bool {
        self.wire == Wire::ClientCertificate
    }

    /// Tells crane whom to trust; whether it can reach the registry, since it shows no client
    /// certificate.
    pub fn crane(&self, command: Launch) -> Option<Launch> {
        (!self.wants_client_certificate()).then(|| command.env("SSL_CERT_FILE", &self.files[0]))
    }
}

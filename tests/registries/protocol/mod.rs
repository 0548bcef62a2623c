//! Registries that read the distribution specification in their own way: what works with other
//! clients works here too, what is a lie is refused, and nothing is lost in between.

mod heads;
mod lists;
mod places;
mod uploads;
mod words;

use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use crate::common::http::Request;
use crate::common::registry::call_of;
use crate::common::remote::MANIFEST;
use osimage::Result;
use osimage::content::{self, Source};
use osimage::copy;
use osimage::digest::{Algorithm, Digest};
use osimage::graph::{Graph, Node};
use osimage::manifest::RawManifest;
use osimage::names::{RepositoryName, Tag};
use osimage::oci::Descriptor;
use osimage::registry::credentials::{Credentials, Environment};
use osimage::registry::{Access, Client, Repository, Settings};
use serde_json::json;

/// A client that waits for little.
fn client() -> Client {
    let settings = Settings::new()
        .pause(Duration::from_millis(1))
        .stall(Duration::from_secs(20))
        .certificate_folders([""; 0]);
    Client::new(settings, Credentials::new(Vec::new(), Environment::default()))
}

fn repository(client: &Client, host: &str) -> Repository {
    let name: RepositoryName = format!("{host}/os").parse().unwrap();
    client.repository(&name, Access::Push).unwrap()
}

/// A blob or a manifest in memory, and an empty config.
struct Memory(Vec<u8>);

impl Memory {
    fn descriptor(&self) -> Descriptor {
        Descriptor::of("application/octet-stream", &self.0)
    }

    fn node(&self) -> Node {
        Node::blob(self.descriptor())
    }
}

impl Source for Memory {
    fn origin(&self) -> String {
        "memory".into()
    }

    fn entries(&self) -> Result<Vec<Descriptor>> {
        Ok(Vec::new())
    }

    fn open(&self, descriptor: &Descriptor, offset: u64) -> Result<Box<dyn Read + '_>> {
        let is_config = descriptor.digest == Digest::of(b"{}");
        let bytes = if is_config { b"{}" } else { self.0.as_slice() };
        Ok(Box::new(&bytes[offset as usize..]))
    }

    fn file(&self, _: &Descriptor) -> Result<Option<(std::fs::File, u64)>> {
        Ok(None)
    }

    fn manifest(&self, descriptor: &Descriptor) -> Result<Arc<RawManifest>> {
        content::read_manifest(self, descriptor)
    }

    fn sequence(&self, _: &Digest) -> Option<u64> {
        None
    }

    fn listed_referrers(&self, _: &Digest) -> Result<Vec<Descriptor>> {
        self.entries()
    }

    fn tagged(&self, _: &[Tag]) -> Result<Vec<Descriptor>> {
        self.entries()
    }
}

fn is(call: &'static str) -> impl Fn(&Request) -> bool {
    move |request| call_of(request) == call
}

/// Attaches something to a digest too long for a tag, and finds it again; the tag of its list.
fn attach_to_a_long_digest(host: &str) -> String {
    let subject = Digest::with(Algorithm::Sha512, b"anything");
    let of =
        |digest: String, size: u64| json!({"mediaType": MANIFEST, "digest": digest, "size": size});
    let mut config = of(Digest::of(b"{}").to_string(), 2);
    config["mediaType"] = json!("application/vnd.oci.empty.v1+json");
    let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST, "artifactType": "a/b", "config": config, "layers": [], "subject": of(subject.to_string(), 8)});
    let source = Memory(manifest.to_string().into_bytes());
    let descriptor = Descriptor::of(MANIFEST, &source.0);
    let graph = Graph::read(&source, std::slice::from_ref(&descriptor), 1).unwrap();
    let client = client();
    let repository = repository(&client, host);
    copy::transfer(&source, graph.nodes(), &repository, &copy::Options::default()).unwrap();
    let listed = repository.referrers(&subject).unwrap();
    assert_eq!(listed.len(), 1, "{host}");
    assert_eq!(listed[0].digest, descriptor.digest, "{host}");
    format!("sha512-{}", &subject.hex()[..64])
}

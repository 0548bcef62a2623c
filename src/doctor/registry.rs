//! What a registry lets its user do: tried with a small image of our own, which is removed again.

use std::io::Read;
use std::num::NonZero;
use std::ops::Range;
use std::time::SystemTime;

use super::{Tell, Told};
use crate::digest::Digest;
use crate::error::Advice;
use crate::finding::{Finding, Level};
use crate::manifest::RawManifest;
use crate::memory::Memory;
use crate::names::{RepositoryName, Tag};
use crate::oci::{self, Descriptor, Manifest};
use crate::progress::Ended;
use crate::registry::credentials::Credential;
use crate::registry::{Access, Client, Knock, Repository};
use crate::{Error, Kind, Result};

/// The tag that our image gets; another run replaces it.
const TAG: &str = "osimage-doctor";
/// What our image is.
const TYPE: &str = "application/vnd.osimage.doctor";
/// How large its blobs are, in bytes.
const SIZE: usize = 64 << 10;
/// The pieces in which one of them is sent.
const PIECE: NonZero<u64> = NonZero::new(32 << 10).expect("it is not 0");
/// What is asked for of one of them.
const PART: Range<u64> = 1000..3000;

/// Tells what can be done in a repository: reaching it, being let in, pushing, pulling and all that
/// belongs to it. A repository that is called the same with `-mount` at its end is where a blob is
/// taken over to. Both are left as they were, where the registry lets things be deleted; else it is
/// told what stays.
pub fn registry(client: &Client, name: &RepositoryName, tell: &mut Tell<'_>) {
    let mut told = Told(tell);
    let knock = match client.knock(name.host()) {
        Ok(knock) => knock,
        Err(e) => return told.say("reach", Finding::of(Level::Lacks, &e)),
    };
    told.say("reach", reached(&knock));
    told.say("login", login(client, name, &knock));
    match Trial::begin(client, name) {
        Ok(trial) => {
            told.say("push", Finding::has(format!("into {name}")));
            trial.run(&mut told);
        }
        Err(e) => {
            told.say("push", Finding::of(Level::Lacks, &e));
            told.say("pull", listed(client, name));
        }
    }
}

fn reached(knock: &Knock) -> Finding {
    let proxy = knock.proxy.iter().map(|proxy| format!(", through the proxy {proxy}"));
    let folders = knock.certificates.iter().map(|dir| format!(", with {}", dir.display()));
    let around: String = proxy.chain(folders).collect();
    let millis = knock.took.as_secs_f64() * 1000.0;
    Finding::has(format!("{} answers in {millis:.1} ms{around}", knock.url))
}

/// Who we are to the registry.
fn login(client: &Client, name: &RepositoryName, knock: &Knock) -> Finding {
    let located = match client.credentials().locate(name.host().as_str(), name.path()) {
        Ok(located) => located,
        Err(e) => return Finding::of(Level::Lacks, &e),
    };
    let Some(located) = located else {
        return match &knock.asks {
            None => Finding::has("it asks nobody who they are"),
            Some(asks) => Finding {
                remedy: Some(Advice::LogIn { registry: name.host().to_string(), why: "" }),
                ..Finding::note(format!(
                    "it asks who is there ({asks}), and none are stored for it"
                ))
            },
        };
    };
    let who = match &located.credential {
        Credential::Basic { username, .. } => username.clone(),
        _ => "a token".to_owned(),
    };
    let shown = format!("{who}, from {}", located.place);
    match client.try_credential(name.host(), located.credential) {
        Ok(true) => Finding::has(shown),
        Ok(false) => Finding::has(format!("{shown}; it does not ask for that")),
        Err(e) => Finding { what: format!("{shown}: {e}"), ..Finding::of(Level::Lacks, &e) },
    }
}

/// Whether something could be pulled, where nothing of our own can be put there.
fn listed(client: &Client, name: &RepositoryName) -> Finding {
    let tags = client.repository(name, Access::Pull).and_then(|repository| repository.tags());
    let empty = || {
        Finding::note(format!("there is no {name} that could be pulled from"))
            .remedy("name a repository that is there")
    };
    match tags {
        Ok(tags) if tags.is_empty() => empty(),
        Ok(tags) => Finding::has(format!("{name} has {} tags", tags.len())),
        Err(e) if e.kind() == Kind::NotFound => empty(),
        Err(e) => Finding::of(Level::Lacks, &e),
    }
}

/// A small image in a repository.
struct Trial<'a> {
    client: &'a Client,
    push: Repository,
    content: Memory,
    config: Descriptor,
    layer: Descriptor,
    manifest: RawManifest,
    /// A blob that was sent in pieces.
    pieces: Option<Descriptor>,
    /// A manifest that is attached to the image.
    attached: Option<Descriptor>,
}

impl<'a> Trial<'a> {
    /// Puts it there.
    fn begin(client: &'a Client, name: &RepositoryName) -> Result<Self> {
        let mut content = Memory::default();
        let [config, layer] = ["config", "layer"].map(|what| add(&mut content, what));
        let manifest = manifest(&config, std::slice::from_ref(&layer), None)?;
        let push = client.repository(name, Access::Push)?;
        let trial =
            Trial { client, push, content, config, layer, manifest, pieces: None, attached: None };
        match trial.put() {
            Ok(()) => Ok(trial),
            Err(e) => {
                // It may have come half-way.
                trial.remove();
                Err(e)
            }
        }
    }

    fn put(&self) -> Result<()> {
        for blob in [&self.config, &self.layer] {
            self.push.put_blob(blob, &self.content)?;
        }
        self.push.put_manifest(&tag(), &self.manifest).map(drop)
    }

    /// Tries all that can be tried with it, and removes it.
    fn run(mut self, told: &mut Told<'_, '_>) {
        told.say("pull", self.pull().unwrap_or_else(|e| Finding::of(Level::Lacks, &e)));
        told.say("tags", self.tags().unwrap_or_else(|e| Finding::of(Level::Note, &e)));
        told.say("ranges", self.ranges().unwrap_or_else(|e| Finding::of(Level::Lacks, &e)));
        told.say("pieces", self.pieces().unwrap_or_else(|e| Finding::of(Level::Note, &e)));
        told.say("mount", self.mount().unwrap_or_else(|e| Finding::of(Level::Note, &e)));
        told.say("referrers", self.referrers().unwrap_or_else(|e| Finding::of(Level::Lacks, &e)));
        told.say("delete", self.remove());
    }

    fn pull(&self) -> Result<Finding> {
        let repository = self.client.repository(self.push.name(), Access::Pull)?;
        let is_ours = repository.manifest(&self.manifest.descriptor().digest)?.bytes()
            == self.manifest.bytes();
        let read = read(repository.open_blob(&self.layer, 0)?, self.push.name())?;
        if !is_ours || Digest::of(&read) != self.layer.digest {
            return Err(Error::invalid(format!("{} gives back something else", self.push.name()))
                .with_hint("do not use it; tell whoever runs the registry"));
        }
        Ok(Finding::has("what was pushed comes back"))
    }

    fn tags(&self) -> Result<Finding> {
        let tags = self.client.repository(self.push.name(), Access::Pull)?.tags()?;
        Ok(match tags.iter().any(|there| there == TAG) {
            true => Finding::has("can be listed"),
            false => Finding::note("the list lacks the tag that was just pushed")
                .remedy("wait before a list is relied on: the registry makes it later"),
        })
    }

    fn ranges(&self) -> Result<Finding> {
        let Some(part) = self.push.open_part(&self.layer, PART)? else {
            return Ok(Finding::note("blobs come only as a whole: an update fetches all of them")
                .remedy("ask whoever runs the registry, or what stands before it"));
        };
        let part = read(part, self.push.name())?;
        let whole =
            read(crate::content::Source::open(&self.content, &self.layer, 0)?, self.push.name())?;
        match whole.get(PART.start as usize..PART.end as usize) == Some(&part) {
            true => Ok(Finding::has("parts of blobs can be fetched")),
            false => Err(Error::invalid("another part of a blob came than was asked for")
                .with_hint("tell whoever runs the registry")),
        }
    }

    fn pieces(&mut self) -> Result<Finding> {
        let blob = add(&mut self.content, "pieces");
        self.push.put_in_pieces(&blob, &self.content, PIECE)?;
        self.pieces = Some(blob);
        Ok(Finding::has("a blob can be sent in several requests"))
    }

    fn mount(&self) -> Result<Finding> {
        let name: RepositoryName = format!("{}-mount", self.push.name()).parse()?;
        let repository =
            self.client.repository(&name, Access::Push)?.mounting_from(self.push.name());
        let ended = repository.put_blob(&self.layer, &self.content)?;
        let removed =
            self.client.repository(&name, Access::Delete)?.delete_blob(&self.layer.digest);
        let stays = match removed {
            Ok(()) => String::new(),
            Err(_) => format!("; a blob of {} KiB stays in {name}", SIZE >> 10),
        };
        Ok(match ended {
            Ended::Mounted => Finding::has(format!("{name} takes blobs over{stays}")),
            _ => Finding::note(format!("{name} takes nothing over, and is sent it again{stays}")),
        })
    }

    fn referrers(&mut self) -> Result<Finding> {
        let attached = manifest(&self.config, &[], Some(self.manifest.descriptor()))?;
        let digest = attached.descriptor().digest.clone();
        self.push.put_manifest(&digest, &attached)?;
        self.attached = Some(attached.descriptor().clone());
        let subject = &self.manifest.descriptor().digest;
        Ok(match self.push.listed_referrers(subject)? {
            Some(listed) if listed.iter().any(|entry| entry.digest == digest) => {
                Finding::has("the registry lists what is attached")
            }
            Some(_) => Finding::note("the registry's list lacks what was just attached")
                .remedy("wait before a list is relied on: the registry makes it later"),
            None => Finding::note(
                "no list of the registry's: what is attached is listed under a tag, which takes \
                 longer",
            ),
        })
    }

    /// Removes everything again.
    fn remove(&self) -> Finding {
        let name = self.push.name();
        let repository = match self.client.repository(name, Access::Delete) {
            Ok(repository) => repository,
            Err(e) => return Finding::of(Level::Note, &e),
        };
        let mut manifests: Vec<_> = self.attached.iter().collect();
        manifests.push(self.manifest.descriptor());
        for manifest in manifests {
            match repository.delete(&manifest.digest) {
                Err(e) if e.kind() != Kind::NotFound => {
                    let stays =
                        format!("the tag {TAG} stays in {name}, with blobs of some KiB: {e}");
                    return Finding { remedy: e.advice(), ..Finding::note(stays) };
                }
                _ => {}
            }
        }
        let stays = |blob: &&Descriptor| {
            // A registry may have taken it away with the manifest.
            !matches!(repository.has_blob(blob), Ok(false))
                && repository.delete_blob(&blob.digest).is_err()
        };
        match [&self.config, &self.layer].into_iter().chain(&self.pieces).filter(stays).count() {
            0 => Finding::has("manifests and blobs can be deleted; nothing of this stays"),
            count => Finding::note(format!(
                "manifests can be deleted; {count} of the blobs, of {} KiB, stay until the \
                 registry clears up",
                SIZE >> 10
            )),
        }
    }
}

fn tag() -> Tag {
    TAG.parse().expect("letters and a '-'")
}

/// Content that nobody else has, so that removing it takes nothing away.
fn add(content: &mut Memory, what: &str) -> Descriptor {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let seed = format!("{what} {} {}", now.as_nanos(), std::process::id());
    let lines = (0..).map(|n| Digest::of(format!("{seed} {n}").as_bytes()).to_string());
    let mut bytes: Vec<u8> = lines.flat_map(String::into_bytes).take(SIZE).collect();
    bytes.shrink_to_fit();
    let descriptor = Descriptor::new(TYPE, Digest::of(&bytes), bytes.len() as u64);
    content.add(bytes);
    descriptor
}

fn manifest(
    config: &Descriptor,
    layers: &[Descriptor],
    subject: Option<&Descriptor>,
) -> Result<RawManifest> {
    let mut manifest = Manifest::new(config.clone(), layers.to_vec());
    manifest.media_type = Some(oci::MANIFEST.to_owned());
    manifest.artifact_type = Some(TYPE.to_owned());
    manifest.subject = subject.cloned();
    RawManifest::new(oci::MANIFEST, manifest.to_bytes()?)
}

fn read(mut content: impl Read, from: &RepositoryName) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    content
        .read_to_end(&mut bytes)
        .map_err(|e| Error::network(format!("the connection to {} broke: {e}", from.host())))?;
    Ok(bytes)
}

//! Promoting an image: what has one name in a registry gets another one, there or elsewhere, with
//! all that is attached to it, and a record of that is attached too.
//!
//! The source is resolved once; from then on digests count. Within one repository nothing is copied:
//! the same manifest is put under the other tag. The record comes before the tag, so no tag moves
//! without one; a tag comes last, so whoever finds it finds all of it.

mod history;
mod needs;
mod record;
mod stages;
mod template;

use std::time::SystemTime;

pub use history::{History, Recorded};
pub use needs::{Demands, attested};
pub use record::Record;
pub use stages::{Need, Stage, Stages};

use crate::content::Overlay;
use crate::copy::Options;
use crate::digest::Digest;
use crate::error::Advice;
use crate::graph::Graph;
use crate::image::build::Inputs;
use crate::names::{Reference, Tag};
use crate::oci::Descriptor;
use crate::registry::{self, RemoteImage, Repository, Shipment};
use crate::trust::{self, Making, PublicKey, Signing};
use crate::{Error, Result, referrers, threads};

/// How an image is promoted, and to which name.
#[derive(Debug, Clone)]
pub struct Promotion<'a> {
    to: Reference,
    tag: Tag,
    time: SystemTime,
    may_move: bool,
    signing: Option<Signing<'a>>,
    stage: Option<String>,
}

impl<'a> Promotion<'a> {
    /// To a name, at a time, which the record tells.
    ///
    /// # Errors
    /// [`Error::Usage`] where the name has no tag, or a digest.
    pub fn new(to: &Reference, time: SystemTime) -> Result<Self> {
        let tag = match (to.tag(), to.digest()) {
            (Some(tag), None) => tag.clone(),
            (None, _) => {
                return Err(Error::usage(format!("{to} has no tag that could be promoted to"))
                    .with_hint(format!("say which: {}:TAG", to.repository())));
            }
            (Some(tag), Some(_)) => {
                return Err(Error::usage(format!("{to} has a digest; a tag is promoted to"))
                    .with_hint(format!("leave it out: {}:{tag}", to.repository())));
            }
        };
        let time = record::to_the_millisecond(time);
        Ok(Promotion { to: to.clone(), tag, time, may_move: false, signing: None, stage: None })
    }

    /// Whether the name may stand for another image until now.
    #[must_use]
    pub fn may_move(mut self, may_move: bool) -> Self {
        self.may_move = may_move;
        self
    }

    /// Who signs the image, and the images of an index, where that has not been done there, and the
    /// record. Without an identity the image is called as it is promoted to.
    #[must_use]
    pub fn signing(mut self, signing: Option<Signing<'a>>) -> Self {
        let identity = Some(trust::identity_of(&self.to));
        self.signing = signing.map(|signing| signing.or_identity(identity));
        self
    }

    /// The stage that the name is of, for the record.
    #[must_use]
    pub fn stage(mut self, stage: Option<String>) -> Self {
        self.stage = stage;
        self
    }

    /// The name.
    pub fn to(&self) -> &Reference {
        &self.to
    }

    /// Refuses to move the name from another image, but where it may.
    fn refuse_to_move(&self, image: &Descriptor, there: Option<&Descriptor>) -> Result<()> {
        match there.filter(|there| there.digest != image.digest && !self.may_move) {
            None => Ok(()),
            Some(other) => Err(Error::refused(format!(
                "{} is another image already, {}",
                self.to, other.digest
            ))
            .with_advice(Advice::AllowMove)),
        }
    }

    /// Whether a record says that an image came to the stage under this name, with the signatures of
    /// all who sign now.
    fn is_recorded(&self, one: &Recorded) -> bool {
        let record = one.record();
        let mut keys = self.signing.iter().flat_map(Signing::keys);
        record.to == self.to && record.stage == self.stage && keys.all(|key| one.is_by(key))
    }

    /// Finds the image, as `find` does it, and what the name stands for now, both at once.
    ///
    /// # Errors
    /// What `find` gives; as [`Repository::find`].
    ///
    /// # Panics
    /// Never: an image that is not found is an error.
    pub fn look(
        &self,
        find: impl Fn() -> Result<RemoteImage> + Sync,
        repository: &Repository,
    ) -> Result<(RemoteImage, Option<Descriptor>)> {
        let found = threads::map(2, &[true, false], |of_image| match of_image {
            true => Ok((Some(find()?), None)),
            false => Ok((None, repository.find(&self.tag)?)),
        })?;
        let (image, there): (Vec<_>, Vec<_>) = found.into_iter().unzip();
        let image = image.into_iter().flatten().next().expect("it was found, or is an error");
        Ok((image, there.into_iter().flatten().next()))
    }
}

/// What a promotion will do, before anything is written.
pub struct Plan<'a> {
    promotion: &'a Promotion<'a>,
    image: &'a RemoteImage,
    repository: &'a Repository,
    there: Option<Descriptor>,
    /// What has to go elsewhere; nothing, within one repository.
    graph: Graph,
    attached: Graph,
    /// Whether a record says that the image came to the stage, where the name stands for it already;
    /// without a stage nobody asks.
    recorded: bool,
}

impl<'a> Plan<'a> {
    /// Plans to promote an image to a name of a repository, which stands for `there` until now. What
    /// is attached to the image is looked for where it must go along, up to `jobs` lists at a time.
    ///
    /// # Errors
    /// [`Error::Refused`] where the name stands for another image, and may not move; as
    /// [`Graph::read`] and [`referrers::attached`].
    pub fn new(
        promotion: &'a Promotion<'a>,
        image: &'a RemoteImage,
        repository: &'a Repository,
        there: Option<Descriptor>,
        jobs: usize,
    ) -> Result<Self> {
        let entry = image.descriptor();
        promotion.refuse_to_move(entry, there.as_ref())?;
        let (graph, attached) = match image.repository().name() == repository.name() {
            true => Default::default(),
            false => {
                let graph = Graph::read(image, std::slice::from_ref(entry), jobs)?;
                let attached = referrers::attached(image, &graph, jobs)?;
                (graph, attached)
            }
        };
        let is_there = there.as_ref().is_some_and(|there| there.digest == entry.digest);
        let recorded = match &promotion.stage {
            Some(_) if is_there => {
                let history = History::of_image(repository, &entry.digest)?;
                history.records.iter().any(|one| promotion.is_recorded(one))
            }
            _ => true,
        };
        Ok(Plan { promotion, image, repository, there, graph, attached, recorded })
    }

    /// What the image reaches and has to be there; empty within one repository.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// What is attached to it and to its images, and goes along; empty within one repository.
    pub fn attached(&self) -> &Graph {
        &self.attached
    }

    /// The signatures that will be made, and those that are there.
    ///
    /// # Errors
    /// As [`Signing::plan`].
    pub fn signatures(&self) -> Result<Making> {
        let mut making = Making::default();
        if let Some(signing) = &self.promotion.signing {
            for image in trust::images(self.image, self.image.descriptor())? {
                making.extend(signing.plan(self.repository, &image)?);
            }
        }
        Ok(making)
    }

    /// The record that will be attached; none, where the name stands for the image already, and a
    /// record says that it came to the stage.
    pub fn record(&self) -> Option<Record> {
        self.record_over(self.there.as_ref())
    }

    /// The record, where the name stands for `there` now.
    fn record_over(&self, there: Option<&Descriptor>) -> Option<Record> {
        let Promotion { to, time, signing, stage, .. } = self.promotion;
        let (digest, previous) = (&self.image.descriptor().digest, there.map(|it| &it.digest));
        // A later stage asks for the record of this one, however the name came to the image.
        let is_there = previous == Some(digest);
        let previous = previous.filter(|_| !is_there);
        (!is_there || !self.recorded).then(|| Record {
            from: self.image.reference().clone(),
            to: to.clone(),
            digest: digest.clone(),
            previous: previous.cloned(),
            stage: stage.clone(),
            by: signing.iter().flat_map(Signing::keys).map(PublicKey::fingerprint).collect(),
            time: *time,
        })
    }

    /// Does it. What is there is not sent again. What goes elsewhere goes first, by its digest; what
    /// the name stands for is looked up again after that, since it may take long. Then the record
    /// comes, and the tag last.
    ///
    /// # Errors
    /// [`Error::Refused`] where the name has come to stand for another image meanwhile, and may not
    /// move; what the registries and the keys give. Then the name stands for what it stood for.
    pub fn perform(&self, options: &Options<'_>) -> Result<Promoted> {
        let Plan { promotion, image, repository, graph, attached, .. } = self;
        let entry = image.descriptor();
        let made = Inputs::default();
        let both = Overlay::new(&made, *image);
        let attached = match &promotion.signing {
            None => attached.clone(),
            Some(signing) => {
                let images = trust::images(*image, entry)?;
                signing.join(*repository, &images, attached, &both, &made)?
            }
        };
        let mut there = self.there.clone();
        if graph.nodes().is_empty() {
            registry::push_attached(&both, &attached, repository, options)?;
        } else {
            let (by_digest, shipment) =
                (promotion.to.with_digest(&entry.digest), Shipment::new(entry, graph, &attached));
            registry::push(&both, &shipment, repository, &by_digest, false, options)?;
            there = repository.find(&promotion.tag)?;
            promotion.refuse_to_move(entry, there.as_ref())?;
        }
        let Some(record) = self.record_over(there.as_ref()) else { return Ok(Promoted::default()) };
        let records = record.attachments(entry, promotion.signing.as_ref(), &made)?;
        let records = Graph::read(&made, &records, options.at_once())?;
        registry::push_new(&made, &records, repository, options)?;
        repository.put_manifest(&promotion.tag, image.root())?;
        let records = records.entries().iter().map(|entry| entry.digest.clone()).collect();
        Ok(Promoted { record: Some(record), records })
    }
}

/// What a promotion did.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Promoted {
    /// What was recorded; nothing, where the name stood for the image already.
    pub record: Option<Record>,
    /// The manifests that were attached with the record: one, or one of each key.
    pub records: Vec<Digest>,
}

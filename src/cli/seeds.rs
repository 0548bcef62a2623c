//! What an update may take over: the arguments, and what serves without being named.

use std::path::Path;

use osimage::image::{Image, select};
use osimage::layout::Layout;
use osimage::names::{Reference, Selector};
use osimage::oci::Descriptor;
use osimage::update::{Cost, Seed, Updating};
use osimage::{Error, Kind, Result, content};

use super::context::Context;
use super::output;

/// What has parts of the image already.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct SeedArgs {
    /// Take over what an older version has: a layer's file, a folder of them, a disk, or an image of
    /// the store; can be repeated [default: the same image's other versions in the store, and what
    /// is in the folder that is written to]
    #[arg(long, value_name = "PATH|REF")]
    seed: Vec<String>,
}

impl SeedArgs {
    /// Whether any is named.
    pub fn is_given(&self) -> bool {
        !self.seed.is_empty()
    }

    /// The seeds that are named, else the image's other versions in the store.
    pub fn seeds_of(&self, context: &Context, image: &Reference) -> Result<Vec<Seed>> {
        match self.is_given() {
            true => self.named(context),
            false => Ok(of_versions(image, context.store().ok().as_ref())),
        }
    }

    /// The seeds that are named.
    fn named(&self, context: &Context) -> Result<Vec<Seed>> {
        let mut seeds = Vec::new();
        for text in &self.seed {
            let path = Path::new(text);
            if path.is_dir() {
                seeds.extend(Seed::in_folder(path)?);
            } else if path.exists() {
                seeds.push(Seed::open(path)?);
            } else {
                seeds.extend(of_store(text, context)?);
            }
        }
        Ok(seeds)
    }

    /// The seeds that are named, else what is there: in the folder or the layout that is written to,
    /// and in the store.
    pub fn seeds(
        &self,
        context: &Context,
        image: &Reference,
        folder: Option<&Path>,
        layout: Option<&Path>,
    ) -> Result<Vec<Seed>> {
        if !self.seed.is_empty() {
            let seeds = self.named(context)?;
            let named = folder.or(layout).map(Path::to_owned);
            let target = named.or_else(|| context.store_path().ok());
            // What is not there yet will lie where the folder lies that is.
            let target = target.and_then(|path| std::path::absolute(path).ok());
            let there = target.iter().flat_map(|path| path.ancestors()).find(|path| path.exists());
            if let Some(there) = there {
                seeds.iter().try_for_each(|seed| seed.refuse_target(there))?;
            }
            return Ok(seeds);
        }
        let mut seeds = folder.map_or(Ok(Vec::new()), Seed::in_folder)?;
        // What is not there has nothing.
        let store = context.store().ok();
        let layout = layout.and_then(|path| Layout::open(path).ok());
        for layout in [layout.as_ref(), store.as_ref()] {
            seeds.extend(of_versions(image, layout));
        }
        Ok(seeds)
    }
}

/// The layers of an image's other versions in a layout; what is not there has none.
fn of_versions(image: &Reference, layout: Option<&Layout>) -> Vec<Seed> {
    layout.map(|layout| Seed::of_repository(layout, image.repository())).unwrap_or_default()
}

/// Says what an update would fetch of some pieces that are not there.
pub fn forecast<'n>(
    source: &Updating<'_, '_>,
    pieces: impl Iterator<Item = &'n Descriptor>,
    as_json: bool,
) -> Result<()> {
    let mut all = Cost::default();
    for piece in pieces {
        all = all.plus(source.cost(piece)?.unwrap_or_else(|| Cost::whole(piece)));
    }
    match as_json {
        true => output::json(&all),
        false => output::line(&format!("would fetch {}", told(all))),
    }
}

/// What an update costs, as it stands in a sentence.
pub fn told(cost: Cost) -> String {
    format!(
        "{} of {} in {} requests ({:.1} %), and take over {}",
        output::size(cost.fetched),
        output::size(cost.size),
        cost.requests,
        cost.percent(),
        output::size(cost.reused)
    )
}

/// The layers of an image of the store.
fn of_store(text: &str, context: &Context) -> Result<Vec<Seed>> {
    let unknown = |e: Error| match e.kind() {
        Kind::NotFound | Kind::Usage => {
            Error::not_found(format!("{text} is no file, and no image of the store"))
                .with_hint("name an older version of a layer, a disk, or an image of the store")
        }
        _ => e,
    };
    let selector: Selector = text.parse().map_err(unknown)?;
    let store = context.store().map_err(unknown)?;
    let entry = content::resolve(&store, Some(&selector)).map_err(unknown)?;
    let entry = select::one(&store, &entry, None)?;
    let layers = Seed::of_image(&store, &Image::read(&store, &entry)?)?;
    Ok(layers.into_iter().map(|(_, seed)| seed).collect())
}

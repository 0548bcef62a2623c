//! What there is to work with: what this machine has, and what a registry lets its user do.
//!
//! Nothing is guessed from names and versions: what can be tried is tried. A registry gets a small
//! image of our own, which is removed again; what cannot be removed is told.
//!
//! ```no_run
//! use osimage::doctor;
//! use osimage::registry::{Client, Settings, credentials::Credentials};
//! # fn main() -> osimage::Result<()> {
//! let client = Client::new(Settings::new(), Credentials::from_env(Vec::new()));
//! doctor::registry(&client, &"localhost:5000/try/it".parse()?, &mut |found| {
//!     println!("{}: {}", found.topic, found.finding.what);
//! });
//! # Ok(())
//! # }
//! ```

mod machine;
mod registry;

pub use machine::machine;
pub use registry::registry;

use crate::finding::Finding;

/// Something that was found out about a topic, such as `push` or `disk`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Found {
    /// What it is about.
    pub topic: &'static str,
    /// What there is, or is not.
    pub finding: Finding,
}

/// Whom each finding is told as soon as there is one.
pub type Tell<'a> = dyn FnMut(Found) + 'a;

/// What knows whom to tell.
struct Told<'a, 'b>(&'a mut Tell<'b>);

impl Told<'_, '_> {
    fn say(&mut self, topic: &'static str, finding: Finding) {
        (self.0)(Found { topic, finding });
    }
}

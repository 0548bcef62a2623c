//! osimage ships operating systems the way containers are shipped.

pub mod archive;
pub mod compress;
pub mod content;
pub mod copy;
pub mod digest;
pub mod error;
pub mod features;
pub mod file;
pub mod image;
pub mod json;
pub mod layout;
pub mod oci;
pub mod reference;
pub mod verify;

pub use error::{Error, Kind, Result};

//! osimage ships operating systems the way containers are shipped.

pub mod digest;
pub mod error;
pub mod json;
pub mod oci;

pub use error::{Error, Kind, Result};

//! osimage ships operating systems the way containers are shipped.

pub mod error;
pub mod features;

pub use error::{Error, Result};

//! osimage ships operating systems the way containers are shipped.

pub mod compress;
pub mod error;

pub use error::{Error, Result};

//! osimage ships operating systems the way containers are shipped.

pub mod error;

pub use error::{Error, Result};

//! Tests that need no registry: commands on stores, layouts and archives, formats, hostile input,
//! other tools' files, and what the documentation shows.

#![allow(
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a test fails by panicking, and says what it leaves out"
)]

#[path = "../common/mod.rs"]
mod common;

mod archive_meanings;
mod archive_updates;
mod check;
mod cli;
mod compress;
mod credentials;
mod deploy;
mod diff;
mod docs;
mod dropin;
mod errors;
mod features;
mod foreign;
mod formats;
mod harness;
mod hostile;
mod hostile_archives;
mod house;
mod import;
mod interop;
#[cfg(feature = "keyless")]
mod keyless;
mod keys;
mod limits;
mod locks;
mod mkosi;
mod netboot;
mod rootfs;
mod sbom;
mod store;
mod terminal;
mod upkeep;

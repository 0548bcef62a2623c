//! Disks that are deployed out of registries: with seeds, over lines that break, and by a program
//! that is killed at any moment.

mod kills;
mod seeds;
mod servers;

pub use crate::update::{Bench, How, put, versions};

pub const MIB: usize = 1 << 20;

//! Tests against registries: real ones, and one of the tests' own that misbehaves on order.

#![allow(
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a test fails by panicking, and says what it leaves out"
)]

#[path = "../common/mod.rs"]
mod common;

mod access;
mod admission;
mod along;
mod artifacts;
mod attach;
mod attacks;
mod bundle;
mod certificates;
mod deploy;
mod diff;
mod doctor;
mod documents;
mod dropin;
mod examples;
mod fat;
mod faults;
mod gardenlinux;
mod hostile;
mod indexes;
mod info_container;
mod kills;
mod limits;
mod locks;
mod logins;
mod messages;
mod netboot;
mod own_servers;
mod parallel;
mod policies;
mod promote;
mod protocol;
mod publish;
mod push_all;
mod queries;
mod races;
mod resumed;
mod sendfile;
mod serve;
mod servers;
mod told;
mod transfers;
mod trust;
mod update;

//! Promoting: an image gets another name with all that belongs to it, and a record of that; what is
//! asked for it, what is written, and what is left where it is ended.

mod lines;
mod moves;
mod needs;
mod races;
mod release;
mod stages;

use serde_json::Value;

use crate::common::Scratch;
use crate::common::registry::Registry;
use crate::common::run::Launch;

/// The exit code where a tag would move.
const TAKEN: i32 = 7;

/// What history shows, as JSON.
fn history(scratch: &Scratch, image: &str, more: &[&str]) -> Value {
    let shown = scratch.osimage(["history", image, "--format", "json"]).args(more).ok();
    serde_json::from_str(&shown).unwrap()
}

/// A field of each record, in their order.
fn each<'a>(history: &'a Value, field: &str) -> Vec<&'a str> {
    let records = history["records"].as_array().unwrap().iter();
    records.map(|record| record[field].as_str().unwrap_or_default()).collect()
}

fn promote(scratch: &Scratch, from: &str, to: &str, more: &[&str]) -> Launch {
    scratch.osimage(["promote", from, to]).args(more)
}

/// The requests that write something.
fn written(registry: &Registry) -> Vec<String> {
    let reads = |call: &String| call.starts_with("GET ") || call.starts_with("HEAD ");
    registry.calls().into_iter().filter(|call| !reads(call)).collect()
}

//! Attacks on stores: what a layout's folder from elsewhere, and the documents in it, could try.
//! Each test is named after what the attacker does.

mod content;
mod documents;
mod links;
mod titles;

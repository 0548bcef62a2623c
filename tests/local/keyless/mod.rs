//! Signatures by identities: bundles of others, and attacks on some of our own.

mod attacks;
mod conformance;

//! The program `osimage`.

fn main() {}

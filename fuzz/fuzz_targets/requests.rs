#![no_main]

osimage_fuzz::fuzz!("requests");

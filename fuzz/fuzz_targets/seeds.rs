#![no_main]

osimage_fuzz::fuzz!("seeds");

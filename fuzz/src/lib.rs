//! What the fuzz targets share: each gives its bytes to the function of its name in
//! `osimage::fuzzing`, with a folder that goes away.

pub use {libfuzzer_sys, osimage, tempfile};

/// A target of libFuzzer.
#[macro_export]
macro_rules! fuzz {
    ($name:literal) => {
        use $crate::libfuzzer_sys;

        $crate::libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
            thread_local! {
                static FOLDER: $crate::tempfile::TempDir =
                    $crate::tempfile::tempdir().expect("a folder");
            }
            FOLDER.with(|folder| $crate::osimage::fuzzing::target($name)(bytes, folder.path()));
        });
    };
}

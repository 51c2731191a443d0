//! libFuzzer around the one target that `RINGBOLT_FUZZ_TARGET` names.
//!
//! One program for all targets, because each would instrument the same code again.
#![no_main]
#![forbid(unsafe_code)]

use std::sync::LazyLock;

use ringbolt_fuzz::{TARGETS, Target};

static TARGET: LazyLock<Target> = LazyLock::new(|| {
    let name = std::env::var("RINGBOLT_FUZZ_TARGET").unwrap_or_default();
    *TARGETS
        .iter()
        .find(|target| target.name == name)
        .unwrap_or_else(|| panic!("RINGBOLT_FUZZ_TARGET is {name:?}, which is no target"))
});

libfuzzer_sys::fuzz_target!(|input: &[u8]| (TARGET.run)(input));

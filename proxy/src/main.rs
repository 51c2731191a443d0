//! The daemon `ringbolt`.
#![forbid(unsafe_code)]
fn main() {}

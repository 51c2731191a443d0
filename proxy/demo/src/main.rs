//! Chat backends of the quick start.
#![forbid(unsafe_code)]
fn main() {}

//! Load tools and measurements.
#![forbid(unsafe_code)]
fn main() {}

//! The project's own commands: what CI runs, and the demo.
#![forbid(unsafe_code)]
fn main() {}

//! The daemon `ringbolt`.
#![forbid(unsafe_code)]
#![allow(dead_code, reason = "the data path, which reads these types, is written in another branch")]

mod config;
#[cfg(test)]
mod golden;
mod metrics;

fn main() {}

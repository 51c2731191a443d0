//! Every decision Ringbolt takes, as pure functions and state machines.
//!
//! No file here opens a socket, reads the clock, starts a thread or draws a random number: time and
//! randomness are arguments, results are values. That is what makes each of them testable alone.
#![forbid(unsafe_code)]

pub mod affinity;
pub mod allowance;
pub mod chatter;
pub mod circuit;
pub mod client_hello;
pub mod clients;
pub mod detect;
pub mod discovery;
pub mod downgrade;
pub mod flash_policy;
pub mod frames;
pub mod health;
pub mod http;
pub mod limits;
pub mod network;
pub mod pace;
pub mod proxy_protocol;
pub mod rate;
pub mod route;
pub mod silence;

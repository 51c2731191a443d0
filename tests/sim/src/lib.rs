//! The pure decisions together, under a moving clock: many clients, several workers, failing backends.
//!
//! One seed is one history: every delay, failure and choice comes from it, so a history that breaks a
//! promise breaks it again. The wiring between decisions follows `proxy/src/affinity.rs` and
//! `proxy/src/sids.rs`; sockets and threads have no part in it. What is promised stands in `table.rs`
//! (loads, bound of the table), `session.rs` (who a sid must reach) and `world.rs` (placement, the end). Many edges before
//! many backends are in `fleet.rs`.
#![forbid(unsafe_code)]

mod answer;
pub mod fleet;
mod random;
mod session;
mod table;
mod world;

pub use world::{Fault, Report, run};

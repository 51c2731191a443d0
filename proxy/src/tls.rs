//! TLS at both ends: clients that speak it, backends that do.
//!
//! After the handshake a TLS connection is a [`Stream`](crate::stream::Stream) with a session in it and goes
//! the way of any other. What a listener or an upstream needs for handshakes is loaded once for the process
//! and replaced as a whole when its files change (`tls/setup.rs`); connections keep what they began with.

mod certificate;
mod dial;
mod handshake;
mod identity;
mod listener;
mod names;
mod policy;
mod presented;
mod session;
mod setup;
mod tickets;
mod upstream;

pub(crate) use self::certificate::EXPIRY_WARNING;
pub(crate) use self::dial::{AnyStream, begin, http_client};
pub(crate) use self::handshake::{accept, connect};
pub(crate) use self::listener::Terminator;
pub(crate) use self::presented::{Wrong, judge, no_session};
pub(crate) use self::session::{KernelSession, KernelSessionState, Offered, Records, Session};
pub(crate) use self::setup::{Current, Setup};
pub(crate) use self::upstream::Originator;

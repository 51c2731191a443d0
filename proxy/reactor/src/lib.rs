//! The event loop of one worker thread: readiness by `io_uring` or epoll, tasks, timers, sockets, pipes. All
//! unsafe code of the workspace lives in this crate.
//!
//! It decides when a task runs and who is told that a descriptor is ready. It knows no protocol, no
//! configuration and no tunnel. Nothing in it leaves its thread but wakers, [`mailbox`] ends and
//! [`BoundListener`]s. The only memory lent to the kernel is that of `buffer_ring`.
//!
//! Start reading at [`Reactor`]; below it stand the engines (`ring`, `epoll`), beside it the `executor`, above
//! it what tasks use ([`Socket`], [`Listener`], [`connect`], [`Sleep`], [`select`],
//! [`Rooms`]).

mod buffer_ring;
mod clock;
mod connect;
mod epoll;
mod executor;
mod ktls;
pub mod limits;
mod listener;
pub mod mailbox;
mod memory;
mod pin;
mod pipe;
mod reactor;
mod readiness;
mod refusal;
mod ring;
mod room;
mod select;
mod slab;
mod socket;
mod source;
mod timer;
mod transfer;
mod turns;
mod waker;
mod wheel;

pub use buffer_ring::Chunk;
pub use clock::clock_is_synchronised;
pub use connect::connect;
pub use ktls::{
    ContentType, KtlsSupport, TlsCipher, TlsDirection, TlsVersion, TrafficKeys, bytes_acknowledged,
    give_to_kernel, install_keys, is_record, next_sequence, probe_ktls, recv_record, send_record,
};
pub use listener::{BoundListener, Listener};
pub use memory::{Counted, allocations, bytes_held};
pub use pin::{available_cores, pin_to_core};
pub use pipe::{Pipe, splice};
pub use reactor::{NoSink, Reactor, Sink, Stats};
pub use readiness::{Engine, EngineChoice, Ready, Received, UnknownEngine};
pub use refusal::RingRefusal;
pub use ring::{RingSupport, probe_ring};
pub use room::{Room, Rooms};
pub use select::{Either, Join, Select, join, select, yield_now};
pub use slab::{Key, Slab};
pub use socket::{
    Keepalive, Socket, SocketOptions, is_writable, recv, send, send_vectored, set_incoming_cpu,
    shutdown_write,
};
pub use source::SourceId;
pub use timer::{Elapsed, Sleep, Timeout};
pub use turns::{TURN_BOUNDS_MICROS, TurnTimes};
pub use waker::SinkToken;
pub use wheel::TimerId;

#[cfg(test)]
mod tests;

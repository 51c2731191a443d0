//! Which backend a request belongs to.
//!
//! `engine_io` reads what a query says, `handshake` learns the sid a backend issues, `close` sees a
//! session end, `sid_table` remembers who issued what, `standing` tells who may be given anything new,
//! `balance`, `rendezvous` and `least` place it, `directory` writes down for other machines whose it is, `ask` puts a question about it to backends, `tag` writes its backend into the sid, `policy` is the configured
//! rule and `decide` weighs all of it. Nothing here knows sockets, HTTP heads or configuration files; time is an argument.

mod ask;
mod balance;
mod close;
mod cookie;
mod decide;
mod directory;
mod engine_io;
mod handshake;
mod least;
mod mix;
mod policy;
mod rendezvous;
mod sid;
mod sid_key;
mod sid_table;
mod standing;
mod tag;
mod tick;

pub use ask::{Reply, read_reply, write_encoded, write_question_query};
pub use balance::{Balance, Placing, place, takes_part};
pub use close::{ClosePacket, is_close};
pub use cookie::{COOKIE_VALUE_BYTES, cookie_value};
pub use decide::{Choice, Decision, Evidence, Listed, Seen, Told, decide, owner};
pub use directory::{DIRECTORY_KEY_BYTES, ENTRY_BYTES_MAX, Entry, directory_key, lifetime};
pub use engine_io::{Protocol, Query, Role, Transport, query};
pub use handshake::{Handshake, HandshakeReading, read_handshake};
pub use least::least_connections;
pub use policy::{Affinity, AffinityError};
pub use rendezvous::{choose, choose_bounded, key_of_address, key_of_bytes, order, seed_of_name};
pub use sid::{Sid, SidTooLong};
pub use sid_key::{SidHasher, SidKey};
pub use sid_table::{Full, Gone, Known, SessionState, Shard, SidRecord, SidStanding};
pub use standing::{Health, Member, State, Tier};
pub use tag::{Mac, Opened, TAG_BYTES, Tag, TaggedBackend, Tagging, tagged, without_tag};
pub use tick::Tick;

/// One backend, by a number of the caller's.
///
/// A reload must not give a backend's number to another while the sid table still refers to it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct BackendId(pub u32);

impl BackendId {
    /// The number, for an array by backend.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// A backend as placement sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Candidate {
    /// Which backend.
    pub id: BackendId,
    /// Its place in rendezvous hashing, from [`seed_of_name`].
    pub seed: u64,
    /// Its share of what is new, relative to the other weights. 0: none, as if it accepted nothing new.
    pub weight: u32,
    /// It takes new sessions. A draining one does not, and keeps those it has.
    pub accepts_new: bool,
    /// Sessions that it has are served by it: it is neither down nor in maintenance.
    pub serves: bool,
    /// What it carries, in whatever the caller balances: sessions and tunnels, requests in flight.
    pub load: u32,
}

impl Candidate {
    /// Something new may be placed here.
    const fn is_usable(&self) -> bool {
        self.accepts_new && self.weight > 0
    }
}

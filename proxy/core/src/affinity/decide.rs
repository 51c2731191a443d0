//! The order of evidence: which of all that a request shows decides its backend.
//!
//! | affinity | first | else |
//! | --- | --- | --- |
//! | `engine-io`, request of a session | the sid's tag, where sids are tagged; the sid table; the shared directory | what backends say when they are asked; client address |
//! | `engine-io`, opens a session | client address, load-bounded | |
//! | `engine-io`, any other request | least connections | |
//! | `client-ip` | client address | |
//! | `header:NAME` | the header's value | client address |
//! | `cookie:NAME` | the backend the cookie names | client address, load-bounded; then the cookie is set |
//! | `none` | least connections | |
//!
//! Where a policy is configured ([`Balance`]), it takes the place of load-bounded client addresses and of least
//! connections.
//!
//! A bound on load would move clients of `client-ip` and `header` from one request to the next, so these
//! have none. Only `engine-io` believes the sid table: the other rules are for servers whose sids are
//! not unique. A session that it does not hold is looked up in the shared directory and then asked for, each if that is
//! configured and there is more than one backend that may have it; what is said then decides, and where nobody says
//! anything the client's address does: the session may be there. Who is named by a tag, the table or the directory and
//! does not serve had the session: nobody is asked for it any more. A session or cookie of a draining backend stays there; its clients under `client-ip` and
//! `header` move, because nothing tells old ones from new.

use std::net::IpAddr;

use super::rendezvous::best;
use super::{
    Affinity, BackendId, Balance, Candidate, Placing, Role, TaggedBackend, choose, cookie, key_of_address,
    key_of_bytes, place,
};

#[cfg(test)]
mod tests;

/// What a request shows.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// Its role in Engine.IO; `None` if it is no Engine.IO request.
    pub role: Option<&'a Role>,
    /// What the sid's tag says of its backend, if it has one that is genuine.
    pub tag: Option<TaggedBackend>,
    /// What the sid table says of its sid.
    pub table: Option<BackendId>,
    /// What the shared directory says of its sid.
    pub listed: Listed,
    /// What backends say of its sid.
    pub told: Told,
    /// Value of the header or cookie the affinity names.
    pub value: Option<&'a [u8]>,
    /// Where it comes from.
    pub client: IpAddr,
    /// The upstream's policy for what nothing binds. `None`: bounded rendezvous hashing of the client's address for
    /// sessions, least connections for other requests.
    pub balance: Option<Balance>,
    /// A number the caller counts up, for taking turns.
    pub rotation: usize,
    /// A random number.
    pub random: u64,
}

/// What is known from the shared directory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Listed {
    /// It is not to be looked into.
    Never,
    /// It may be.
    NotYet,
    /// This one has the session.
    Owner(BackendId),
    /// One has it that is not configured here.
    Stranger,
    /// It does not say: there is no entry, or no answer in time.
    Nothing,
}

/// What is known from asking backends whose session it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Told {
    /// They are not to be asked.
    Never,
    /// They may be.
    NotYet,
    /// This one has the session.
    Owner(BackendId),
    /// None that serves has it.
    Nobody,
    /// None is known to have it, and this one has not said that it has not.
    Perhaps(BackendId),
}

/// What decided.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Evidence {
    /// The sid's tag names the backend.
    Tag,
    /// The sid table knows the session.
    Table,
    /// The shared directory knows the session.
    Directory,
    /// A backend said that it has the session.
    Ask,
    /// The cookie names the backend.
    Cookie,
    /// The value of the configured header.
    Header,
    /// The client's address, by rule or for want of the header.
    ClientIp,
    /// The client's address, for want of the sid: a guess.
    Rendezvous,
    /// Something new was placed: a session, or a client that gets its cookie.
    Placement,
    /// Least connections.
    Least,
}

/// A backend, and why it was chosen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Choice {
    /// Index of the candidate.
    pub index: usize,
    /// What decided.
    pub reason: Evidence,
}

/// The decision.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Decision {
    /// The request goes there.
    Backend(Choice),
    /// The shared directory is to be looked into first.
    LookUp,
    /// Backends are to be asked first.
    Ask,
    /// Its session is nobody's: the client is to be told (400).
    UnknownSid,
    /// No candidate takes it (503).
    NoBackend,
}

impl Evidence {
    /// Every kind, for counters.
    pub const ALL: [Self; 10] = [
        Self::Tag,
        Self::Table,
        Self::Directory,
        Self::Ask,
        Self::Cookie,
        Self::Header,
        Self::ClientIp,
        Self::Rendezvous,
        Self::Placement,
        Self::Least,
    ];

    /// Its name in metrics and logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tag => "tag",
            Self::Table => "table",
            Self::Directory => "directory",
            Self::Ask => "ask",
            Self::Cookie => "cookie",
            Self::Header => "header",
            Self::ClientIp => "client-ip",
            Self::Rendezvous => "rendezvous",
            Self::Placement => "placement",
            Self::Least => "least",
        }
    }
}

/// Decides where a request goes.
#[must_use]
pub fn decide(affinity: &Affinity, seen: &Seen<'_>, candidates: &[Candidate]) -> Decision {
    let address = || key_of_address(seen.client);
    let placed = |default| {
        let placing = Placing { key: address(), rotation: seen.rotation, random: seen.random };
        place(seen.balance.unwrap_or(default), &placing, candidates)
    };
    let (index, reason) = match affinity {
        Affinity::EngineIo => match seen.role {
            Some(Role::Session(_) | Role::SessionTooLong) => return of_session(seen, candidates),
            Some(Role::Handshake | Role::WebSocketHandshake) => {
                (placed(Balance::Rendezvous), Evidence::Placement)
            }
            Some(Role::Other) | None => (placed(Balance::LeastTunnels), Evidence::Least),
        },
        Affinity::ClientIp => (choose(address(), candidates), Evidence::ClientIp),
        Affinity::Header(_) => match seen.value {
            Some(value) if !value.is_empty() => (choose(key_of_bytes(value), candidates), Evidence::Header),
            _ => (choose(address(), candidates), Evidence::ClientIp),
        },
        Affinity::Cookie(_) => match seen.value.and_then(|value| cookie::named(value, candidates)) {
            Some(index) => (Some(index), Evidence::Cookie),
            None => (placed(Balance::Rendezvous), Evidence::Placement),
        },
        Affinity::None => (placed(Balance::LeastTunnels), Evidence::Least),
    };
    Decision::of(index, reason)
}

impl Decision {
    /// Where the request goes, if it goes anywhere yet.
    #[must_use]
    pub fn backend(self) -> Option<Choice> {
        match self {
            Self::Backend(choice) => Some(choice),
            Self::LookUp | Self::Ask | Self::UnknownSid | Self::NoBackend => None,
        }
    }

    fn of(index: Option<usize>, reason: Evidence) -> Self {
        index.map_or(Self::NoBackend, |index| Self::Backend(Choice { index, reason }))
    }
}

/// The backend of a session that the sid table knows, without a look at the others: nearly all requests are of one.
/// What [`decide`] would choose, which is asked where this is `None`. `serves`: index of a backend, if it serves.
#[must_use]
pub fn owner(
    affinity: &Affinity,
    table: BackendId,
    serves: impl FnOnce(BackendId) -> Option<usize>,
) -> Option<Choice> {
    let index = if *affinity == Affinity::EngineIo { serves(table) } else { None };
    index.map(|index| Choice { index, reason: Evidence::Table })
}

/// The backend of a session. What names a backend counts if that is still there and serves, draining or not.
fn of_session(seen: &Seen<'_>, candidates: &[Candidate]) -> Decision {
    let serving =
        |owner: BackendId| candidates.iter().position(|candidate| candidate.id == owner && candidate.serves);
    let named = |tag: TaggedBackend| {
        let is_it = |one: &Candidate| one.serves && TaggedBackend::of_seed(one.seed) == tag;
        candidates.iter().position(is_it)
    };
    if let Some(index) = seen.tag.and_then(named) {
        return Decision::of(Some(index), Evidence::Tag);
    }
    if let Some(choice) = seen.table.and_then(|table| owner(&Affinity::EngineIo, table, serving)) {
        return Decision::Backend(choice);
    }
    // Where nothing has named its backend, and more than one can have it: else the request itself asks the only one.
    let is_open = matches!(seen.role, Some(Role::Session(_))) && seen.table.is_none() && seen.tag.is_none();
    let is_open = is_open && candidates.iter().filter(|candidate| candidate.serves).count() > 1;
    let may_be_asked = match seen.listed {
        Listed::NotYet if is_open => return Decision::LookUp,
        Listed::Owner(owner) => match serving(owner) {
            Some(index) => return Decision::of(Some(index), Evidence::Directory),
            None => false,
        },
        Listed::Stranger => false,
        Listed::Never | Listed::NotYet | Listed::Nothing => is_open,
    };
    let guess = match seen.told {
        Told::NotYet if may_be_asked => return Decision::Ask,
        Told::Owner(owner) => match serving(owner) {
            Some(index) => return Decision::of(Some(index), Evidence::Ask),
            None => None,
        },
        Told::Nobody => return Decision::UnknownSid,
        Told::Perhaps(backend) => serving(backend),
        Told::NotYet | Told::Never => None,
    };
    let key = key_of_address(seen.client);
    // A session asks nothing new of its backend: where all are draining, one of them has it.
    let index = guess
        .or_else(|| choose(key, candidates))
        .or_else(|| best(key, candidates, |candidate| candidate.serves));
    Decision::of(index, Evidence::Rendezvous)
}

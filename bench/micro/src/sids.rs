//! Reading a sid, and sessions in one shard of the sid table.

use std::hint::black_box;
use std::time::Duration;

use ringbolt_core::affinity::{BackendId, Shard, Sid, SidHasher, Tick, query};

use crate::Work;

/// Sessions that are there when one is looked up: more than a level-one cache holds.
const SESSIONS: u64 = 10_000;
const TIME_TO_LIVE: Duration = Duration::from_secs(50);
const UPSTREAM: u64 = 1;

/// A fixed key, so that every run does the same.
fn hasher() -> SidHasher {
    SidHasher::new(*b"not for sessions")
}

/// Sids as Engine.IO issues them, of 20 characters.
fn sids(count: u64) -> Vec<Sid> {
    (0..count).map(|number| Sid::new(format!("{number:0>20}").as_bytes()).expect("a short sid")).collect()
}

fn now() -> Tick {
    Tick::from_duration(Duration::from_secs(1))
}

/// What a request of a known session costs: its key, its backend, and the end of the request.
/// A poll's query, as socket.io-client writes it.
pub(crate) fn read_query(units: u64) -> Work {
    const QUERY: &[u8] = b"EIO=4&transport=polling&t=PQx3bLk&sid=Ek3yLmC0yr0OhBMbAAAA";
    assert!(query(QUERY).is_some_and(|query| query.sid.is_some()));
    Box::new(move || {
        for _ in 0..units {
            black_box(query(black_box(QUERY)));
        }
    })
}

pub(crate) fn look_up(units: u64) -> Work {
    let (hasher, sids) = (hasher(), sids(SESSIONS));
    let mut shard = Shard::with_capacity_max(u32::MAX);
    for sid in &sids {
        shard.insert(hasher.key(UPSTREAM, sid), BackendId(1), TIME_TO_LIVE, now()).expect("room");
    }
    Box::new(move || {
        for sid in sids.iter().cycle().take(usize::try_from(units).unwrap_or(usize::MAX)) {
            let key = hasher.key(UPSTREAM, black_box(sid));
            black_box(shard.begin(key, now()));
            shard.end(key, now());
        }
    })
}

/// What a new session costs, in a table that grows.
pub(crate) fn insert(units: u64) -> Work {
    let (hasher, sids) = (hasher(), sids(units));
    let mut shard = Shard::with_capacity_max(u32::MAX);
    Box::new(move || {
        for sid in &sids {
            let key = hasher.key(UPSTREAM, black_box(sid));
            let _ = black_box(shard.insert(key, BackendId(1), TIME_TO_LIVE, now()));
        }
    })
}

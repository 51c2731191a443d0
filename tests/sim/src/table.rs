//! The sid table and the loads that all workers share, as `proxy/src/sids.rs` and `load.rs` put them together.
//!
//! Promises: no shard outgrows its bound, no load is ever below zero, and a load is exactly what stands behind it.

use std::time::Duration;

use ringbolt_core::affinity::{BackendId, Full, Handshake, Shard, Sid, SidHasher, SidKey, Tick};

/// The upstream of every session here.
const UPSTREAM: u64 = 7;

#[derive(Debug)]
pub(crate) struct Table {
    shards: Vec<Shard>,
    share: usize,
    hasher: SidHasher,
    /// By backend: entries, sessions being placed and tunnels, as placement sees them.
    loads: Vec<i64>,
    /// By backend: what of that is not an entry.
    others: Vec<i64>,
    /// An injected mistake: what an entry hands back is not taken from its backend's load.
    pub(crate) leaks: bool,
}

impl Table {
    pub(crate) fn new(shards: usize, entries_max: u32, backends: usize) -> Self {
        let share = entries_max.div_ceil(u32::try_from(shards).expect("few shards"));
        Self {
            shards: (0..shards).map(|_| Shard::with_capacity_max(share)).collect(),
            share: share as usize,
            hasher: SidHasher::new(*b"a secret of 16 B"),
            loads: vec![0; backends],
            others: vec![0; backends],
            leaks: false,
        }
    }

    pub(crate) fn insert(
        &mut self,
        handshake: &Handshake,
        backend: BackendId,
        now: Duration,
    ) -> Result<(), Full> {
        let key = self.key(&handshake.sid);
        let gone = self.shard(key).insert(key, backend, handshake.time_to_live(), tick(now))?;
        self.change(backend, 1);
        if let Some(gone) = gone {
            self.release(gone.backend);
        }
        assert!(self.shard(key).len() <= self.share, "a shard outgrew its bound");
        Ok(())
    }

    pub(crate) fn begin(&mut self, sid: &Sid, now: Duration) -> Option<BackendId> {
        let key = self.key(sid);
        self.shard(key).begin(key, tick(now)).map(|known| known.backend)
    }

    pub(crate) fn end(&mut self, sid: &Sid, now: Duration) {
        let key = self.key(sid);
        self.shard(key).end(key, tick(now));
    }

    pub(crate) fn upgraded(&mut self, sid: &Sid, now: Duration) {
        let key = self.key(sid);
        self.shard(key).upgraded(key, tick(now));
    }

    pub(crate) fn remove(&mut self, sid: &Sid, now: Duration) {
        let key = self.key(sid);
        if let Some(gone) = self.shard(key).remove(key, tick(now)) {
            self.release(gone.backend);
        }
    }

    /// One turn of a worker's sweep over its own shard.
    pub(crate) fn sweep(&mut self, shard: usize, entries_max: usize, now: Duration) {
        let mut released = Vec::new();
        self.shards[shard].sweep(tick(now), entries_max, |gone| released.push(gone.backend));
        released.into_iter().for_each(|backend| self.release(backend));
    }

    /// A session being placed or a tunnel begins (1) or ends (-1).
    pub(crate) fn weigh(&mut self, backend: BackendId, change: i64) {
        self.others[backend.index()] += change;
        self.change(backend, change);
    }

    pub(crate) fn load(&self, backend: BackendId) -> u32 {
        u32::try_from(self.loads[backend.index()]).expect("no load is below zero")
    }

    pub(crate) fn entries(&self) -> usize {
        self.shards.iter().map(Shard::len).sum()
    }

    /// Compares the loads with what they are made of.
    pub(crate) fn check(&self) {
        let mut counted = self.others.clone();
        for shard in &self.shards {
            shard.for_each(|_, backend| counted[backend.index()] += 1);
        }
        assert_eq!(self.loads, counted, "loads and what stands behind them");
    }

    fn release(&mut self, backend: BackendId) {
        if !self.leaks {
            self.change(backend, -1);
        }
    }

    fn change(&mut self, backend: BackendId, change: i64) {
        let load = &mut self.loads[backend.index()];
        *load += change;
        assert!(*load >= 0, "the load of {backend:?} is below zero");
    }

    fn key(&self, sid: &Sid) -> SidKey {
        self.hasher.key(UPSTREAM, sid)
    }

    fn shard(&mut self, key: SidKey) -> &mut Shard {
        let shard = key.shard(self.shards.len());
        &mut self.shards[shard]
    }
}

fn tick(now: Duration) -> Tick {
    Tick::from_duration(now)
}

//! The sid table: which backend issued each Engine.IO session, known to all workers.
//!
//! It is cut into one shard per worker by the sid's hash. A worker sweeps its own shard; any worker may
//! look into any shard under the shard's lock, which is held for a few hundred nanoseconds and never
//! across I/O (decision 3): asking the owning worker by message would cost two wake-ups. What a shard
//! does with an entry is decided in `ringbolt_core::affinity`.

use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use ringbolt_core::affinity::{BackendId, Full, Known, Shard, Sid, SidHasher, SidKey, SidRecord, Tick};
use tokio::sync::oneshot;

use crate::limits::{SID_SWEEP_ENTRIES, SID_SWEEP_TURNS};
use crate::load::Loads;
use crate::worker::Worker;

/// A shard on cache lines of its own, so that two workers' locks do not share one.
#[derive(Debug)]
#[repr(align(128))]
struct Aligned(Mutex<Shard>);

/// Sid to backend, over all workers.
#[derive(Debug)]
pub(crate) struct SidTable {
    shards: Box<[Aligned]>,
    hasher: SidHasher,
    hash_key: [u8; 16],
    started: Instant,
    loads: Arc<Loads>,
    /// Where new sessions are told as well, while another process takes over.
    mirror: Mutex<Option<SyncSender<Mirrored>>>,
}

/// A new session that another process must know before its client does.
#[derive(Debug)]
pub(crate) struct Mirrored {
    pub(crate) record: SidRecord,
    /// Dropped when it does, or when there is no such process any more.
    pub(crate) known: oneshot::Sender<()>,
}

impl SidTable {
    /// A table of `entries_max` sids over `shard_count` shards. `hash_key` is random, so that nobody
    /// outside can choose sids that collide.
    pub(crate) fn new(shard_count: usize, entries_max: u32, hash_key: [u8; 16], loads: Arc<Loads>) -> Self {
        let divisor = u32::try_from(shard_count).unwrap_or(u32::MAX).max(1);
        let share = entries_max.div_ceil(divisor);
        let shards = (0..shard_count).map(|_| Aligned(Mutex::new(Shard::with_capacity_max(share)))).collect();
        let (hasher, started, mirror) = (SidHasher::new(hash_key), Instant::now(), Mutex::new(None));
        Self { shards, hasher, hash_key, started, loads, mirror }
    }

    /// Binds a new session of `upstream` to the backend that issued it. What this returns is to be awaited before
    /// the client hears of the session.
    ///
    /// # Errors
    /// [`Full`] when its shard has no room: the handshake must then fail, because forwarding its
    /// answer would hand out a session whose next request cannot be routed.
    pub(crate) fn insert(
        &self,
        worker: &Worker,
        upstream: u64,
        sid: &Sid,
        time_to_live: Duration,
        backend: BackendId,
    ) -> Result<Option<oneshot::Receiver<()>>, Full> {
        let key = self.key(upstream, sid);
        let now = self.tick(worker);
        let (released, record) = {
            let mut shard = self.shard(key).lock();
            (shard.insert(key, backend, time_to_live, now)?, shard.record(key, now))
        };
        self.loads.add(backend);
        worker.counters().sid_table_entries.add(1);
        if let Some(released) = released {
            self.release(worker, released);
        }
        // Looked at behind the insert, and set before the table is copied: a session is in the copy, or told.
        let mirror = self.mirror.lock();
        let Some((mirror, record)) = mirror.as_ref().zip(record) else { return Ok(None) };
        let (known, is_known) = oneshot::channel();
        match mirror.try_send(Mirrored { record, known }) {
            Ok(()) => Ok(Some(is_known)),
            Err(TrySendError::Disconnected(_)) => Ok(None),
            Err(TrySendError::Full(_)) => {
                if let Some(backend) = self.shard(key).lock().remove(key) {
                    self.release(worker, backend);
                }
                Err(Full)
            }
        }
    }

    /// Takes sessions in that another process knew. Those for which there is no room are lost, and counted.
    pub(crate) fn restore(&self, worker: &Worker, records: &[SidRecord]) {
        let now = self.tick(worker);
        for record in records {
            match self.shard(record.key).lock().restore(record, now) {
                Ok(released) => {
                    self.loads.add(record.backend);
                    worker.counters().sid_table_entries.add(1);
                    released.into_iter().for_each(|backend| self.release(worker, backend));
                }
                Err(Full) => worker.counters().sid_table_full.add(1),
            }
        }
    }

    /// The secret that the keys of all entries are made with.
    pub(crate) fn hash_key(&self) -> [u8; 16] {
        self.hash_key
    }

    /// Tells new sessions to `mirror` as well from now on, or to nobody any more.
    pub(crate) fn set_mirror(&self, mirror: Option<SyncSender<Mirrored>>) {
        *self.mirror.lock() = mirror;
    }

    /// All parts of the table, for [`Self::copy`].
    pub(crate) fn parts(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let counts: Vec<usize> = self.shards.iter().map(|shard| shard.0.lock().part_count()).collect();
        counts.into_iter().enumerate().flat_map(|(shard, parts)| (0..parts).map(move |part| (shard, part)))
    }

    /// Appends the live sessions of one part.
    pub(crate) fn copy(&self, (shard, part): (usize, usize), now: Instant, records: &mut Vec<SidRecord>) {
        let now = Tick::from_duration(now.saturating_duration_since(self.started));
        self.shards[shard].0.lock().copy(part, now, records);
    }

    /// Finds the session's backend and counts one more request in progress, until the guard is dropped.
    pub(crate) fn begin<'a>(
        &self,
        worker: &'a Worker,
        upstream: u64,
        sid: &Sid,
    ) -> Option<(BackendId, Session<'a>)> {
        let key = self.key(upstream, sid);
        let Known { backend, time_to_live } = self.shard(key).lock().begin(key, self.tick(worker))?;
        Some((backend, Session { worker, key, time_to_live }))
    }

    /// The backend of a session of the upstream of this seed, for operators.
    pub(crate) fn owner(&self, upstream: u64, sid: &Sid) -> Option<BackendId> {
        let key = self.key(upstream, sid);
        let now = Tick::from_duration(self.started.elapsed());
        self.shard(key).lock().owner(key, now)
    }

    /// Removes expired entries of the worker's own shard: a sixteenth of it at a time, in portions short
    /// enough for the lock.
    pub(crate) fn sweep(&self, worker: &Worker) {
        let shard = &self.shards[worker.id].0;
        let portions = shard.lock().len() / SID_SWEEP_TURNS / SID_SWEEP_ENTRIES + 1;
        for _ in 0..portions {
            shard.lock().sweep(self.tick(worker), SID_SWEEP_ENTRIES, |backend| self.release(worker, backend));
        }
    }

    /// Memory of the worker's own shard, part by part, so that nobody waits long for its lock.
    pub(crate) fn bytes(&self, worker: &Worker) -> usize {
        let shard = &self.shards[worker.id].0;
        let parts = shard.lock().part_count();
        (0..parts).map(|part| shard.lock().part_bytes(part)).sum()
    }

    fn release(&self, worker: &Worker, backend: BackendId) {
        self.loads.sub(backend);
        worker.counters().sid_table_entries.sub(1);
    }

    /// Two upstreams may issue the same sid, so it is a key only together with its upstream.
    pub(crate) fn key(&self, upstream: u64, sid: &Sid) -> SidKey {
        self.hasher.key(upstream, sid)
    }

    fn shard(&self, key: SidKey) -> &Mutex<Shard> {
        &self.shards[key.shard(self.shards.len())].0
    }

    fn tick(&self, worker: &Worker) -> Tick {
        Tick::from_duration(worker.reactor.now().saturating_duration_since(self.started))
    }
}

/// One request in progress of a known session, which cannot expire while this lives.
#[derive(Debug)]
pub(crate) struct Session<'a> {
    worker: &'a Worker,
    key: SidKey,
    time_to_live: Duration,
}

impl Session<'_> {
    /// How long it lives without a request, and so the longest that its server may hold a poll.
    pub(crate) fn time_to_live(&self) -> Duration {
        self.time_to_live
    }

    /// The upgrade to WebSocket was answered 101: polling is about to end.
    pub(crate) fn upgraded(&self) {
        let table = self.table();
        table.shard(self.key).lock().upgraded(self.key, table.tick(self.worker));
    }

    /// An Engine.IO close packet went through: the sid is dead.
    pub(crate) fn closed(&self) {
        let table = self.table();
        let removed = table.shard(self.key).lock().remove(self.key);
        if let Some(backend) = removed {
            table.release(self.worker, backend);
        }
    }

    fn table(&self) -> &SidTable {
        &self.worker.shared.sids
    }
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        let table = self.table();
        table.shard(self.key).lock().end(self.key, table.tick(self.worker));
    }
}

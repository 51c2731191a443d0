//! The sid table: which backend issued each Engine.IO session, known to all workers.
//!
//! It is cut into one shard per worker by the sid's hash. A worker sweeps its own shard; any worker may
//! look into any shard under the shard's lock, which is held for a few hundred nanoseconds and never
//! across I/O (decision 3): asking the owning worker by message would cost two wake-ups. What a shard
//! does with an entry is decided in `ringbolt_core::affinity`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::AcqRel};
use std::sync::mpsc::{SyncSender, TrySendError};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use ringbolt_core::affinity::{
    BackendId, Full, Gone, Known, SessionState, Shard, Sid, SidHasher, SidKey, SidRecord, SidStanding, Tick,
};
use tokio::sync::oneshot;

use crate::access_log::{Record, SessionRecord, Sessions, Tail};
use crate::limits::{SID_SWEEP_ENTRIES, SID_SWEEP_TURNS};
use crate::load::Loads;
use crate::metrics::label::SessionEnd;
use crate::worker::Worker;

/// A shard on cache lines of its own, so that two workers' locks do not share one.
#[derive(Debug)]
#[repr(align(128))]
struct Aligned(Mutex<Part>);

/// One worker's part of the table.
#[derive(Debug)]
struct Part {
    shard: Shard,
    /// What is to be logged of its sessions; `None`: nothing.
    sessions: Option<Sessions>,
}

/// Sid to backend, over all workers.
#[derive(Debug)]
pub(crate) struct SidTable {
    shards: Box<[Aligned]>,
    /// Those that have not ended.
    workers: AtomicUsize,
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
    /// outside can choose sids that collide. `logs`: sessions have lines in the access log.
    pub(crate) fn new(
        shard_count: usize,
        entries_max: u32,
        hash_key: [u8; 16],
        loads: Arc<Loads>,
        logs: bool,
    ) -> Self {
        let divisor = u32::try_from(shard_count).unwrap_or(u32::MAX).max(1);
        let share = entries_max.div_ceil(divisor);
        let part = || Part { shard: Shard::with_capacity_max(share), sessions: logs.then(Sessions::default) };
        let shards = (0..shard_count).map(|_| Aligned(Mutex::new(part()))).collect();
        let (hasher, started, mirror) = (SidHasher::new(hash_key), Instant::now(), Mutex::new(None));
        let workers = AtomicUsize::new(shard_count);
        Self { shards, workers, hasher, hash_key, started, loads, mirror }
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
        session: Option<Box<SessionRecord>>,
    ) -> Result<Option<oneshot::Receiver<()>>, Full> {
        let key = self.key(upstream, sid);
        let now = self.tick(worker);
        let (gone, record) = {
            let Part { shard, sessions } = &mut *self.part(key).lock();
            let gone = shard.insert(key, backend, time_to_live, now)?;
            if let Some((sessions, session)) = sessions.as_mut().zip(session) {
                sessions.begin(key, session);
            }
            (gone.map(|gone| (gone, forgotten(sessions, &gone, key))), shard.record(key, now))
        };
        self.loads.add(backend);
        worker.counters().sid_table_entries.add(1);
        if let Some((gone, session)) = gone {
            self.release(worker, gone.backend);
            if gone.key != key {
                ended(worker, &gone, session);
            }
        }
        // Looked at behind the insert, and set before the table is copied: a session is in the copy, or told.
        let mirror = self.mirror.lock();
        let Some((mirror, record)) = mirror.as_ref().zip(record) else { return Ok(None) };
        let (known, is_known) = oneshot::channel();
        match mirror.try_send(Mirrored { record, known }) {
            Ok(()) => Ok(Some(is_known)),
            Err(TrySendError::Disconnected(_)) => Ok(None),
            Err(TrySendError::Full(_)) => {
                let Part { shard, sessions } = &mut *self.part(key).lock();
                if let Some(gone) = shard.remove(key, now) {
                    self.release(worker, gone.backend);
                }
                // Nobody has heard of it.
                sessions.as_mut().and_then(|sessions| sessions.take(key));
                Err(Full)
            }
        }
    }

    /// Takes sessions in that another process knew. Those for which there is no room are lost, and counted.
    pub(crate) fn restore(&self, worker: &Worker, records: &[SidRecord]) {
        let now = self.tick(worker);
        for record in records {
            match self.part(record.key).lock().shard.restore(record, now) {
                Ok(gone) => {
                    self.loads.add(record.backend);
                    worker.counters().sid_table_entries.add(1);
                    gone.into_iter().for_each(|gone| self.release(worker, gone.backend));
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
        let counts: Vec<usize> = self.shards.iter().map(|part| part.0.lock().shard.part_count()).collect();
        counts.into_iter().enumerate().flat_map(|(shard, parts)| (0..parts).map(move |part| (shard, part)))
    }

    /// Appends the live sessions of one part.
    pub(crate) fn copy(&self, (shard, part): (usize, usize), now: Instant, records: &mut Vec<SidRecord>) {
        self.shards[shard].0.lock().shard.copy(part, self.tick_at(now), records);
    }

    /// Visits the live sessions of one part, under its shard's lock.
    pub(crate) fn visit(&self, (shard, part): (usize, usize), now: Instant, visit: impl FnMut(SidStanding)) {
        self.shards[shard].0.lock().shard.visit(part, self.tick_at(now), visit);
    }

    /// Finds the session's backend and counts one more request in progress, until the guard is dropped.
    pub(crate) fn begin<'a>(
        &self,
        worker: &'a Worker,
        upstream: u64,
        sid: &Sid,
    ) -> Option<(BackendId, Session<'a>)> {
        let key = self.key(upstream, sid);
        let Known { backend, time_to_live, is_due } =
            self.part(key).lock().shard.begin(key, self.tick(worker))?;
        let time_to_live_ms = u32::try_from(time_to_live.as_millis()).unwrap_or(u32::MAX);
        Some((backend, Session { worker, key, time_to_live_ms, is_due }))
    }

    /// The backend of a session of the upstream of this seed, for operators.
    pub(crate) fn owner(&self, upstream: u64, sid: &Sid) -> Option<BackendId> {
        let key = self.key(upstream, sid);
        self.part(key).lock().shard.owner(key, self.tick_at(Instant::now()))
    }

    /// Removes expired entries of the worker's own shard: a sixteenth of it at a time, in portions short
    /// enough for the lock.
    pub(crate) fn sweep(&self, worker: &Worker) {
        let part = &self.shards[worker.id].0;
        let portions = part.lock().shard.len() / SID_SWEEP_TURNS / SID_SWEEP_ENTRIES + 1;
        for _ in 0..portions {
            let mut swept = Vec::new();
            {
                let Part { shard, sessions } = &mut *part.lock();
                shard.sweep(self.tick(worker), SID_SWEEP_ENTRIES, |gone| {
                    swept.push((gone, sessions.as_mut().and_then(|sessions| sessions.take_forgotten(&gone))));
                });
            }
            for (gone, session) in swept {
                self.release(worker, gone.backend);
                ended(worker, &gone, session);
            }
        }
    }

    /// Adds a request that has ended to what is to be logged of its session.
    pub(crate) fn note_request(&self, key: SidKey, request: &Record) {
        let Part { shard, sessions } = &mut *self.part(key).lock();
        if let Some(sessions) = sessions {
            sessions.add(key, request, shard.holds(key));
        }
    }

    /// The tunnel of a session has ended, which is to be logged if that is its own end.
    pub(crate) fn tunnel_ended(&self, key: SidKey, tail: Tail) -> Option<Box<SessionRecord>> {
        let Part { shard, sessions } = &mut *self.part(key).lock();
        sessions.as_mut()?.tunnel_ended(key, tail, shard.holds(key))
    }

    /// The worker has ended. With the last of them sessions end that no other process has, each with a line.
    pub(crate) fn end(&self, worker: &Worker) {
        let is_last = self.workers.fetch_sub(1, AcqRel) == 1;
        let Some(log) = worker.access_log.as_ref().filter(|_| is_last) else { return };
        let sessions = self.shards.iter().filter_map(|part| part.0.lock().sessions.take());
        for record in sessions.flat_map(Sessions::into_all) {
            if record.ended_as_tunnel() {
                log.session(worker, &record, SessionEnd::Upgraded);
            } else if !worker.is_leaving() {
                log.session(worker, &record, SessionEnd::Drained);
            }
        }
    }

    /// Memory of the worker's own shard, part by part, so that nobody waits long for its lock.
    pub(crate) fn bytes(&self, worker: &Worker) -> usize {
        let own = &self.shards[worker.id].0;
        let parts = own.lock().shard.part_count();
        (0..parts).map(|part| own.lock().shard.part_bytes(part)).sum()
    }

    fn release(&self, worker: &Worker, backend: BackendId) {
        self.loads.sub(backend);
        worker.counters().sid_table_entries.sub(1);
    }

    /// Two upstreams may issue the same sid, so it is a key only together with its upstream.
    pub(crate) fn key(&self, upstream: u64, sid: &Sid) -> SidKey {
        self.hasher.key(upstream, sid)
    }

    fn part(&self, key: SidKey) -> &Mutex<Part> {
        &self.shards[key.shard(self.shards.len())].0
    }

    fn tick(&self, worker: &Worker) -> Tick {
        self.tick_at(worker.reactor.now())
    }

    fn tick_at(&self, now: Instant) -> Tick {
        Tick::from_duration(now.saturating_duration_since(self.started))
    }
}

/// What is to be logged of a session whose place another one has taken.
fn forgotten(sessions: &mut Option<Sessions>, gone: &Gone, by: SidKey) -> Option<Box<SessionRecord>> {
    sessions.as_mut().filter(|_| gone.key != by)?.take_forgotten(gone)
}

/// A session is forgotten: counts its end and writes its line. With another process in this one's place it lives on there.
fn ended(worker: &Worker, gone: &Gone, session: Option<Box<SessionRecord>>) {
    let end = match gone.state {
        SessionState::Polling => SessionEnd::Expired,
        SessionState::Upgrading => SessionEnd::Upgraded,
        SessionState::ClientLeft => SessionEnd::ClientLeft,
        SessionState::BackendLost => SessionEnd::BackendLost,
        SessionState::Refused => SessionEnd::BackendRefused,
    };
    if worker.is_leaving() && end != SessionEnd::Upgraded {
        return;
    }
    count(worker, gone, end);
    if let Some((log, session)) = worker.access_log.as_ref().zip(session) {
        log.session(worker, &session, end);
    }
}

fn count(worker: &Worker, gone: &Gone, end: SessionEnd) {
    worker.counters().session_ends.of(end).add(1);
    if end != SessionEnd::Upgraded {
        worker.counters().session_durations.add(gone.age);
    }
}

/// One request in progress of a known session, which cannot expire while this lives.
#[derive(Debug)]
pub(crate) struct Session<'a> {
    worker: &'a Worker,
    key: SidKey,
    /// In milliseconds, because every request that is under way holds this.
    time_to_live_ms: u32,
    is_due: bool,
}

impl Session<'_> {
    /// How long it lives without a request, and so the longest that its server may hold a poll.
    pub(crate) fn time_to_live(&self) -> Duration {
        Duration::from_millis(self.time_to_live_ms.into())
    }

    /// Who else keeps a note of it is to renew it with this request.
    pub(crate) fn is_due(&self) -> bool {
        self.is_due
    }

    pub(crate) fn key(&self) -> SidKey {
        self.key
    }

    /// The upgrade to WebSocket was answered 101: polling is about to end.
    pub(crate) fn upgraded(&self) {
        let table = self.table();
        table.part(self.key).lock().shard.upgraded(self.key, table.tick(self.worker));
    }

    /// Notes how the request has ended, which may be the last that is heard of the session.
    pub(crate) fn note(&self, state: SessionState) {
        self.table().part(self.key).lock().shard.note(self.key, state);
    }

    /// An Engine.IO close packet went through: the sid is dead. Its line is that of this request to write.
    pub(crate) fn closed(&self, by: SessionEnd, request: Option<&Record>) {
        let (table, worker) = (self.table(), self.worker);
        let (gone, session) = {
            let Part { shard, sessions } = &mut *table.part(self.key).lock();
            let Some(gone) = shard.remove(self.key, table.tick(worker)) else { return };
            (gone, sessions.as_mut().zip(request).map(|(sessions, request)| sessions.end(self.key, request)))
        };
        table.release(worker, gone.backend);
        if worker.is_leaving() {
            return;
        }
        count(worker, &gone, by);
        if let Some((request, session)) = request.zip(session) {
            request.note_session_end(session, by);
        }
    }

    fn table(&self) -> &SidTable {
        &self.worker.shared.sids
    }
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        let table = self.table();
        table.part(self.key).lock().shard.end(self.key, table.tick(self.worker));
    }
}

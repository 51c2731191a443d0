//! One edge: its sid table, its view of the backends, and its decisions, wired as in `proxy/src/affinity.rs`,
//! `proxy/src/directory.rs` and `proxy/src/ask.rs`.

use std::net::IpAddr;
use std::time::Duration;

use ringbolt_core::affinity::{
    Affinity, BackendId, Candidate, Decision, Evidence, Listed, Role, Seen, Shard, Sid, SidKey, Tick, Told,
    decide, key_of_address, order, owner,
};
use ringbolt_core::rate::Rate;

use super::Mode;
use super::backends::Backends;
use super::evidence::Shared;

/// The defaults of the configuration: `ask_rate`, and `ask_timeout` less the time of one question.
const ASK_RATE: u32 = 500;
const ASK_PATIENCE: Duration = Duration::from_secs(2);
/// A session's, by its handshake, and where it was found otherwise (`limits.rs` of the proxy).
const TIME_TO_LIVE: Duration = Duration::from_secs(50);
const FOUND_TIME_TO_LIVE: Duration = Duration::from_secs(120);

pub(super) struct Edge {
    /// By its own number of them. Their order is the edge's own too: only names may matter.
    candidates: Vec<Candidate>,
    /// Their numbers as all know them.
    numbers: Vec<usize>,
    /// States of the rates at which they are asked.
    asked: Vec<u64>,
    shard: Shard,
}

/// A request of a session, or one that opens it.
pub(super) struct Request {
    pub(super) sid: Sid,
    pub(super) client: IpAddr,
    pub(super) now: Duration,
}

impl Edge {
    /// One that has just started.
    pub(super) fn new(number: usize, backends: &Backends, sessions: usize) -> Self {
        let sessions_max = u32::try_from(sessions).expect("millions at most");
        let shard = Shard::with_capacity_max(sessions_max);
        let mut edge = Self { candidates: Vec::new(), numbers: Vec::new(), asked: Vec::new(), shard };
        let first = number % backends.count();
        (first..backends.count()).chain(0..first).for_each(|backend| edge.add(backend, backends));
        edge
    }

    pub(super) fn add(&mut self, backend: usize, backends: &Backends) {
        let id = BackendId(u32::try_from(self.numbers.len()).expect("hundreds"));
        self.candidates.push(backends.candidate(backend, id));
        self.numbers.push(backend);
        self.asked.push(0);
    }

    /// A backend stands otherwise now.
    pub(super) fn stand(&mut self, backend: usize, backends: &Backends) {
        for (candidate, _) in
            self.candidates.iter_mut().zip(&self.numbers).filter(|(_, own)| **own == backend)
        {
            *candidate = Candidate { load: candidate.load, ..backends.candidate(backend, candidate.id) };
        }
    }

    /// Opens a session; who issues it, and the sid that the client gets.
    pub(super) fn open(&mut self, shared: &mut Shared, request: &Request) -> (usize, Sid) {
        let seen = seen(&Role::Handshake, request);
        let choice =
            decide(&Affinity::EngineIo, &seen, &self.candidates).backend().expect("some accept new ones");
        let Candidate { id, seed, .. } = self.candidates[choice.index];
        let sid = shared.issued(request.sid, seed, request.now);
        let key = shared.key(&sid);
        self.store(key, id, TIME_TO_LIVE, request.now);
        shared.announce(key, seed);
        (self.numbers[choice.index], sid)
    }

    /// The backend to which a request of a session goes; `None`: it is refused. `has_it`: what backends say.
    pub(super) fn serve(
        &mut self,
        shared: &mut Shared,
        request: &Request,
        has_it: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        let key = shared.key(&request.sid);
        let role = Role::Session(request.sid);
        let (listed, told) = match shared.mode {
            Mode::Table | Mode::Tags => (Listed::Never, Told::Never),
            Mode::Ask => (Listed::Never, Told::NotYet),
            Mode::Directory => (Listed::NotYet, Told::NotYet),
        };
        let tag = shared.tag_of(&request.sid);
        let table = self.shard.begin(key, tick(request.now)).map(|known| known.backend);
        let mut seen = Seen { tag, table, listed, told, ..seen(&role, request) };
        let decision = loop {
            match self.decide(&seen) {
                Decision::LookUp => seen.listed = self.look_up(shared, request, key),
                Decision::Ask => seen.told = self.ask(shared, request, key, &has_it)?,
                decision => break decision,
            }
        };
        if table.is_some() {
            self.shard.end(key, tick(request.now));
        }
        let choice = decision.backend()?;
        let counts = &mut shared.counts;
        *match choice.reason {
            Evidence::Tag => &mut counts.by_tag,
            Evidence::Table => &mut counts.by_table,
            Evidence::Directory | Evidence::Ask => &mut counts.by_word,
            _ => &mut counts.guessed,
        } += 1;
        Some(self.numbers[choice.index])
    }

    /// As the proxy does: nearly all requests need no look at the candidates.
    fn decide(&self, seen: &Seen<'_>) -> Decision {
        let serves = |id: BackendId| self.candidates[id.index()].serves.then_some(id.index());
        let known = seen.table.filter(|_| seen.tag.is_none());
        let known = known.and_then(|known| owner(&Affinity::EngineIo, known, serves));
        known.map_or_else(|| decide(&Affinity::EngineIo, seen, &self.candidates), Decision::Backend)
    }

    /// What the directory says, which knows backends by their names.
    fn look_up(&mut self, shared: &mut Shared, request: &Request, key: SidKey) -> Listed {
        let Some(seed) = shared.looked_up(key) else { return Listed::Nothing };
        let Some(id) = self.candidates.iter().find(|one| one.seed == seed).map(|one| one.id) else {
            return Listed::Stranger;
        };
        self.store(key, id, FOUND_TIME_TO_LIVE, request.now);
        Listed::Owner(id)
    }

    /// What backends say; `None`: they may not be asked so often.
    fn ask(
        &mut self,
        shared: &mut Shared,
        request: &Request,
        key: SidKey,
        has_it: &impl Fn(usize) -> bool,
    ) -> Option<Told> {
        let rate = Rate::per_second(ASK_RATE);
        let mut places = Vec::new();
        order(key_of_address(request.client), &self.candidates, &mut places);
        let (mut now, deadline) = (request.now, request.now + ASK_PATIENCE);
        shared.counts.lookups += 1;
        for place in places.into_iter().filter(|place| self.candidates[*place].serves) {
            let patience = deadline.saturating_sub(now);
            let Some((state, wait)) =
                rate.reserve(self.asked[place], nanoseconds(now), nanoseconds(patience))
            else {
                shared.counts.busy += 1;
                return None;
            };
            self.asked[place] = state;
            now += Duration::from_nanos(wait);
            shared.count_question(self.numbers[place], now);
            if has_it(self.numbers[place]) {
                let id = self.candidates[place].id;
                self.store(key, id, FOUND_TIME_TO_LIVE, request.now);
                return Some(Told::Owner(id));
            }
        }
        Some(Told::Nobody)
    }

    fn store(&mut self, key: SidKey, id: BackendId, time_to_live: Duration, now: Duration) {
        let released = self.shard.insert(key, id, time_to_live, tick(now)).expect("room for every session");
        self.candidates[id.index()].load += 1;
        if let Some(released) = released {
            self.candidates[released.backend.index()].load -= 1;
        }
    }

    /// A session was closed by its client.
    pub(super) fn close(&mut self, key: SidKey, now: Duration) {
        if let Some(released) = self.shard.remove(key, tick(now)) {
            self.candidates[released.backend.index()].load -= 1;
        }
    }

    /// Forgets what has expired.
    pub(super) fn sweep(&mut self, now: Duration) {
        let Self { shard, candidates, .. } = self;
        shard.sweep(tick(now), shard.len(), |released| candidates[released.backend.index()].load -= 1);
    }
}

/// What a request shows by itself.
fn seen<'a>(role: &'a Role, request: &Request) -> Seen<'a> {
    Seen {
        role: Some(role),
        tag: None,
        table: None,
        listed: Listed::Never,
        told: Told::Never,
        value: None,
        client: request.client,
        balance: None,
        rotation: 0,
        random: 0,
    }
}

fn tick(now: Duration) -> Tick {
    Tick::from_duration(now)
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).expect("a short history")
}

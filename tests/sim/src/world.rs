//! One history: events in the order of their times, which are random, until all that began has ended.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use ringbolt_core::affinity::{
    Affinity, BackendId, Candidate, Evidence, Listed, Protocol, Role, Seen, Told, choose_bounded, decide,
    is_close, key_of_address, query, seed_of_name,
};
use ringbolt_core::http::{HeadLimits, RequestHead};
use ringbolt_core::limits::{PLACEMENT_LOAD_PERCENT, SESSION_TIME_TO_LIVE_MAX};

use crate::answer;
use crate::random::Random;
use crate::session::Session;
use crate::table::Table;

/// Backends a handshake is offered to, as in the daemon.
const CONNECT_ATTEMPTS_MAX: usize = 3;
/// Entries a sweep looks at.
const SWEEP_ENTRIES: usize = 16;
const SECOND: Duration = Duration::from_secs(1);

/// A mistake to put in, to see that a history notices it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    None,
    /// A released entry stays in its backend's load.
    LoadLeaks,
    /// The sid table is not asked.
    TableIgnored,
    /// A session is placed without the load bound.
    Unbounded,
    /// The answer leaves before its sid is in the table.
    BoundLate,
}

/// What a history came to, to see that it was not an empty one.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Report {
    pub sessions: usize,
    /// Requests that the table sent to their backend.
    pub followed: usize,
    /// Sessions refused because the table was full.
    pub refused: usize,
    /// Requests whose sid had been forgotten.
    pub unknown: usize,
    pub tunnels: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Up,
    Draining,
    /// Gets nothing.
    Maintenance,
    /// Refuses connections.
    Down,
    /// Not in the configuration.
    Removed,
}

#[derive(Debug)]
struct Backend {
    seed: u64,
    weight: u32,
    state: State,
    issued: usize,
}

#[derive(Debug)]
struct Worker {
    rotation: usize,
    /// By backend.
    in_flight: Vec<u32>,
}

/// What a request with a sid does at its end.
#[derive(Clone, Copy, Debug)]
enum Purpose {
    Poll,
    Close,
    Upgrade,
}

#[derive(Clone, Copy, Debug)]
enum Event {
    Open,
    /// The answer of this backend to a client of this address.
    Opened {
        backend: usize,
        client: IpAddr,
    },
    Bind {
        session: usize,
    },
    Request {
        session: usize,
    },
    Answered {
        session: usize,
        worker: usize,
        backend: usize,
        known: bool,
        purpose: Purpose,
    },
    TunnelEnds {
        backend: usize,
    },
    Sweep {
        worker: usize,
    },
    Change {
        backend: usize,
    },
}

struct World {
    random: Random,
    now: Duration,
    /// No more work begins after this.
    end: Duration,
    events: BTreeMap<(Duration, u64), Event>,
    table: Table,
    workers: Vec<Worker>,
    backends: Vec<Backend>,
    sessions: Vec<Session>,
    fault: Fault,
    report: Report,
}

/// Plays the history of `seed`.
///
/// # Panics
/// If it breaks a promise.
#[must_use]
pub fn run(seed: u64, fault: Fault) -> Report {
    let mut random = Random::new(seed);
    let workers = 1 + random.below(4);
    let backends = 1 + random.below(6);
    let entries_max = [8, 64, 100_000][random.below(3)];
    let mut world = World {
        now: Duration::ZERO,
        end: random.within(120 * SECOND) + 60 * SECOND,
        events: BTreeMap::new(),
        table: Table::new(workers, entries_max, backends),
        workers: (0..workers).map(|_| Worker { rotation: 0, in_flight: vec![0; backends] }).collect(),
        backends: (0..backends)
            .map(|index| Backend {
                seed: seed_of_name(&format!("backend {index}")),
                weight: 1 + u32::try_from(random.below(3)).expect("a weight"),
                state: State::Up,
                issued: 0,
            })
            .collect(),
        sessions: Vec::new(),
        fault,
        report: Report::default(),
        random,
    };
    world.table.leaks = fault == Fault::LoadLeaks;
    world.play();
    world.finish();
    world.report
}

impl World {
    fn play(&mut self) {
        for _ in 0..40 + self.random.below(200) {
            self.later(self.end, Event::Open);
        }
        for worker in 0..self.workers.len() {
            self.later(SECOND, Event::Sweep { worker });
        }
        for backend in 0..self.backends.len() {
            self.later(self.end, Event::Change { backend });
        }
        while let Some(((at, _), event)) = self.events.pop_first() {
            assert!(at >= self.now, "the clock went back");
            self.now = at;
            self.happen(event);
            self.table.check();
        }
    }

    /// After everything ended and expired nothing may be left.
    fn finish(&mut self) {
        self.now += SESSION_TIME_TO_LIVE_MAX + SECOND;
        for worker in 0..self.workers.len() {
            self.table.sweep(worker, usize::MAX, self.now);
        }
        assert_eq!(self.table.entries(), 0, "entries outlived their sessions");
        self.table.check();
        for index in 0..self.backends.len() {
            assert_eq!(self.table.load(id(index)), 0, "a load does not end at zero");
        }
        let in_flight: u32 = self.workers.iter().flat_map(|worker| &worker.in_flight).sum();
        assert_eq!(in_flight, 0, "a request never ended");
    }

    /// Lets `event` happen within `most` from now; which of two comes first is chance.
    fn later(&mut self, most: Duration, event: Event) {
        let at = self.now + self.random.within(most);
        let tie = self.random.next();
        self.events.insert((at, tie), event);
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Open => self.open(),
            Event::Opened { backend, client } => self.opened(backend, client),
            Event::Bind { session } => self.bind(session),
            Event::Request { session } => self.request(session),
            Event::Answered { session, worker, backend, known, purpose } => {
                self.workers[worker].in_flight[backend] -= 1;
                self.answered(session, backend, known, purpose);
            }
            Event::TunnelEnds { backend } => self.table.weigh(id(backend), -1),
            Event::Sweep { worker } => {
                self.table.sweep(worker, SWEEP_ENTRIES, self.now);
                if self.now < self.end {
                    self.later(SECOND, Event::Sweep { worker });
                }
            }
            Event::Change { backend } => self.change(backend),
        }
    }

    fn change(&mut self, backend: usize) {
        let states = [State::Up, State::Up, State::Draining, State::Maintenance, State::Down, State::Removed];
        self.backends[backend].state = states[self.random.below(states.len())];
        if self.now < self.end {
            self.later(30 * SECOND, Event::Change { backend });
        }
    }

    /// The backends a worker sees, as for a request that opens a session or for any other.
    fn candidates(&self, worker: usize, opens: bool, failed: &[usize]) -> Vec<Candidate> {
        let present = self.backends.iter().enumerate().filter(|(_, backend)| backend.state != State::Removed);
        present
            .map(|(index, backend)| Candidate {
                id: id(index),
                seed: backend.seed,
                weight: backend.weight,
                accepts_new: !matches!(backend.state, State::Draining | State::Maintenance)
                    && !failed.contains(&index),
                serves: backend.state != State::Maintenance,
                load: self.table.load(id(index))
                    + if opens { 0 } else { self.workers[worker].in_flight[index] },
            })
            .collect()
    }

    /// A client asks for a new session; backends that refuse are passed over.
    fn open(&mut self) {
        let client = self.address();
        let worker = self.random.below(self.workers.len());
        let head = request("EIO=4&transport=polling");
        let role = head.query().and_then(query).map(|query| query.role(head.method_bytes()));
        assert_eq!(role, Some(Role::Handshake));
        let mut failed = Vec::new();
        while failed.len() < CONNECT_ATTEMPTS_MAX {
            let candidates = self.candidates(worker, true, &failed);
            let index = if failed.is_empty() {
                let seen = self.seen(worker, role.as_ref(), None, client);
                decide(&Affinity::EngineIo, &seen, &candidates).backend().map(|choice| {
                    assert_eq!(choice.reason, Evidence::Placement);
                    choice.index
                })
            } else {
                choose_bounded(key_of_address(client), &candidates)
            };
            let Some(mut index) = index else { return };
            if self.fault == Fault::Unbounded {
                index = 0;
            }
            check_placement(&candidates, index);
            let backend = candidates[index].id.index();
            if self.backends[backend].state == State::Down {
                failed.push(backend);
                continue;
            }
            self.table.weigh(id(backend), 1);
            return self.later(3 * SECOND, Event::Opened { backend, client });
        }
    }

    fn opened(&mut self, backend: usize, client: IpAddr) {
        self.backends[backend].issued += 1;
        let sid = format!("b{backend}-{}", self.backends[backend].issued);
        let interval_ms = u32::try_from(self.random.below(40_000)).expect("below 40 s");
        let (handshake, protocol) = answer::learn(&sid, interval_ms, &mut self.random);
        let time_to_live = handshake.time_to_live();
        let session = self.sessions.len();
        let known = Session::new(handshake.sid, backend, protocol, client, time_to_live, self.now);
        let bound = if self.fault == Fault::BoundLate {
            self.later(SECOND, Event::Bind { session });
            Ok(())
        } else {
            self.table.insert(&handshake, id(backend), self.now)
        };
        self.table.weigh(id(backend), -1);
        if bound.is_err() {
            self.report.refused += 1;
            return;
        }
        self.report.sessions += 1;
        self.sessions.push(known);
        self.later(SECOND, Event::Request { session });
    }

    /// Of [`Fault::BoundLate`] only.
    fn bind(&mut self, session: usize) {
        let Session { sid, issuer, .. } = self.sessions[session];
        let text = str::from_utf8(sid.as_bytes()).expect("text").to_owned();
        let (handshake, _) = answer::learn(&text, 25_000, &mut self.random);
        // Full is as good as late.
        let _ = self.table.insert(&handshake, id(issuer), self.now);
    }

    fn request(&mut self, session: usize) {
        let worker = self.random.below(self.workers.len());
        let Session { sid, issuer, client, .. } = self.sessions[session];
        let text = str::from_utf8(sid.as_bytes()).expect("text");
        let head = request(&format!("EIO=4&transport=polling&sid={text}"));
        let role = head.query().and_then(query).map(|query| query.role(head.method_bytes()));
        assert_eq!(role, Some(Role::Session(sid)));

        let must_be_known = self.sessions[session].must_be_known(self.now);
        let table = self.table.begin(&sid, self.now).filter(|_| self.fault != Fault::TableIgnored);
        let candidates = self.candidates(worker, false, &[]);
        let seen = self.seen(worker, role.as_ref(), table, client);
        let choice = decide(&Affinity::EngineIo, &seen, &candidates).backend();
        let chosen = choice.map(|choice| candidates[choice.index].id.index());
        let is_present = !matches!(self.backends[issuer].state, State::Removed | State::Maintenance);
        let in_maintenance = |index: usize| self.backends[index].state == State::Maintenance;
        assert!(!chosen.is_some_and(in_maintenance), "sid {text} went where nothing may go");
        if must_be_known {
            assert!(!is_present || chosen == Some(issuer), "sid {text} went to {chosen:?}");
            assert_eq!(table, Some(id(issuer)), "sid {text} was forgotten");
        }
        assert!(table.is_none_or(|owner| owner == id(issuer)), "sid {text} is another's");
        match table {
            Some(_) => {
                self.report.followed += 1;
                self.sessions[session].begin();
            }
            None => self.report.unknown += 1,
        }
        let purpose = [Purpose::Close, Purpose::Upgrade, Purpose::Poll][self.random.below(20).min(2)];
        match chosen {
            Some(backend) if self.backends[backend].state != State::Down => {
                self.workers[worker].in_flight[backend] += 1;
                let answered = Event::Answered { session, worker, backend, known: table.is_some(), purpose };
                self.later(30 * SECOND, answered);
            }
            // Answered 502 or 503 at once: a request with a sid is never sent elsewhere.
            _ => self.ended(session, table.is_some()),
        }
        // Two requests of one session may overlap, as a poll and a POST do.
        if self.random.percent(10) {
            self.next_request(session);
        }
    }

    fn answered(&mut self, session: usize, backend: usize, known: bool, purpose: Purpose) {
        let Session { sid, issuer, protocol, .. } = self.sessions[session];
        if known && backend == issuer {
            match purpose {
                Purpose::Poll => {}
                Purpose::Close => {
                    let body: &[u8] = if protocol == Protocol::V4 { b"1" } else { b"1:1" };
                    assert!(is_close(body, protocol));
                    self.table.remove(&sid, self.now);
                    self.sessions[session].close();
                }
                Purpose::Upgrade => {
                    self.table.upgraded(&sid, self.now);
                    self.sessions[session].upgrade(self.now);
                    self.table.weigh(id(backend), 1);
                    self.report.tunnels += 1;
                    self.later(60 * SECOND, Event::TunnelEnds { backend });
                }
            }
        }
        self.ended(session, known);
        self.next_request(session);
    }

    fn ended(&mut self, session: usize, known: bool) {
        if known {
            self.table.end(&self.sessions[session].sid, self.now);
            self.sessions[session].end(self.now);
        }
    }

    /// Soon as a rule, and sometimes about when the session is forgotten.
    fn next_request(&mut self, session: usize) {
        if self.now < self.end && !self.sessions[session].is_over() {
            let most = if self.random.percent(20) { 60 * SECOND } else { SECOND };
            self.later(most, Event::Request { session });
        }
    }

    fn seen<'a>(
        &mut self,
        worker: usize,
        role: Option<&'a Role>,
        table: Option<BackendId>,
        client: IpAddr,
    ) -> Seen<'a> {
        self.workers[worker].rotation += 1;
        let rotation = self.workers[worker].rotation;
        Seen {
            role,
            tag: None,
            table,
            listed: Listed::Never,
            told: Told::Never,
            value: None,
            client,
            balance: None,
            rotation,
            random: 0,
        }
    }

    /// Half of the clients are behind one address.
    fn address(&mut self) -> IpAddr {
        let last = if self.random.percent(50) { 0 } else { self.random.below(256) };
        Ipv4Addr::new(198, 51, 100, u8::try_from(last).expect("a byte")).into()
    }
}

/// The load bound, written without the arithmetic of the code under test: a backend that is given a
/// session had less than its bounded share of the load that there is with it.
fn check_placement(candidates: &[Candidate], index: usize) {
    let usable = || candidates.iter().filter(|candidate| candidate.accepts_new);
    let load: u64 = usable().map(|candidate| u64::from(candidate.load)).sum();
    let weight: u64 = usable().map(|candidate| u64::from(candidate.weight)).sum();
    let chosen = &candidates[index];
    assert!(chosen.accepts_new, "a session was placed where none may be");
    let share = (load + 1) as f64 * f64::from(chosen.weight) / weight as f64;
    let bound = (share * f64::from(PLACEMENT_LOAD_PERCENT) / 100.0).ceil();
    assert!(f64::from(chosen.load) < bound + 1e-6, "load {} of at most {bound}", chosen.load);
}

fn request(query: &str) -> RequestHead {
    let text = format!("GET /socket.io/?{query} HTTP/1.1\r\nHost: a.example\r\n\r\n");
    let mut head = RequestHead::default();
    assert_eq!(head.parse(text.as_bytes(), &HeadLimits::default()), Ok(Some(text.len())));
    head
}

fn id(index: usize) -> BackendId {
    BackendId(u32::try_from(index).expect("few backends"))
}

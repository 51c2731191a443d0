//! Many edges behind one address, none of which knows what the others do, before many backends.
//!
//! A history is a row of chapters: something happens to edges or backends, then every session sends some requests,
//! most over the connection it has, some over a new one that leads to any edge. What is counted is what each kind of
//! evidence is worth then: requests that came to a backend without their session, questions, looks at the directory.
//! Sessions are between two polls when their edge dies: a held poll ends its session whatever the evidence.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use ringbolt_core::affinity::{Sid, choose, key_of_address};

use crate::random::Random;
use backends::{Backends, Standing};
use edge::{Edge, Request};
use evidence::Shared;

mod backends;
mod edge;
mod evidence;
mod report;

pub use report::Chapter;

/// By what edges find sessions that they have not seen begin. Each knows its own by its table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// Nothing else: where the client's address points.
    Table,
    /// The backends are asked.
    Ask,
    /// The sid's tag, and nothing else.
    Tags,
    /// A directory that all edges share; where that is away, the backends are asked.
    Directory,
}

impl Mode {
    /// Every one, in the order of tables.
    pub const ALL: [Self; 4] = [Self::Table, Self::Ask, Self::Tags, Self::Directory];

    /// What it is called in tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Table => "table only",
            Self::Ask => "ask",
            Self::Tags => "tags",
            Self::Directory => "directory",
        }
    }
}

/// What happens at the beginning of a chapter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    Nothing,
    /// A tenth of the edges, at once.
    EdgesDie,
    /// Those, with empty tables.
    EdgesReturn,
    /// Every edge loses its table.
    EdgesRestart,
    /// The same while the directory cannot be reached.
    EdgesRestartWithoutDirectory,
    /// A tenth of the number there is.
    BackendsCome,
    /// A tenth keeps its sessions and gets no others.
    BackendsDrain,
    /// A tenth of the others is down, with its sessions.
    BackendsDie,
}

impl Event {
    /// Every one, in the order of a history.
    pub const ALL: [Self; 8] = [
        Self::Nothing,
        Self::EdgesDie,
        Self::EdgesReturn,
        Self::EdgesRestart,
        Self::EdgesRestartWithoutDirectory,
        Self::BackendsCome,
        Self::BackendsDrain,
        Self::BackendsDie,
    ];

    /// What it is called in tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::EdgesDie => "a tenth of the edges dies",
            Self::EdgesReturn => "they return, empty",
            Self::EdgesRestart => "all edges restart at once",
            Self::EdgesRestartWithoutDirectory => "the same, the directory is away",
            Self::BackendsCome => "a tenth more backends",
            Self::BackendsDrain => "a tenth of the backends drains",
            Self::BackendsDie => "a tenth of the others dies",
        }
    }
}

/// A history.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    pub mode: Mode,
    pub edges: usize,
    pub backends: usize,
    /// Sessions that are open at any time.
    pub sessions: usize,
    pub seed: u64,
}

/// Time in which every session sends one request: less than any server's ping interval and timeout.
const ROUND: Duration = Duration::from_secs(20);
/// Rounds in a chapter: one that shows the event, and some in which sessions move on.
const ROUNDS: u32 = 3;
/// Requests in a hundred that come over a new connection.
const RECONNECT_PERCENT: usize = 5;
/// Sessions in a hundred that end in a round; others begin.
const CHURN_PERCENT: usize = 2;
/// Clients in a hundred that share their address, and with how many about.
const SHARED_PERCENT: usize = 40;
const SHARED_BY: usize = 200;

/// What each event did in the history of these settings.
#[must_use]
pub fn play(settings: &Settings) -> Vec<Chapter> {
    let mut fleet = Fleet::new(settings);
    Event::ALL.map(|event| fleet.chapter(event)).into()
}

/// An open session, as its client knows it.
#[derive(Debug)]
struct Session {
    sid: Sid,
    issuer: usize,
    client: IpAddr,
    /// Where its connection leads.
    edge: usize,
}

struct Fleet {
    settings: Settings,
    random: Random,
    now: Duration,
    backends: Backends,
    /// By number; `None`: it is dead.
    edges: Vec<Option<Edge>>,
    sessions: Vec<Session>,
    shared: Shared,
}

impl Fleet {
    /// A fleet that has just opened all its sessions.
    fn new(settings: &Settings) -> Self {
        let backends = Backends::new(settings.backends);
        let edges = (0..settings.edges).map(|number| Some(Edge::new(number, &backends, settings.sessions)));
        let mut fleet = Self {
            settings: *settings,
            random: Random::new(settings.seed),
            now: Duration::from_secs(1),
            edges: edges.collect(),
            backends,
            sessions: Vec::with_capacity(settings.sessions),
            shared: Shared::new(settings.mode),
        };
        for _ in 0..settings.sessions {
            let client = fleet.any_client();
            let session = fleet.open(client);
            fleet.sessions.push(session);
        }
        fleet
    }

    fn chapter(&mut self, event: Event) -> Chapter {
        self.happen(event);
        let guesses_miss = (self.settings.mode == Mode::Table).then(|| self.sessions_placed_aside());
        for _ in 0..ROUNDS {
            self.round();
        }
        self.shared.directory_is_away = false;
        let (edges, spread) = (self.settings.edges, self.backends.spread());
        self.shared.end_chapter(event, edges, self.sessions.len(), guesses_miss, spread)
    }

    fn happen(&mut self, event: Event) {
        let tenth = self.settings.backends.div_ceil(10);
        match event {
            Event::Nothing => {}
            Event::EdgesDie => {
                let dying = self.settings.edges.div_ceil(10);
                self.edges[..dying].fill_with(|| None);
            }
            Event::EdgesReturn => {
                for number in 0..self.edges.len() {
                    if self.edges[number].is_none() {
                        self.start_edge(number);
                    }
                }
            }
            Event::EdgesRestart | Event::EdgesRestartWithoutDirectory => {
                self.shared.directory_is_away = event == Event::EdgesRestartWithoutDirectory;
                (0..self.edges.len()).for_each(|number| self.start_edge(number));
            }
            Event::BackendsCome => {
                for _ in 0..tenth {
                    let number = self.backends.add();
                    self.edges.iter_mut().flatten().for_each(|edge| edge.add(number, &self.backends));
                }
            }
            Event::BackendsDrain => self.stand(0..tenth, Standing::Draining),
            Event::BackendsDie => self.stand(tenth..2 * tenth, Standing::Dead),
        }
    }

    fn start_edge(&mut self, number: usize) {
        self.edges[number] = Some(Edge::new(number, &self.backends, self.settings.sessions));
    }

    fn stand(&mut self, numbers: std::ops::Range<usize>, standing: Standing) {
        for number in numbers {
            self.backends.stand(number, standing);
            self.edges.iter_mut().flatten().for_each(|edge| edge.stand(number, &self.backends));
        }
    }

    /// Every session sends a request, ends, or opens another where it was lost.
    fn round(&mut self) {
        let began = self.now;
        let count = u32::try_from(self.sessions.len()).expect("millions at most");
        for (number, index) in (0..self.sessions.len()).zip(0..count) {
            self.now = began + ROUND * index / count;
            if self.random.percent(CHURN_PERCENT) {
                self.end(number);
                let client = self.any_client();
                self.sessions[number] = self.open(client);
            } else {
                self.request(number);
            }
        }
        self.now = began + ROUND;
        self.edges.iter_mut().flatten().for_each(|edge| edge.sweep(self.now));
    }

    fn request(&mut self, number: usize) {
        let former = self.sessions[number].edge;
        if self.edges[former].is_none() || self.random.percent(RECONNECT_PERCENT) {
            self.sessions[number].edge = self.any_edge();
        }
        let Session { sid, issuer, client, edge } = self.sessions[number];
        let counts = &mut self.shared.counts;
        counts.requests += 1;
        counts.moved += u64::from(edge != former);
        let has_it = |backend: usize| backend == issuer && self.backends.serves(backend);
        let request = Request { sid, client, now: self.now };
        let reached =
            self.edges[edge].as_mut().and_then(|edge| edge.serve(&mut self.shared, &request, has_it));
        if reached.is_some_and(has_it) {
            return;
        }
        match self.backends.serves(issuer) {
            true => self.shared.counts.lost += 1,
            false => self.shared.counts.ended_with_backend += 1,
        }
        self.backends.end(issuer);
        self.shared.forget(&sid);
        self.sessions[number] = self.open(client);
    }

    /// A client ends its session.
    fn end(&mut self, number: usize) {
        let Session { sid, issuer, edge, .. } = &self.sessions[number];
        self.backends.end(*issuer);
        if let Some(edge) = &mut self.edges[*edge] {
            edge.close(self.shared.key(sid), self.now);
        }
        self.shared.forget(sid);
    }

    /// A client opens a session by way of any edge.
    fn open(&mut self, client: IpAddr) -> Session {
        let edge = self.any_edge();
        let own = self.any_sid();
        let handling = self.edges[edge].as_mut().expect("it lives");
        let (issuer, sid) = handling.open(&mut self.shared, &Request { sid: own, client, now: self.now });
        self.backends.begin(issuer);
        self.shared.counts.opened += 1;
        Session { sid, issuer, client, edge }
    }

    fn any_edge(&mut self) -> usize {
        loop {
            let edge = self.random.below(self.edges.len());
            if self.edges[edge].is_some() {
                return edge;
            }
        }
    }

    fn any_client(&mut self) -> IpAddr {
        let shared = self.random.percent(SHARED_PERCENT);
        let addresses = self.settings.sessions * SHARED_PERCENT / 100 / SHARED_BY;
        let (network, host) = match shared {
            true => (0x0a00_0000, self.random.below(addresses.max(1))),
            false => (0xc000_0000, self.random.below(1 << 28)),
        };
        IpAddr::V4(Ipv4Addr::from_bits(network + u32::try_from(host).expect("28 bits")))
    }

    /// A sid as engine.io makes it.
    fn any_sid(&mut self) -> Sid {
        const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let mut bytes = [0; 20];
        for ten in bytes.chunks_exact_mut(10) {
            let bits = self.random.next();
            for (shift, character) in (0..).step_by(6).zip(ten) {
                *character = ALPHABET[usize::try_from(bits >> shift & 63).expect("six bits")];
            }
        }
        Sid::new(&bytes).expect("20 bytes")
    }

    /// Sessions that are not where their client's address points: the bound on load has moved them, or backends have
    /// come since.
    fn sessions_placed_aside(&self) -> u64 {
        let candidates = self.backends.candidates();
        let is_aside = |session: &&Session| {
            self.backends.serves(session.issuer)
                && choose(key_of_address(session.client), &candidates) != Some(session.issuer)
        };
        self.sessions.iter().filter(is_aside).count() as u64
    }
}

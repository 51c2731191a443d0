//! The backends as they are: what their names are, how they stand, and how many sessions each has.

use ringbolt_core::affinity::{BackendId, Candidate, seed_of_name};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Standing {
    Up,
    Draining,
    Dead,
}

#[derive(Debug)]
struct Backend {
    seed: u64,
    standing: Standing,
    sessions: u32,
}

#[derive(Debug)]
pub(super) struct Backends(Vec<Backend>);

impl Backends {
    pub(super) fn new(count: usize) -> Self {
        let mut backends = Self(Vec::new());
        for _ in 0..count {
            backends.add();
        }
        backends
    }

    /// One more; its number.
    pub(super) fn add(&mut self) -> usize {
        let number = self.0.len();
        let seed = seed_of_name(&format!("chat-{number}"));
        self.0.push(Backend { seed, standing: Standing::Up, sessions: 0 });
        number
    }

    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    pub(super) fn stand(&mut self, number: usize, standing: Standing) {
        self.0[number].standing = standing;
    }

    pub(super) fn serves(&self, number: usize) -> bool {
        self.0[number].standing != Standing::Dead
    }

    pub(super) fn begin(&mut self, number: usize) {
        self.0[number].sessions += 1;
    }

    pub(super) fn end(&mut self, number: usize) {
        self.0[number].sessions -= 1;
    }

    /// A backend as an edge sees it that calls it `id` and has not met any of its sessions.
    pub(super) fn candidate(&self, number: usize, id: BackendId) -> Candidate {
        let Backend { seed, standing, .. } = self.0[number];
        let accepts_new = standing == Standing::Up;
        Candidate { id, seed, weight: 1, accepts_new, serves: standing != Standing::Dead, load: 0 }
    }

    /// All, in the order of their numbers.
    pub(super) fn candidates(&self) -> Vec<Candidate> {
        (0..self.0.len()).zip(0..).map(|(number, id)| self.candidate(number, BackendId(id))).collect()
    }

    /// Sessions of the fullest of those that get new ones, as a multiple of their mean.
    pub(super) fn spread(&self) -> f64 {
        let up = || self.0.iter().filter(|backend| backend.standing == Standing::Up);
        let most = up().map(|backend| backend.sessions).max().unwrap_or(0);
        let all: u32 = up().map(|backend| backend.sessions).sum();
        f64::from(most) * up().count() as f64 / f64::from(all)
    }
}

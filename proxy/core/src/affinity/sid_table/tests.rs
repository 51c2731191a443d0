//! A session keeps its backend as long as it lives, and its entry no longer than a little more.
//!
//! Time is a number of the test's. Fails with sessions lost (`begin` answers `None`) or with load counters
//! that drift, which no restart of a backend corrects.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::affinity::{Sid, SidHasher};

impl Shard {
    fn begun(&mut self, key: SidKey, now: Tick) -> Option<BackendId> {
        self.begin(key, now).map(|known| known.backend)
    }

    /// Whose place an insert took.
    fn inserted(&mut self, key: SidKey, backend: BackendId, now: Tick) -> Result<Option<BackendId>, Full> {
        Ok(self.insert(key, backend, LIFE, now)?.map(|gone| gone.backend))
    }
}

const LIFE: Duration = Duration::from_secs(50);

fn key(number: u32) -> SidKey {
    SidHasher::new([3; 16]).key(0, &Sid::new(&number.to_le_bytes()).unwrap())
}

fn at(seconds: u64) -> Tick {
    Tick::from_duration(Duration::from_secs(seconds))
}

fn shard_with_one() -> Shard {
    let mut shard = Shard::with_capacity_max(8);
    assert_eq!(shard.insert(key(1), BackendId(7), LIFE, at(0)), Ok(None));
    shard
}

fn swept(shard: &mut Shard, now: Tick) -> Vec<BackendId> {
    let mut out = Vec::new();
    shard.sweep(now, usize::MAX, |gone| out.push(gone.backend));
    out
}

#[test]
fn a_silent_session_is_forgotten_after_its_time_to_live() {
    let mut shard = shard_with_one();
    assert_eq!(shard.begun(key(2), at(0)), None);
    assert_eq!(shard.owner(key(1), at(50)), Some(BackendId(7)));
    assert_eq!(shard.begun(key(1), at(50)), Some(BackendId(7)));
    assert_eq!(shard.owner(key(2), at(50)), None);
    shard.end(key(1), at(60));
    assert_eq!(swept(&mut shard, at(110)), []);
    assert_eq!(shard.begun(key(1), at(111)), None, "expired, though no sweep has come");
    assert_eq!(shard.len(), 1);
    assert_eq!(swept(&mut shard, at(111)), [BackendId(7)]);
    assert!(shard.is_empty());
}

/// Whether the request is due to renew what others have noted of the session, and whether they had forgotten it.
fn renewed(shard: &mut Shard, noted_until: &mut Duration, now: Duration) -> (bool, bool) {
    let tick = Tick::from_duration(now);
    let known = shard.begin(key(1), tick).expect("a living session");
    let was_forgotten = *noted_until <= now;
    if known.is_due {
        *noted_until = now + crate::affinity::lifetime(known.time_to_live);
    }
    (known.is_due, was_forgotten)
}

#[test]
fn a_session_that_is_taken_over_is_due_at_once() {
    let mut shard = shard_with_one();
    let record = shard.record(key(1), at(10)).unwrap();
    assert!(!shard.begin(key(1), at(10)).unwrap().is_due, "noted when it began");
    let mut other = Shard::with_capacity_max(8);
    other.restore(&record, at(10)).unwrap();
    assert!(other.begin(key(1), at(10)).unwrap().is_due);
    assert!(!other.begin(key(1), at(11)).unwrap().is_due);
}

proptest! {
    /// Whatever else a session does: as long as it lives the others' note of it does, and is rarely renewed.
    #[test]
    fn a_note_that_is_renewed_when_it_is_due_outlives_the_session(
        life in 2_000..100_000_u64,
        steps in prop::collection::vec((0.0..0.98_f64, 0.0..0.9_f64), 1..60),
    ) {
        let life = Duration::from_millis(life);
        let mut shard = Shard::with_capacity_max(8);
        shard.insert(key(1), BackendId(7), life, Tick::from_duration(Duration::ZERO)).unwrap();
        let (mut now, mut noted_until, mut renewals) = (Duration::ZERO, crate::affinity::lifetime(life), 0_u32);
        for (gap, held) in steps {
            now += life.mul_f64(gap);
            let (is_due, was_forgotten) = renewed(&mut shard, &mut noted_until, now);
            prop_assert!(!was_forgotten, "at {:?}", now);
            renewals += u32::from(is_due);
            // The next request follows in time, though the poll may be held for most of it.
            shard.end(key(1), Tick::from_duration(now + life.mul_f64(gap.min(held) / 2.0)));
        }
        let halves = (now.as_secs_f64() / life.as_secs_f64() * 2.0).floor() + 1.0;
        prop_assert!(f64::from(renewals) <= halves, "{renewals} in {halves} halves");
    }
}

#[test]
fn a_request_in_progress_keeps_its_session() {
    let mut shard = shard_with_one();
    shard.begun(key(1), at(0));
    shard.begun(key(1), at(1));
    shard.end(key(1), at(2));
    assert_eq!(swept(&mut shard, at(10_000)), []);
    assert_eq!(shard.begun(key(1), at(10_000)), Some(BackendId(7)));
}

#[test]
fn a_copy_lives_on_for_what_was_left() {
    let mut shard = Shard::with_capacity_max(100_000);
    for number in 0..5_000 {
        shard.insert(key(number), BackendId(number), LIFE, at(u64::from(number) / 100)).unwrap();
    }
    shard.begun(key(0), at(40));
    let mut records = Vec::new();
    (0..shard.part_count()).for_each(|part| shard.copy(part, at(70), &mut records));
    // Those of the first 20 seconds have expired, but for the one with a request in progress.
    assert_eq!(records.len(), 3_001);
    let mut copy = Shard::with_capacity_max(100_000);
    for record in &records {
        let words = record.key.to_words();
        let record = SidRecord { key: SidKey::from_words(words), ..*record };
        assert_eq!(copy.restore(&record, at(1_000)), Ok(None));
    }
    assert_eq!(copy.begun(key(0), at(1_049)), Some(BackendId(0)), "has its whole life before it");
    assert_eq!(copy.begun(key(4_000), at(1_019)), Some(BackendId(4_000)), "had 20 seconds left");
    assert_eq!(copy.begun(key(4_001), at(1_021)), None);
    copy.end(key(4_000), at(1_020));
    assert_eq!(copy.begun(key(4_000), at(1_069)), Some(BackendId(4_000)), "lives as long as before");
}

#[test]
fn who_visits_sees_the_living_and_what_they_do() {
    let mut shard = shard_with_one();
    assert_eq!(shard.insert(key(2), BackendId(8), LIFE, at(20)), Ok(None));
    shard.begin(key(2), at(20));
    shard.begin(key(2), at(21));
    let visited = |shard: &Shard, now: u64| {
        let mut seen = Vec::new();
        (0..shard.part_count()).for_each(|part| shard.visit(part, at(now), |one| seen.push(one)));
        seen.sort_by_key(|one| one.backend);
        seen
    };
    let seen = visited(&shard, 30);
    let seconds = |one: &SidStanding| (one.age.as_secs(), one.left.as_secs());
    let told: Vec<_> = seen.iter().map(|one| (one.key, one.in_progress, seconds(one))).collect();
    assert_eq!(told, [(key(1), 0, (30, 20)), (key(2), 2, (10, 50))]);
    shard.upgraded(key(2), at(60));
    let seen = visited(&shard, 60);
    let upgrading = (1, BackendId(8), SessionState::Upgrading);
    assert_eq!((seen.len(), seen[0].backend, seen[0].state), upgrading, "the first has expired");
}

#[test]
fn an_upgrade_that_holds_is_forgotten_soon() {
    let mut shard = shard_with_one();
    shard.begun(key(1), at(0));
    shard.begun(key(1), at(0));
    shard.upgraded(key(1), at(1));
    shard.end(key(1), at(1));
    // The waiting poll, then one more that the server answers with a noop.
    shard.end(key(1), at(1));
    assert_eq!(shard.begun(key(1), at(1)), Some(BackendId(7)));
    shard.end(key(1), at(1));
    assert_eq!(swept(&mut shard, at(16)), []);
    assert_eq!(swept(&mut shard, at(17)), [BackendId(7)]);
}

#[test]
fn an_upgrade_that_fails_leaves_the_session_its_life() {
    // A poll begins after the upgrade timed out, or is held beyond it.
    for (begins, ends) in [(12, 13), (5, 30)] {
        let mut shard = shard_with_one();
        shard.upgraded(key(1), at(1));
        assert_eq!(shard.begun(key(1), at(begins)), Some(BackendId(7)));
        shard.end(key(1), at(ends));
        assert_eq!(shard.begun(key(1), at(ends + 50)), Some(BackendId(7)));
    }
}

/// A session ends as it was seen last; what a request came to is forgotten when the next one begins.
#[test]
fn what_ends_says_how_it_was_seen_last_and_how_long_it_lived() {
    let ended = |steps: &dyn Fn(&mut Shard)| {
        let mut shard = shard_with_one();
        shard.begun(key(1), at(10));
        steps(&mut shard);
        shard.end(key(1), at(20));
        let mut all = Vec::new();
        shard.sweep(at(100), usize::MAX, |gone| all.push((gone.state, gone.age)));
        all
    };
    let age = Duration::from_secs(100);
    for state in [SessionState::ClientLeft, SessionState::BackendLost, SessionState::Refused] {
        assert_eq!(ended(&|shard| shard.note(key(1), state)), [(state, age)]);
    }
    let polls_on = |shard: &mut Shard| {
        shard.note(key(1), SessionState::ClientLeft);
        shard.begun(key(1), at(15));
        shard.end(key(1), at(15));
    };
    assert_eq!(ended(&polls_on), [(SessionState::Polling, age)]);
    let upgrades = |shard: &mut Shard| {
        shard.upgraded(key(1), at(15));
        shard.note(key(1), SessionState::ClientLeft);
    };
    assert_eq!(ended(&upgrades), [(SessionState::Upgrading, age)]);
}

/// Nobody gains by it, and it lives on for its time to live.
#[test]
fn more_requests_at_once_than_are_counted_do_no_harm() {
    let mut shard = shard_with_one();
    for _ in 0..300 {
        assert_eq!(shard.begun(key(1), at(1)), Some(BackendId(7)));
    }
    (0..300).for_each(|_| shard.end(key(1), at(2)));
    assert_eq!(swept(&mut shard, at(51)), []);
    assert_eq!(swept(&mut shard, at(53)), [BackendId(7)]);
}

#[test]
fn a_reissued_sid_moves_and_gives_its_former_backend_back() {
    let mut shard = shard_with_one();
    shard.begun(key(1), at(0));
    shard.upgraded(key(1), at(0));
    assert_eq!(shard.inserted(key(1), BackendId(8), at(1)), Ok(Some(BackendId(7))));
    assert_eq!(swept(&mut shard, at(1000)), [], "the request in progress counts on");
    assert_eq!(shard.begun(key(1), at(1000)), Some(BackendId(8)));
    assert_eq!(shard.len(), 1);
}

#[test]
fn a_removed_session_is_unknown_and_ends_that_come_late_do_nothing() {
    let mut shard = shard_with_one();
    shard.begun(key(1), at(0));
    let gone = shard.remove(key(1), at(1)).unwrap();
    assert_eq!((gone.backend, gone.age), (BackendId(7), Duration::from_secs(1)));
    assert_eq!(shard.remove(key(1), at(1)), None);
    shard.end(key(1), at(1));
    shard.upgraded(key(1), at(1));
    assert_eq!(shard.begun(key(1), at(1)), None);
}

#[test]
fn a_full_shard_refuses_the_new_and_keeps_the_living() {
    let mut shard = Shard::with_capacity_max(100);
    for number in 0..100 {
        shard.insert(key(number), BackendId(number), LIFE, at(0)).unwrap();
    }
    assert!(shard.is_full());
    assert_eq!(shard.insert(key(100), BackendId(100), LIFE, at(50)), Err(Full));
    assert_eq!(shard.inserted(key(5), BackendId(200), at(50)), Ok(Some(BackendId(5))), "it is known");
    assert!((0..100).all(|number| shard.begun(key(number), at(50)).is_some()));
    for number in 0..100 {
        shard.end(key(number), at(60));
    }
    let released = shard.insert(key(100), BackendId(100), LIFE, at(111)).unwrap();
    assert!(released.is_some(), "an expired one made room");
    assert_eq!(shard.len(), 100);
    assert_eq!(Shard::with_capacity_max(0).insert(key(1), BackendId(1), LIFE, at(0)), Err(Full));
}

#[test]
fn a_sweep_is_bounded_and_rounds_meet_everyone() {
    let mut shard = Shard::with_capacity_max(1000);
    for number in 0..1000 {
        shard.insert(key(number), BackendId(number), LIFE, at(u64::from(number % 2) * 100)).unwrap();
    }
    let mut expired = Vec::new();
    for round in 1..=10 {
        shard.sweep(at(60), 100, |gone| expired.push(gone.backend.0));
        assert!(expired.len() <= round * 100);
    }
    expired.sort_unstable();
    assert_eq!(expired, (0..1000).filter(|number| number % 2 == 0).collect::<Vec<_>>());
    let mut left = Vec::new();
    shard.for_each(|_, backend| left.push(backend.0));
    assert_eq!(left.len(), shard.len());
    assert!(left.iter().all(|number| number % 2 == 1));
    shard.sweep(at(60), 0, |_| panic!("asked for none"));
}

#[test]
fn memory_is_given_back_after_a_burst() {
    let mut shard = Shard::with_capacity_max(100_000);
    for number in 0..100_000 {
        shard.insert(key(number), BackendId(1), LIFE, at(u64::from(number < 100) * 1000)).unwrap();
    }
    assert_eq!(swept(&mut shard, at(60)).len(), 99_900);
    for segment in &shard.segments {
        let (entries, index) = segment.capacities();
        assert!(entries <= (4 * segment.len()).max(16) && index <= (4 * segment.len()).max(16) * 2);
    }
    assert!((0..100).all(|number| shard.begun(key(number), at(1000)).is_some()));
}

#[test]
fn no_segment_outgrows_what_can_be_moved_at_once() {
    let mut shard = Shard::with_capacity_max(200_000);
    for number in 0..200_000 {
        shard.insert(key(number), BackendId(1), LIFE, at(0)).unwrap();
    }
    assert!(shard.segments.iter().all(|segment| segment.len() < 2 * SID_SEGMENT_ENTRIES));
    assert_eq!(shard.segments.iter().map(Segment::len).sum::<usize>(), shard.len());
}

/// One session as the naive model sees it, in ticks of a second.
#[derive(Debug)]
struct Model {
    backend: u32,
    life: u64,
    requests: u32,
    quiet_since: u64,
    upgraded: Option<u64>,
}

impl Model {
    fn settle(&mut self, now: u64) {
        if self.upgraded.is_some_and(|since| now >= since + UPGRADE_TIMEOUT.as_secs()) {
            self.upgraded = None;
            self.quiet_since = now;
        }
    }

    /// `None` in the second after its end: the shard may round up.
    fn is_live(&self, now: u64) -> Option<bool> {
        let end = match self.upgraded {
            Some(since) => since + (UPGRADE_TIMEOUT + UPGRADE_MARGIN).as_secs(),
            None => self.quiet_since + self.life,
        };
        if self.requests > 0 || now < end {
            Some(true)
        } else if now > end {
            Some(false)
        } else {
            None
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Insert { sid: u32, backend: u32, life: u64 },
    Begin(u32),
    End(u32),
    Upgraded(u32),
    Remove(u32),
    Sweep(usize),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let sid = || 0..12_u32;
    prop_oneof![
        3 => (sid(), 0..3_u32, 6..60_u64).prop_map(|(sid, backend, life)| Step::Insert { sid, backend, life }),
        4 => sid().prop_map(Step::Begin),
        4 => sid().prop_map(Step::End),
        1 => sid().prop_map(Step::Upgraded),
        1 => sid().prop_map(Step::Remove),
        1 => (0..10_usize).prop_map(Step::Sweep),
        4 => (0..40_u64).prop_map(Step::Wait),
    ]
}

const CAPACITY: u32 = 8;

/// A small shard of as many segments as a large one has.
fn in_segments(entries_max: u32) -> Shard {
    let entries = u32::try_from(SID_SEGMENT_ENTRIES).unwrap();
    Shard { entries_max, ..Shard::with_capacity_max(4 * entries) }
}

struct Pair {
    shard: Shard,
    model: BTreeMap<u32, Model>,
    loads: [i64; 3],
    now: u64,
}

impl Pair {
    fn take(&mut self, step: &Step) {
        let now = at(self.now);
        match *step {
            Step::Insert { sid, backend, life } => self.insert(sid, backend, life),
            Step::Begin(sid) => {
                let found = self.shard.begun(key(sid), now).map(|backend| backend.0);
                let live = self.model.get(&sid).map(|model| model.is_live(self.now));
                match (live, found) {
                    (None | Some(Some(false)), found) => assert_eq!(found, None, "unknown or expired"),
                    (Some(Some(true)), found) => assert_eq!(found, Some(self.model[&sid].backend)),
                    (Some(None), _) => {}
                }
                if found.is_some() {
                    let model = self.model.get_mut(&sid).unwrap();
                    model.settle(self.now);
                    model.requests += 1;
                }
            }
            Step::End(sid) => {
                // Only what has begun ends.
                if let Some(model) = self.model.get_mut(&sid).filter(|model| model.requests > 0) {
                    self.shard.end(key(sid), now);
                    model.settle(self.now);
                    model.requests -= 1;
                    model.quiet_since = self.now;
                }
            }
            Step::Upgraded(sid) => {
                if let Some(model) = self.model.get_mut(&sid).filter(|model| model.requests > 0) {
                    self.shard.upgraded(key(sid), now);
                    model.upgraded = Some(self.now);
                }
            }
            Step::Remove(sid) => {
                let removed = self.shard.remove(key(sid), now).map(|gone| gone.backend);
                assert_eq!(removed.is_some(), self.model.remove(&sid).is_some());
                self.release(removed);
            }
            Step::Sweep(entries_max) => {
                let mut expired = Vec::new();
                self.shard.sweep(now, entries_max, |gone| expired.push(gone.backend));
                assert!(expired.len() <= entries_max);
                expired.into_iter().for_each(|backend| self.release(Some(backend)));
                self.forget_swept();
            }
            Step::Wait(seconds) => self.now += seconds,
        }
    }

    fn insert(&mut self, sid: u32, backend: u32, life: u64) {
        let result = self.shard.insert(key(sid), BackendId(backend), Duration::from_secs(life), at(self.now));
        let Ok(released) = result else {
            let living = self.model.values().filter(|model| model.is_live(self.now) != Some(false)).count();
            assert!(
                living == CAPACITY as usize && !self.model.contains_key(&sid),
                "refused though there was room"
            );
            return;
        };
        self.release(released.map(|gone| gone.backend));
        self.loads[backend as usize] += 1;
        let requests = self.model.remove(&sid).map_or(0, |former| former.requests);
        self.model.insert(sid, Model { backend, life, requests, quiet_since: self.now, upgraded: None });
        self.forget_swept();
    }

    fn release(&mut self, backend: Option<BackendId>) {
        if let Some(backend) = backend {
            self.loads[backend.index()] -= 1;
        }
    }

    /// Takes out of the model what the shard no longer has; it must have been allowed to go.
    fn forget_swept(&mut self) {
        let mut kept = Vec::new();
        self.shard.for_each(|key, _| kept.push(key));
        let now = self.now;
        self.model.retain(|sid, model| {
            let is_kept = kept.contains(&key(*sid));
            assert!(is_kept || model.is_live(now) != Some(true), "a living session was dropped");
            is_kept
        });
    }

    fn check(&self) {
        let mut loads = [0; 3];
        self.shard.for_each(|_, backend| loads[backend.index()] += 1);
        assert_eq!(loads, self.loads, "loads drift");
        assert_eq!(self.shard.len(), self.model.len());
        assert!(self.shard.len() <= CAPACITY as usize);
    }
}

proptest! {
    #[test]
    fn a_shard_does_what_a_naive_map_does(steps in prop::collection::vec(step(), 0..200), several: bool) {
        let mut pair = Pair {
            shard: if several { in_segments(CAPACITY) } else { Shard::with_capacity_max(CAPACITY) },
            model: BTreeMap::new(),
            loads: [0; 3],
            now: 0,
        };
        for step in &steps {
            pair.take(step);
            pair.check();
        }
    }
}

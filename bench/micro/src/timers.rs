//! Timers of the reactor: the wheel, and what stands between it and the one who is told.
//!
//! The wheel itself is private to its crate. Through the reactor its work is still the same in every run:
//! the ticks of deadlines are counted from the reactor's start, and expiring begins when all are over.

use std::cell::Cell;
use std::hint::black_box;
use std::thread;
use std::time::Duration;

use ringbolt_reactor::{EngineChoice, NoSink, Reactor, Ready, Sink, SinkToken, TimerId, yield_now};

use crate::Work;

/// Deadlines of timers that expire: over two levels of the wheel, so that some move down first.
const SHORT_MS: u64 = 200;
/// Deadlines of timers that are set and taken back: the daemon's timeouts.
const LONG_MS: u64 = 120_000;

/// On epoll: valgrind has no ring, and no engine is used but to look for events once.
fn reactor() -> Reactor {
    Reactor::new(EngineChoice::Epoll).expect("a reactor").0
}

/// Sets timers with deadlines spread over `span_ms`, in no order.
fn set_all(reactor: &Reactor, units: u64, span_ms: u64, mut with: impl FnMut(TimerId)) {
    for number in 0..units {
        // Fibonacci hashing: neighbours are far apart.
        let spread = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        let deadline = reactor.now() + Duration::from_millis(1 + spread % span_ms);
        with(reactor.set_timer(black_box(deadline), SinkToken(1)));
    }
}

pub(crate) fn set(units: u64) -> Work {
    let reactor = reactor();
    Box::new(move || set_all(&reactor, units, LONG_MS, |timer| _ = black_box(timer)))
}

pub(crate) fn cancel(units: u64) -> Work {
    let reactor = reactor();
    let mut timers = Vec::new();
    set_all(&reactor, units, LONG_MS, |timer| timers.push(timer));
    Box::new(move || {
        for timer in &timers {
            reactor.cancel_timer(*timer);
        }
    })
}

#[derive(Default)]
struct Counter(Cell<u64>);

impl Sink for Counter {
    fn ready(&self, token: SinkToken, ready: Ready) {
        NoSink.ready(token, ready);
    }

    fn expired(&self, _token: SinkToken) {
        self.0.set(self.0.get() + 1);
    }
}

/// Timers that are due all at once, each told to a sink.
pub(crate) fn expire(units: u64) -> Work {
    let reactor = reactor();
    set_all(&reactor, units, SHORT_MS, |_| {});
    thread::sleep(Duration::from_millis(SHORT_MS + 1));
    Box::new(move || {
        let counter = Counter::default();
        let all_expired = async {
            while counter.0.get() < units {
                yield_now().await;
            }
        };
        reactor.run(all_expired, &counter).expect("the reactor runs");
    })
}

//! One connection of a client with bounds: counted in at its beginning and out at its end, in a shard of the table
//! that all workers share.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{self, JoinHandle};

use parking_lot::Mutex;
use ringbolt_core::clients::{ClientBounds, ClientHasher, ClientTable, Place};
use ringbolt_core::rate::Rate;

use crate::Work;

/// Clients with connections: more slots than a level-two cache holds.
const CLIENTS: u32 = 100_000;
const SECOND: u64 = 1_000_000_000;

/// The shard and the clients of it.
#[derive(Clone)]
struct Bounded {
    shard: Arc<Mutex<ClientTable>>,
    clients: Arc<[IpAddr]>,
    hasher: ClientHasher,
    bounds: ClientBounds,
}

impl Bounded {
    fn new() -> Self {
        let address = |number: u32| IpAddr::V4(Ipv4Addr::from_bits(number.wrapping_mul(0x9e37_79b1)));
        Self {
            shard: Arc::new(Mutex::new(ClientTable::new(4 * CLIENTS as usize))),
            clients: (0..CLIENTS).map(address).collect(),
            hasher: ClientHasher::new(*b"not for sessions"),
            bounds: ClientBounds {
                connections: Some(100),
                connection_rate: Some(Rate::per_second(1000)),
                ..ClientBounds::default()
            },
        }
    }

    /// A connection of the client of this number begins and ends.
    fn connect(&self, number: u64) {
        let client = self.clients[usize::try_from(number).unwrap_or(0) % self.clients.len()];
        let place: Place = self.hasher.place(black_box(client).into());
        let now = number * (SECOND / 100_000);
        black_box(self.shard.lock().enter(place, &self.bounds, now));
        self.shard.lock().leave(place, now);
    }
}

pub(crate) fn connect(units: u64) -> Work {
    let bounded = Bounded::new();
    Box::new(move || (0..units).for_each(|number| bounded.connect(number)))
}

/// The same while another thread does nothing else in the same shard: worse than any load can be.
#[must_use]
pub fn connect_contended(units: u64) -> Work {
    let bounded = Bounded::new();
    let rival = Rival::new(bounded.clone());
    Box::new(move || {
        let _ = &rival;
        (0..units).for_each(|number| bounded.connect(number));
    })
}

/// A thread that connects until it is dropped.
struct Rival {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Rival {
    fn new(bounded: Bounded) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&over);
        let connect =
            move || (0..).take_while(|_| !told.load(Relaxed)).for_each(|number| bounded.connect(number));
        Self { over, thread: Some(thread::spawn(connect)) }
    }
}

impl Drop for Rival {
    fn drop(&mut self) {
        self.over.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

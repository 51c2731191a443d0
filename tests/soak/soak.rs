//! Under everything that clients and backends can do for as long as it is let run, no byte is wrong or goes astray,
//! and afterwards nothing is left: memory, descriptors and pipes are back where they were.
//!
//! Fails with a leak of what a torn connection held, with a byte of one connection in another, or with a client
//! that is refused though nothing it needs was disturbed.
//!
//! Half a minute in an ordinary run, settling included; `cargo xtask soak --minutes 15` for longer. Two upstreams: `steady` is left alone,
//! `shaky` has its processes stopped. Both get hostile clients. At times the daemon has no descriptor left.
#![forbid(unsafe_code)]

mod backend;
mod honest;
mod hostile;
mod pattern;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use ringbolt_harness::{Engine, Options, Ringbolt};
use tokio::task::LocalSet;

use crate::honest::Outcome;

/// Set by `cargo xtask soak`.
const MINUTES: &str = "RINGBOLT_SOAK_MINUTES";

/// What has to be warm before anything is measured: tables at their size, spare memory there.
const WARM_UP: Duration = Duration::from_secs(4);
const SHORT: Duration = Duration::from_secs(12);

/// How long what the last clients left may take to end: above every timeout of [`config`].
const SETTLE_LIMIT: Duration = Duration::from_secs(60);

/// What the daemon's memory may differ by, as it counts it: tables keep the size they once had.
const HELD_SLACK: f64 = 512.0 * 1024.0;
/// And as the kernel counts it: the allocator keeps some pages.
const RESIDENT_SLACK: u64 = 12 << 20;

const HONEST_STEADY: u64 = 6;
const HONEST_SHAKY: u64 = 4;
const HOSTILE_OF_EACH_KIND: u64 = 3;

/// What all clients share.
pub(crate) struct Field {
    pub(crate) proxy: SocketAddr,
    until: Instant,
    /// Odd while something is disturbed.
    disturbances: Cell<u64>,
    exact: Cell<u64>,
    torn: Cell<u64>,
    broken: Cell<u64>,
    refused: std::cell::RefCell<BTreeMap<u16, u64>>,
}

impl Field {
    fn new(proxy: SocketAddr, length: Duration) -> Self {
        Self {
            proxy,
            until: Instant::now() + length,
            disturbances: Cell::new(0),
            exact: Cell::new(0),
            torn: Cell::new(0),
            broken: Cell::new(0),
            refused: std::cell::RefCell::default(),
        }
    }

    pub(crate) fn is_over(&self) -> bool {
        Instant::now() >= self.until
    }

    /// `None` while something is disturbed; the same number as long as nothing has been.
    pub(crate) fn calm(&self) -> Option<u64> {
        let disturbances = self.disturbances.get();
        disturbances.is_multiple_of(2).then_some(disturbances)
    }

    pub(crate) fn disturbance(&self, begins: bool) {
        self.disturbances.set(self.disturbances.get() + 1);
        assert_eq!(self.calm().is_none(), begins);
    }

    pub(crate) fn tally(&self, outcome: Outcome) {
        match outcome {
            Outcome::Exact => self.exact.set(self.exact.get() + 1),
            Outcome::Broken => self.broken.set(self.broken.get() + 1),
            Outcome::Refused(status) => *self.refused.borrow_mut().entry(status).or_default() += 1,
        }
    }

    pub(crate) fn torn(&self) {
        self.torn.set(self.torn.get() + 1);
    }
}

/// What must be the same before and after.
#[derive(Debug)]
struct Rest {
    /// How many there are of each kind.
    descriptors: BTreeMap<String, usize>,
    held: f64,
    resident: u64,
}

/// What the descriptors of a process refer to.
pub(crate) fn descriptors(pid: u32) -> Vec<PathBuf> {
    let links = fs::read_dir(format!("/proc/{pid}/fd")).expect("a process of ours").flatten();
    links.filter_map(|link| fs::read_link(link.path()).ok()).collect()
}

/// Waits until nothing is left of any connection, and says what the daemon then holds.
async fn settle(ringbolt: &Ringbolt) -> Rest {
    let deadline = Instant::now() + SETTLE_LIMIT;
    // A worker whose reserve descriptor somebody else was faster to take has it again with its next connection.
    (0..32).for_each(|_| drop(std::net::TcpStream::connect(ringbolt.address())));
    let mut before = usize::MAX;
    loop {
        // Pooled connections and pipes are swept once a second: what a few seconds change nothing of is at rest.
        tokio::time::sleep(Duration::from_secs(3)).await;
        // First, for to ask for metrics opens a socket too.
        let all = descriptors(ringbolt.pid());
        let metrics = ringbolt.metrics();
        let open = ["ringbolt_connections_active", "ringbolt_tunnels_active", "ringbolt_sid_table_entries"]
            .map(|name| metrics[name]);
        if open == [0.0; 3] && all.len() == before {
            let mut kinds = BTreeMap::new();
            for path in all {
                // Without the number of a socket or pipe.
                let kind = path.to_string_lossy().split(":[").next().unwrap_or_default().to_owned();
                *kinds.entry(kind).or_default() += 1;
            }
            return Rest {
                descriptors: kinds,
                held: metrics["ringbolt_memory_bytes"],
                resident: ringbolt.memory_bytes(),
            };
        }
        before = all.len();
        assert!(Instant::now() < deadline, "connections, tunnels, sids {open:?} are left, and {all:?}");
    }
}

fn config(steady: &[SocketAddr], shaky: &[SocketAddr]) -> String {
    let quoted = |addresses: &[SocketAddr]| {
        addresses.iter().map(|address| format!("\"{address}\"")).collect::<Vec<_>>().join(", ")
    };
    format!(
        "[[listener]]\naddress = \"127.0.0.1:0\"\n\
         [[route]]\nhost = \"steady\"\nupstream = \"steady\"\n[[route]]\nhost = \"shaky\"\nupstream = \"shaky\"\n\
         [upstream.steady]\nbackends = [{}]\n[upstream.shaky]\nbackends = [{}]\n\
         [timeouts]\nrequest_head = \"5s\"\nrequest_body_idle = \"10s\"\nkeep_alive = \"15s\"\nresponse = \"15s\"\n\
         connect = \"5s\"\ntunnel_half_closed = \"10s\"\nupstream_keep_alive = \"2s\"\n",
        quoted(steady),
        quoted(shaky)
    )
}

/// Lets all clients loose for `length`.
async fn storm(
    ringbolt: &Ringbolt,
    shaky: &[ringbolt_harness::Process],
    length: Duration,
    seed: u64,
) -> Field {
    let field = std::rc::Rc::new(Field::new(ringbolt.address(), length));
    let clients = LocalSet::new();
    let mut running = tokio::task::JoinSet::new();
    for number in 0..HONEST_STEADY + HONEST_SHAKY {
        let field = std::rc::Rc::clone(&field);
        let client = async move { honest::run(&field, seed + number, number < HONEST_STEADY).await };
        running.spawn_local_on(client, &clients);
    }
    for (number, kind) in
        (0..HOSTILE_OF_EACH_KIND).flat_map(|number| hostile::Kind::ALL.map(|kind| (number, kind)))
    {
        let field = std::rc::Rc::clone(&field);
        let seed = seed + 1000 + number * 100 + kind as u64;
        running.spawn_local_on(async move { hostile::run(&field, seed, kind).await }, &clients);
    }
    let all = async {
        while let Some(client) = running.join_next().await {
            if let Err(failed) = client {
                std::panic::resume_unwind(failed.into_panic());
            }
        }
    };
    clients.run_until(async { tokio::join!(all, hostile::disturb(&field, shaky, ringbolt.pid())) }).await;
    drop(clients);
    drop(running);
    std::rc::Rc::into_inner(field).expect("all clients have ended")
}

fn soak_on(engine: Engine, length: Duration) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let (steady, steady_addresses): (Vec<_>, Vec<_>) =
        ["steady0", "steady1"].map(backend::start).into_iter().unzip();
    let (shaky, shaky_addresses): (Vec<_>, Vec<_>) =
        ["shaky0", "shaky1"].map(backend::start).into_iter().unzip();
    let mut ringbolt = Ringbolt::start(&Options {
        engine,
        config: Some(config(&steady_addresses, &shaky_addresses)),
        ..Options::new(env!("CARGO_BIN_EXE_ringbolt"), &[])
    });
    runtime.block_on(async {
        storm(&ringbolt, &shaky, WARM_UP, 1).await;
        let before = settle(&ringbolt).await;
        let field = storm(&ringbolt, &shaky, length, 2).await;
        let after = settle(&ringbolt).await;
        println!(
            "{engine:?}, {} s: {} exchanges, sessions and tunnels exact, {} cut short by a stopped backend or for want \
             of descriptors, refused {:?}; {} hostile connections\nbefore {before:?}\nafter  {after:?}",
            length.as_secs(),
            field.exact.get(),
            field.broken.get(),
            field.refused.borrow(),
            field.torn.get(),
        );
        assert!(field.exact.get() > 5 * length.as_secs(), "hardly anything was served");
        assert_eq!(after.descriptors, before.descriptors);
        assert!(after.held <= before.held + HELD_SLACK, "{} bytes more are held", after.held - before.held);
        assert!(after.resident <= before.resident + RESIDENT_SLACK, "memory has grown");
    });
    assert_eq!(ringbolt.terminate().code(), Some(0));
    drop((steady, shaky));
}

/// For as long as was asked for, else briefly.
fn soak(engine: Engine) {
    // Not in a backend's process, which is this program too.
    if std::env::var_os(backend::NAME).is_none() {
        let minutes = std::env::var(MINUTES).ok().map(|text| text.parse().expect("a number of minutes"));
        soak_on(engine, minutes.map_or(SHORT, |minutes: u64| Duration::from_secs(minutes * 60)));
    }
}

#[test]
fn nothing_is_wrong_and_nothing_is_left_on_the_ring() {
    soak(Engine::Uring);
}

#[test]
fn nothing_is_wrong_and_nothing_is_left_on_epoll() {
    soak(Engine::Epoll);
}

/// No test: the process of a backend, where the soak starts this program again.
#[test]
fn backend_of_the_soak() {
    let Ok(name) = std::env::var(backend::NAME) else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(backend::serve(&name));
}

//! Real Socket.IO sessions while backends are added, removed from service, killed and lost, by orders and by DNS.
//!
//! Fails with `disconnected` or another backend's answer if a session moves that has nothing to do with it, with a
//! backend that gets everything when it comes, or with clients that are sent to a silent backend after it was found out.
#![forbid(unsafe_code)]

use std::net::{Ipv4Addr, SocketAddr};
use std::thread;
use std::time::{Duration, Instant};

use ringbolt_harness::raw::{Passage, Wire};
use ringbolt_harness::{Backends, Client, Dns, Kind, Lane, Options, Ringbolt, Scenario};
use serde_json::Value;

/// Far above what a loaded machine needs.
const LIMIT: Duration = Duration::from_secs(20);

fn start(backends: &[SocketAddr], more: &str) -> Ringbolt {
    let list: Vec<_> = backends
        .iter()
        .enumerate()
        .map(|(number, address)| format!("{{ name = \"backend-{}\", address = \"{address}\" }}", number + 1))
        .collect();
    let config = format!(
        "[admin]\nsocket = \"FOLDER/admin.sock\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n\
         [upstream.a]\nbackends = [{}]\n{more}\n",
        list.join(", ")
    );
    Ringbolt::start(&Options { config: Some(config), ..Options::new(env!("CARGO_BIN_EXE_ringbolt"), &[]) })
}

fn lane(ringbolt: &Ringbolt) -> [Lane; 1] {
    [Lane::plain(ringbolt.engine(), ringbolt.address())]
}

fn order(ringbolt: &Ringbolt, arguments: &[&str]) -> String {
    let (code, said) = ringbolt.order(arguments);
    assert_eq!(code, Some(0), "{arguments:?}: {said}");
    said
}

/// Sessions and tunnels of a backend.
fn load(ringbolt: &Ringbolt, name: &str) -> u64 {
    let all: Vec<Value> = serde_json::from_str(&order(ringbolt, &["backends", "--json"])).expect("a list");
    let of = all.iter().find(|backend| backend["name"] == name).expect("the backend");
    of["load"].as_u64().expect("a load")
}

#[test]
fn a_backend_added_under_load_moves_no_session_and_is_not_flooded() {
    let backends = Backends::shared(Kind::SocketIo4);
    let ringbolt = start(&backends.addresses()[..2], "slow_start = 50");
    let scenario = Scenario { name: "handover", client: Client::Node4, limit: Duration::from_secs(90) };
    thread::scope(|scope| {
        let running = scope.spawn(|| scenario.run(backends, &lane(&ringbolt)));
        while ringbolt.metrics()["ringbolt_tunnels_active"] < 8.0 && !running.is_finished() {
            thread::yield_now();
        }
        let third = backends.addresses()[2].to_string();
        order(&ringbolt, &["add", "a", &third, "--name", "backend-3"]);
        let began = Instant::now();
        let mut opened = 0;
        let mut open = || {
            opened += 1;
            let from = Ipv4Addr::new(127, 0, 61, opened);
            let request = "GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: a.example\r\n\r\n";
            assert_eq!(Wire::connect_from(from, ringbolt.address()).exchange(request).status(), 200);
            opened
        };
        while load(&ringbolt, "backend-3") == 0 {
            assert!(open() < 200 && began.elapsed() < LIMIT, "no new session has reached it");
        }
        let reached = began.elapsed();
        while open() < 60 {}
        let given = load(&ringbolt, "backend-3");
        println!("reached after {reached:?}, then it had {given} of 60 new sessions");
        // Those of `handover` that come and go add a few; all of them would be a flood.
        assert!(given < 36, "{given} of 60");
        assert!(!running.is_finished(), "the sessions were there all the time");
    });
}

#[test]
fn a_killed_backend_s_sessions_end_at_once_and_no_others() {
    let backends = Backends::start(Kind::SocketIo4, 3);
    // Sessions of one address would begin at two of three backends.
    let ringbolt = start(backends.addresses(), "balance = \"least-tunnels\"");
    let scenario = Scenario { name: "killed", client: Client::Node4, limit: Duration::from_secs(60) };
    scenario.run(&backends, &lane(&ringbolt));
}

/// Three backends behind a proxy; the way to the second can be blocked.
struct Blockable {
    backends: Backends,
    passage: Passage,
    ringbolt: Ringbolt,
}

impl Blockable {
    fn start(more: &str) -> Self {
        let backends = Backends::start(Kind::SocketIo4, 3);
        let [first, second, third] = *backends.addresses() else { panic!("three backends") };
        let passage = Passage::to(second);
        let ringbolt =
            start(&[first, passage.address(), third], &format!("balance = \"least-tunnels\"\n{more}"));
        Self { backends, passage, ringbolt }
    }

    /// 30 clients come, talk and go; none sees an error.
    fn newcomers(&self) {
        let scenario = Scenario { name: "newcomers", client: Client::Node4, limit: Duration::from_secs(60) };
        scenario.run(&self.backends, &lane(&self.ringbolt));
    }

    fn is(&self, state: &str) -> bool {
        let name =
            format!("ringbolt_backend_state{{upstream=\"a\",backend=\"backend-2\",state=\"{state}\"}}");
        self.ringbolt.metrics()[&name] == 1.0
    }

    /// How long it takes from now on until the second backend is in this state.
    fn until(&self, state: &str) -> Duration {
        let began = Instant::now();
        while !self.is(state) {
            assert!(began.elapsed() < LIMIT, "backend-2 is not {state}");
        }
        began.elapsed()
    }

    fn timeouts(&self) -> f64 {
        self.ringbolt.metrics()["ringbolt_upstream_connects_total{result=\"timeout\"}"]
    }
}

#[test]
fn with_one_backend_blackholed_no_client_sees_an_error_after_its_detection() {
    let mut site = Blockable::start(
        "[upstream.a.health]\ncheck = \"engine-io\"\ninterval = \"1s\"\nfast_interval = \"500ms\"\n\
         timeout = \"3s\"\nfall = 2\n",
    );
    site.newcomers();
    let passed = || site.ringbolt.metrics()["ringbolt_health_checks_total{result=\"passed\"}"];
    let began = Instant::now();
    // Twice each: one that was never checked would be down at once.
    while passed() < 6.0 {
        assert!(began.elapsed() < LIMIT, "no check has passed");
    }
    assert!(!site.is("down"));
    let began = Instant::now();
    site.passage.block();
    // An interval, a fast one, a tenth more, and two timeouts are 7.65 s; a check may have begun a while ago.
    site.until("down");
    let took = began.elapsed();
    assert!((Duration::from_secs(3)..Duration::from_secs(14)).contains(&took), "{took:?}");
    let before = site.timeouts();
    site.newcomers();
    assert_eq!(site.timeouts(), before, "nobody was sent there");
}

#[test]
fn without_checks_a_blackholed_backend_is_found_out_by_the_requests_that_it_fails() {
    let mut site = Blockable::start(
        "[upstream.a.health]\nfailures = 3\nfailure_pause = \"5m\"\n[timeouts]\nconnect = \"1s\"\n",
    );
    site.newcomers();
    site.passage.block();
    let (began, mut waiting) = (Instant::now(), Vec::new());
    while !site.is("suspect") {
        assert!(began.elapsed() < LIMIT, "backend-2 is not suspect");
        // Those that get a connection that was there already hear nothing; the others try to make one, and so many are
        // enough.
        if waiting.len() < 200 {
            waiting.push(Wire::connect(site.ringbolt.address()));
            let opening = waiting.last().expect("one more");
            opening.send("GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: a.example\r\n\r\n");
        }
    }
    let took = began.elapsed();
    println!("found out by {} requests after {took:?}", waiting.len());
    assert!((Duration::from_millis(900)..LIMIT).contains(&took), "{took:?}");
    drop(waiting);
    while site.ringbolt.metrics()["ringbolt_requests_active"] > 0.0 {
        assert!(began.elapsed() < 2 * LIMIT, "abandoned requests do not end");
    }
    let before = site.timeouts();
    assert!(before >= 3.0);
    site.newcomers();
    assert_eq!(site.timeouts(), before, "nobody was sent there");
}

/// Sessions of one backend each, found by DNS.
#[test]
fn sessions_live_on_while_dns_names_other_backends() {
    const SERVICE: &str = "_chat._tcp.example";
    let (dns, backends) = (Dns::start(0), Backends::shared(Kind::SocketIo4));
    dns.set_addresses("a.example", &[Ipv4Addr::LOCALHOST]);
    let services: Vec<_> =
        backends.addresses().iter().map(|address| (10, 1, address.port(), "a.example")).collect();
    let names: Vec<_> = services.iter().map(|(_, _, port, host)| format!("{host}:{port}")).collect();
    dns.set_services(SERVICE, &services[..2]);
    let config = format!(
        "[admin]\nsocket = \"FOLDER/admin.sock\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n\
         [discovery]\nresolvers = [\"{}\"]\nttl_min = \"100ms\"\nhold = \"1m\"\n\
         [upstream.a]\nbackends = [{{ srv = \"{SERVICE}\" }}]\nbalance = \"least-tunnels\"\n",
        dns.address()
    );
    let options = Options::new(env!("CARGO_BIN_EXE_ringbolt"), &[]);
    let ringbolt = Ringbolt::start(&Options { config: Some(config), ..options });
    let scenario = Scenario { name: "handover", client: Client::Node4, limit: Duration::from_secs(90) };
    thread::scope(|scope| {
        let running = scope.spawn(|| scenario.run(backends, &lane(&ringbolt)));
        let until = |what: &str, holds: &dyn Fn(&[Value]) -> bool| {
            let began = Instant::now();
            let all = || order(&ringbolt, &["backends", "--json"]);
            while !holds(&serde_json::from_str::<Vec<Value>>(&all()).expect("a list")) {
                assert!(began.elapsed() < LIMIT && !running.is_finished(), "{what}: {}", all());
            }
        };
        let find = |all: &[Value], name: &String| all.iter().find(|one| one["name"] == **name).cloned();
        let load = |all: &[Value], name| find(all, name).and_then(|one| one["load"].as_u64());
        until("sessions", &|all| [0, 1].iter().all(|&number| load(all, &names[number]) >= Some(6)));
        dns.set_services(SERVICE, &services);
        until("new sessions at the new backend", &|all| load(all, &names[2]) > Some(0));
        dns.set_services(SERVICE, &services[1..]);
        until("a drain", &|all| find(all, &names[0]).is_some_and(|one| one["state"] == "drain"));
        // The scenario's own, which stay there to its end; those that come and go go elsewhere.
        until("the last session there", &|all| load(all, &names[0]) <= Some(6));
    });
    assert_eq!(ringbolt.sessions_lost(), 0.0);
}

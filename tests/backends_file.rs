//! Backends in a file of their own come and go when it changes, and a wrong file changes nothing.
//!
//! Fails with an upstream that loses its backends to a typing error, or with sessions that move when another
//! backend is written.
#![forbid(unsafe_code)]

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use ringbolt_harness::raw::{Backend, Wire};
use ringbolt_harness::{Options, Ringbolt};

const LIMIT: Duration = Duration::from_secs(20);

fn named(name: &str) -> Backend {
    let name = name.to_owned();
    Backend::start(move |request, wire| request.answer_as(&name, wire))
}

fn get(ringbolt: &Ringbolt, target: &str) -> String {
    let request = format!("GET {target} HTTP/1.1\r\nHost: a.example\r\n\r\n");
    Wire::connect(ringbolt.address()).exchange(request).text()
}

fn until(what: &str, ringbolt: &Ringbolt, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}:\n{}", ringbolt.process().output());
        thread::yield_now();
    }
}

#[test]
fn a_watched_file_of_backends_is_served_as_it_changes() {
    let backends = ["a", "b", "c"].map(named);
    let entry = |number: usize, more: &str| {
        let address = backends[number].address();
        format!("{{ name = \"{}\", address = \"{address}\"{more} }}", ["a", "b", "c"][number])
    };
    let outside = tempfile::tempdir().expect("a temporary folder");
    let path = outside.path().join("backends.toml");
    let write = |list: &str| {
        let new = outside.path().join("new");
        fs::write(&new, format!("backends = [{list}]\n")).expect("write the backends");
        fs::rename(new, &path).expect("replace the backends");
    };
    write(&entry(0, ""));
    let config = format!(
        "[admin]\nsocket = \"FOLDER/admin.sock\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n\
         [upstream.u]\nbackends_file = \"{}\"\nbalance = \"least-tunnels\"\n",
        path.display()
    );
    let options = Options::new(env!("CARGO_BIN_EXE_ringbolt"), &[]);
    let ringbolt = Ringbolt::start(&Options { config: Some(config.clone()), ..options });
    let open = || get(&ringbolt, "/?EIO=4&transport=polling");
    assert!(open().contains("\"sid\":\"a\""));
    let listed = || ringbolt.order(&["backends", "--json"]).1;
    write(&format!("{}, {}", entry(0, ""), entry(1, ", weight = 5")));
    until("b", &ringbolt, || listed().contains("\"name\":\"b\""));
    assert!(
        listed().contains("\"weight\":5") && listed().contains("\"origin\":\"backends_file\""),
        "{}",
        listed()
    );
    assert!(open().contains("\"sid\":\"b\""));
    assert_eq!(get(&ringbolt, "/?EIO=4&transport=polling&sid=a"), "a");
    // A wrong one is told and changes nothing; it keeps nobody from serving.
    let failing = || ringbolt.metrics()["ringbolt_discovery_sources_failing"];
    write("\"10.0.0.1\"");
    until("the problem", &ringbolt, || failing() == 1.0);
    assert_eq!(get(&ringbolt, "/?EIO=4&transport=polling&sid=a"), "a");
    assert!(listed().contains("\"name\":\"b\""));
    let (code, said) = ringbolt.order(&["reload"]);
    assert_eq!(code, Some(78), "{said}");
    write(&entry(2, ""));
    until("c alone", &ringbolt, || failing() == 0.0 && !listed().contains("\"name\":\"a\""));
    assert_eq!(get(&ringbolt, "/"), "c");
    ringbolt.process().line("log line", LIMIT, |line| line.contains("backends.toml:1:").then_some(()));
}

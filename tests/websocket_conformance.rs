//! A WebSocket conversation is the same through the proxy as without it: every frame, and how it ends.
//!
//! Fails if a frame is changed, held back or lost, if an illegal one does not reach the server that has to refuse it,
//! or if a close code, an extension or a subprotocol is not what the server said. The cases are those of the Autobahn
//! testsuite's chapters (which itself needs Python 2.7), against an unmodified `websockets` server.
#![forbid(unsafe_code)]

use std::net::SocketAddr;
use std::time::Duration;

use ringbolt_harness::{Engine, Options, Process, Ringbolt, python};
use serde_json::Value;

const START_LIMIT: Duration = Duration::from_secs(60);
const RUN_LIMIT: Duration = Duration::from_secs(180);
const CASES_MIN: u64 = 175;

fn json_of(line: &str, key: &str) -> Option<Value> {
    let value: Value = serde_json::from_str(line).ok()?;
    value.get(key).cloned()
}

#[test]
fn every_case_is_the_same_through_the_proxy() {
    let server = Process::spawn("server", python().args(["websocket_cases.py", "serve"]));
    let port = server.line("port", START_LIMIT, |line| json_of(line, "port")?.as_u64());
    let direct: SocketAddr = format!("127.0.0.1:{port}").parse().expect("an address");
    for engine in [Engine::Uring, Engine::Epoll] {
        let options = Options::new(env!("CARGO_BIN_EXE_ringbolt"), &[direct]);
        let ringbolt = Ringbolt::start(&Options { engine, ..options });
        let lanes = [direct, ringbolt.address()].map(|address| address.to_string());
        let mut cases = Process::spawn("cases", python().args(["websocket_cases.py", "compare"]).args(lanes));
        let equal = cases.wait(RUN_LIMIT).success();
        let output = cases.whole_output();
        assert!(equal, "{engine:?}:\n{output}");
        let count = output.lines().find_map(|line| json_of(line, "cases")?.as_u64());
        assert!(count >= Some(CASES_MIN), "{output}");
    }
}

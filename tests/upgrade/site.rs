//! A daemon to upgrade, its backends and its sessions.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use ringbolt_harness::raw::{Backend, Wire};
use ringbolt_harness::{Engine, Options, Ringbolt};

/// A configuration of a daemon with an admin socket: `/tunnel` goes to a backend of the test's own.
pub(crate) fn config(sessions: &[Backend], tunnels: &TcpListener, more: &str) -> String {
    let mut list = String::new();
    for backend in sessions {
        let _ = write!(list, "\"{}\", ", backend.address());
    }
    format!(
        "[admin]\nsocket = \"FOLDER/admin.sock\"\n\
         [[listener]]\naddress = \"127.0.0.1:0\"\nupstream = \"a\"\n\
         [upstream.a]\nbackends = [{list}]\n\
         [upstream.t]\nbackends = [\"{}\"]\n[[route]]\npath = \"/tunnel\"\nupstream = \"t\"\n{more}",
        tunnels.local_addr().expect("a bound socket")
    )
}

pub(crate) fn start(config: String, engine: Engine) -> Ringbolt {
    let options = Options::new(env!("CARGO_BIN_EXE_ringbolt"), &[]);
    Ringbolt::start(&Options { config: Some(config), engine, ..options })
}

pub(crate) fn own_backend() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").expect("a free port")
}

/// Backends that issue sids, and answer every request with a sid with their own name.
pub(crate) fn fleet(count: usize) -> Vec<Backend> {
    let backend = |number| {
        let issued = AtomicUsize::new(0);
        Backend::start(move |request, wire| {
            let target = request.head().target();
            let body = if target.contains("EIO=") && !target.contains("sid=") {
                let sid = format!("backend{number}-{}", issued.fetch_add(1, Relaxed));
                format!(r#"0{{"sid":"{sid}","upgrades":[],"pingInterval":25000,"pingTimeout":20000}}"#)
            } else {
                format!("backend{number}")
            };
            wire.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
        })
    };
    (0..count).map(backend).collect()
}

const HANDSHAKE: &str = "GET /?EIO=4&transport=polling HTTP/1.1\r\nHost: a.example\r\n\r\n";

/// Opens a session; returns its sid, which names its backend.
pub(crate) fn open_session(address: SocketAddr, from: Ipv4Addr) -> String {
    sid_in(&Wire::connect_from(from, address).exchange(HANDSHAKE).text())
}

pub(crate) fn sid_in(answer: &str) -> String {
    answer.split("\"sid\":\"").nth(1).and_then(|rest| rest.split('"').next()).expect("a sid").to_owned()
}

/// Polls once, on a connection of its own and from an address of its own: a sid that is not found goes by the
/// address, to the wrong backend mostly.
pub(crate) fn poll(address: SocketAddr, sid: &str) {
    let mut wire = Wire::connect_from(Ipv4Addr::new(127, 0, 10, 1), address);
    let answer =
        wire.exchange(format!("GET /?EIO=4&transport=polling&sid={sid} HTTP/1.1\r\nHost: a.example\r\n\r\n"));
    assert_eq!(answer.text(), sid.split('-').next().expect("a name"), "{sid} moved");
}

pub(crate) fn sources() -> impl Iterator<Item = Ipv4Addr> {
    (1..=250).cycle().map(|last| Ipv4Addr::new(127, 0, 9, last))
}

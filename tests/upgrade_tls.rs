//! An upgrade of the binary says of tunnels whose TLS it cannot hand over that they stay, and they do: their process
//! serves them until they end or its drain has closed them.
//!
//! Fails with a TLS client that is cut off by an upgrade, or with an operator who waits for a process to end that cannot.
#![forbid(unsafe_code)]

use std::io::Read as _;
use std::net::TcpListener;

use ringbolt_harness::raw::Tunnel;
use ringbolt_harness::tls::{Authority, Front};
use ringbolt_harness::{Options, Ringbolt};

#[test]
fn tunnels_of_tls_in_user_space_stay_until_the_drain_has_told_them() {
    let backend = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let authority = Authority::new();
    let config = format!(
        "[[listener]]\naddress = \"127.0.0.1:0\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n[listener.tls]\n\
         ktls = \"off\"\ncertificates = [{}]\n[upstream.u]\nbackends = [\"{}\"]\n[timeouts]\ndrain = \"4s\"\n",
        authority.issue("a", &["a.example"]).entry(),
        backend.local_addr().expect("bound")
    );
    let options = Options::new(env!("CARGO_BIN_EXE_ringbolt"), &[]);
    let mut ringbolt = Ringbolt::start(&Options { config: Some(config), ..options });
    let front = Front::originating(ringbolt.listeners()[1], "a.example", authority.client());
    let over_tls = Tunnel::open(front.address(), &backend);
    let plain = Tunnel::open(ringbolt.address(), &backend);
    let upgraded = ringbolt.upgrade();
    assert_eq!((upgraded.tunnels, upgraded.staying), (1, 1));
    ringbolt.wait_for_metric("ringbolt_handover_tunnels_staying", |staying| staying == 1.0);
    let mut told = [0; 4];
    (&over_tls.client).read_exact(&mut told).expect("a close frame");
    assert_eq!(told, [0x88, 2, 3, 0xf4]);
    ringbolt.former_ends();
    plain.check();
}

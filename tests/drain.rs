//! A tunnel that a drain ends is ended as WebSocket ends: with a close frame that says when to come back, between two
//! frames and never inside of one, and with the answer of the client passed on to the backend.
//!
//! Fails with clients that see a broken connection at every deployment, or, if a close frame lands inside of another
//! frame, with a message that holds four wrong bytes.
#![forbid(unsafe_code)]

#[path = "drain/talk.rs"]
mod talk;

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use ringbolt_harness::raw::Tunnel;
use ringbolt_harness::tls::{Authority, Front};
use ringbolt_harness::{Engine, Options, Ringbolt};

use self::talk::{Ending, Kind};

const LIMIT: Duration = Duration::from_secs(20);
/// FIN, opcode 8, no mask, two bytes of payload: 1012, Service Restart.
const RESTART: [u8; 4] = [0x88, 2, 3, 0xf4];
/// A client's answer to that, masked.
const ANSWER: [u8; 8] = [0x88, 0x82, 1, 2, 3, 4, 3 ^ 1, 0xf4 ^ 2];

fn start(engine: Engine, listener: &str, backend: SocketAddr, more: &str) -> Ringbolt {
    let config = format!(
        "[admin]\nsocket = \"FOLDER/admin.sock\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n{listener}\n\
         [upstream.u]\nbackends = [{{ name = \"a\", address = \"{backend}\" }}]\n{more}"
    );
    Ringbolt::start(&Options {
        engine,
        // Tunnels are ended in the order in which they were opened.
        workers: 1,
        config: Some(config),
        ..Options::new(env!("CARGO_BIN_EXE_ringbolt"), &[])
    })
}

fn port() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").expect("a free port")
}

fn drain(ringbolt: &Ringbolt, over: &str) {
    let (code, said) = ringbolt.order(&["drain", "a", "--over", over]);
    assert_eq!(code, Some(0), "{said}");
}

fn open(ringbolt: SocketAddr, backend: &TcpListener) -> Tunnel {
    let tunnel = Tunnel::open(ringbolt, backend);
    for end in [&tunnel.client, &tunnel.upstream] {
        end.set_read_timeout(Some(LIMIT)).expect("an option of an open socket");
    }
    tunnel
}

/// Waits until no tunnel is open.
fn all_ended(ringbolt: &Ringbolt) {
    let began = Instant::now();
    while ringbolt.metrics()["ringbolt_tunnels_active"] > 0.0 {
        assert!(began.elapsed() < LIMIT, "a tunnel lives on");
    }
}

fn drained(ringbolt: &Ringbolt, by: &str) -> f64 {
    ringbolt.metrics()[&format!("ringbolt_tunnels_drained_total{{by=\"{by}\"}}")]
}

fn receive(mut stream: &TcpStream, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    stream.read_exact(&mut bytes).expect("bytes come");
    bytes
}

fn send(mut stream: &TcpStream, bytes: &[u8]) {
    stream.write_all(bytes).expect("bytes go out");
}

/// What comes until FIN; a reset fails.
fn rest(mut stream: &TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).expect("FIN, and no reset");
    bytes
}

/// The close frame comes, the answer to it goes through, and both ends close in order.
fn ends_in_order(tunnel: &Tunnel) {
    let Tunnel { client, upstream } = tunnel;
    assert_eq!(receive(client, 4), RESTART);
    // What the backend sends now may not follow a close frame.
    send(upstream, &[0x81, 1, b'x']);
    send(client, &ANSWER);
    assert_eq!(receive(upstream, 8), ANSWER);
    send(upstream, &RESTART);
    upstream.shutdown(Shutdown::Write).expect("FIN");
    assert_eq!(rest(client), b"");
    client.shutdown(Shutdown::Write).expect("FIN");
    assert_eq!(rest(upstream), b"");
}

#[test]
fn a_silent_tunnel_ends_with_a_close_frame_and_its_answer_reaches_the_backend() {
    for engine in [Engine::Uring, Engine::Epoll] {
        let backend = port();
        let ringbolt = start(engine, "", backend.local_addr().expect("bound"), "");
        let silent = open(ringbolt.address(), &backend);
        let talked = open(ringbolt.address(), &backend);
        send(&talked.upstream, &[0x81, 1, b'a', 0x89, 0]);
        assert_eq!(receive(&talked.client, 5), [0x81, 1, b'a', 0x89, 0]);
        drain(&ringbolt, "1ms");
        ends_in_order(&silent);
        ends_in_order(&talked);
        all_ended(&ringbolt);
        assert_eq!((drained(&ringbolt, "close_frame"), drained(&ringbolt, "fin")), (2.0, 0.0));
        assert_eq!(ringbolt.metrics()["ringbolt_tunnels_closed_total{reason=\"drained\"}"], 2.0);
    }
}

#[test]
fn a_frame_under_way_is_finished_first_and_nothing_follows() {
    let backend = port();
    let ringbolt = start(Engine::Auto, "", backend.local_addr().expect("bound"), "");
    let tunnel = open(ringbolt.address(), &backend);
    // The first fragment of a message, and a part of the second one's header.
    send(&tunnel.upstream, &[0x01, 2, b'a', b'b', 0x80, 126, 0]);
    assert_eq!(receive(&tunnel.client, 7).len(), 7);
    let later = open(ringbolt.address(), &backend);
    drain(&ringbolt, "1ms");
    assert_eq!(receive(&later.client, 4), RESTART);
    send(&tunnel.upstream, &[200]);
    assert_eq!(receive(&tunnel.client, 1), [200]);
    send(&tunnel.upstream, &[[b'c'; 200].as_slice(), &[0x81, 1, b'x']].concat());
    assert_eq!(receive(&tunnel.client, 200), [b'c'; 200]);
    ends_in_order(&tunnel);
}

#[test]
fn who_cannot_be_told_or_does_not_answer_is_closed_all_the_same() {
    let backend = port();
    let ringbolt = start(Engine::Auto, "", backend.local_addr().expect("bound"), "");
    let [stuck, mute, closing] = [(); 3].map(|()| open(ringbolt.address(), &backend));
    send(&stuck.upstream, &[0x81, 100, b'x']);
    assert_eq!(receive(&stuck.client, 3).len(), 3);
    // Nothing may follow a close frame of the backend's own.
    send(&closing.upstream, &[0x88, 0]);
    assert_eq!(receive(&closing.client, 2), [0x88, 0]);
    drain(&ringbolt, "1ms");
    assert_eq!(rest(&closing.client), b"");
    assert_eq!(receive(&mute.client, 4), RESTART);
    for tunnel in [&stuck, &mute] {
        assert_eq!(rest(&tunnel.client), b"");
        assert_eq!(rest(&tunnel.upstream), b"");
    }
    all_ended(&ringbolt);
    assert_eq!((drained(&ringbolt, "close_frame"), drained(&ringbolt, "fin")), (1.0, 2.0));
}

#[test]
fn a_tcp_tunnel_ends_with_fin() {
    let backend = port();
    let address = backend.local_addr().expect("bound");
    let ringbolt = start(Engine::Auto, "detect = [\"tcp\"]\ntcp_upstream = \"u\"", address, "");
    let client = TcpStream::connect(ringbolt.address()).expect("the proxy accepts");
    let (upstream, _) = backend.accept().expect("the proxy connects");
    send(&upstream, &[0x81, 1, b'x']);
    assert_eq!(receive(&client, 3).len(), 3);
    drain(&ringbolt, "1ms");
    assert_eq!((rest(&client), rest(&upstream)), (Vec::new(), Vec::new()));
    assert_eq!(drained(&ringbolt, "fin"), 1.0);
}

#[test]
fn tls_clients_are_told_as_well() {
    let backend = port();
    let authority = Authority::new();
    let entry = authority.issue("a", &["a.example"]).entry();
    let tls = format!("[listener.tls]\ncertificates = [{entry}]");
    let ringbolt = start(Engine::Auto, &tls, backend.local_addr().expect("bound"), "");
    let front = Front::originating(ringbolt.address(), "a.example", authority.client());
    let tunnel = open(front.address(), &backend);
    drain(&ringbolt, "1ms");
    ends_in_order(&tunnel);
    all_ended(&ringbolt);
    assert_eq!(drained(&ringbolt, "close_frame"), 1.0);
}

#[test]
fn the_place_in_the_stream_of_frames_moves_with_an_upgrade() {
    let backend = port();
    let mut ringbolt = start(Engine::Auto, "", backend.local_addr().expect("bound"), "");
    let tunnel = open(ringbolt.address(), &backend);
    send(&tunnel.upstream, &[0x81, 3, b'a']);
    assert_eq!(receive(&tunnel.client, 3).len(), 3);
    ringbolt.upgrade();
    drain(&ringbolt, "1ms");
    send(&tunnel.upstream, b"bc");
    assert_eq!(receive(&tunnel.client, 2), b"bc");
    ends_in_order(&tunnel);
}

/// Drains while every backend sends as fast as its kind does.
fn whole_frames_come_and_then_the_end(engine: Engine) {
    const EACH: usize = 4;
    let backend = port();
    let ringbolt = start(engine, "", backend.local_addr().expect("bound"), "");
    let kinds = [Kind::Chat, Kind::Pieces, Kind::Long, Kind::Bulk];
    let tunnels: Vec<_> = (0..EACH * kinds.len()).map(|_| open(ringbolt.address(), &backend)).collect();
    let busy = AtomicUsize::new(0);
    let endings: Vec<(Kind, Ending)> = thread::scope(|scope| {
        let talk = |(seed, tunnel)| {
            let kind = kinds[seed % kinds.len()];
            (kind, talk::run(tunnel, kind, seed, &busy))
        };
        let talks: Vec<_> = tunnels.iter().enumerate().map(|of| scope.spawn(move || talk(of))).collect();
        let began = Instant::now();
        let all_ways_in_use = || {
            let metrics = ringbolt.metrics();
            let spliced = "ringbolt_tunnel_spliced_bytes_total{direction=\"upstream_to_client\"}";
            metrics[spliced] > 0.0
                && (engine == Engine::Epoll || metrics["ringbolt_tunnel_chats_total"] > 0.0)
        };
        while busy.load(Relaxed) < tunnels.len() || !all_ways_in_use() {
            assert!(began.elapsed() < LIMIT, "{} are busy: {:?}", busy.load(Relaxed), ringbolt.metrics());
            thread::sleep(Duration::from_millis(20));
        }
        drain(&ringbolt, "1s");
        talks.into_iter().map(|talk| talk.join().expect("frames as they were sent")).collect()
    });
    all_ended(&ringbolt);
    let told = |of: Kind| endings.iter().filter(|(kind, how)| *kind == of && *how == Ending::Told).count();
    for kind in [Kind::Chat, Kind::Pieces, Kind::Long] {
        assert_eq!(told(kind), EACH, "{kind:?}");
    }
    let all_told = EACH * 3 + told(Kind::Bulk);
    assert_eq!(drained(&ringbolt, "close_frame"), all_told as f64);
    assert_eq!(drained(&ringbolt, "fin"), (tunnels.len() - all_told) as f64);
}

#[test]
fn whole_frames_come_and_then_the_end_on_the_ring() {
    whole_frames_come_and_then_the_end(Engine::Uring);
}

#[test]
fn whole_frames_come_and_then_the_end_on_epoll() {
    whole_frames_come_and_then_the_end(Engine::Epoll);
}

#[test]
fn sigterm_ends_tunnels_evenly_over_the_drain_time_each_with_a_close_frame() {
    const COUNT: usize = 40;
    let backend = port();
    let address = backend.local_addr().expect("bound");
    let mut ringbolt = start(Engine::Auto, "", address, "[timeouts]\ndrain = \"8s\"\n");
    let tunnels: Vec<_> = (0..COUNT).map(|_| open(ringbolt.address(), &backend)).collect();
    let ended = AtomicUsize::new(0);
    let began = Instant::now();
    let (took, halfway) = thread::scope(|scope| {
        for tunnel in &tunnels {
            scope.spawn(|| {
                ends_in_order(tunnel);
                ended.fetch_add(1, Relaxed);
            });
        }
        ringbolt.signal(rustix::process::Signal::TERM);
        // The last ones are told half the time before the deadline.
        thread::sleep(Duration::from_secs(2));
        let halfway = (began.elapsed() < Duration::from_secs(3)).then(|| ended.load(Relaxed));
        assert_eq!(ringbolt.wait().code(), Some(0));
        (began.elapsed(), halfway)
    });
    assert_eq!(ended.load(Relaxed), COUNT);
    assert!((Duration::from_secs(3)..Duration::from_secs(8)).contains(&took), "{took:?}");
    // A machine that did not get to look in a whole second proves nothing here.
    assert!(halfway.is_none_or(|ended| (5..COUNT - 3).contains(&ended)), "{halfway:?} of {COUNT} halfway");
}

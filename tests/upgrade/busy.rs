//! Tunnels that are never silent, every byte of them checked.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use ringbolt_harness::raw::{Pattern, Tunnel};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Of the tunnels that are kept busy so many chat; the others move much.
pub(crate) const CHATS: usize = 80;
/// Far above what any round trip takes that nothing is in the way of.
pub(crate) const PAUSE: Duration = Duration::from_millis(200);

/// Tells the threads and tasks of a test to stop, at the latest when the test ends, however it does.
#[derive(Clone, Default)]
pub(crate) struct Stop(Arc<AtomicBool>);

impl Stop {
    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Relaxed)
    }
}

impl Drop for StopAtEnd {
    fn drop(&mut self) {
        self.0.0.store(true, Relaxed);
    }
}

pub(crate) struct StopAtEnd(pub(crate) Stop);

/// What busy tunnels have seen.
#[derive(Default, Debug)]
pub(crate) struct Seen {
    /// The sum of the pauses of the tunnel that had most of them.
    pub(crate) pauses: Duration,
    pub(crate) round_trips: u64,
    pub(crate) bulk_bytes: u64,
}

/// Keeps tunnels busy until told to stop: some chat, some move much, both ways and every byte checked.
pub(crate) fn keep_busy(tunnels: Vec<Tunnel>, stop: &Stop) -> Seen {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let mut running = Vec::new();
        for (number, tunnel) in tunnels.into_iter().enumerate() {
            let [client, upstream] = [tunnel.client, tunnel.upstream].map(|stream| {
                stream.set_nonblocking(true).expect("an option of an open socket");
                TcpStream::from_std(stream).expect("a runtime")
            });
            running.push(match number {
                ..CHATS => tokio::spawn(chat(client, upstream, stop.clone())),
                _ => tokio::spawn(bulk(client, upstream, stop.clone())),
            });
        }
        let mut seen = Seen::default();
        for tunnel in running {
            let tunnel = tunnel.await.expect("every byte arrives");
            seen.pauses = seen.pauses.max(tunnel.pauses);
            seen.round_trips += tunnel.round_trips;
            seen.bulk_bytes += tunnel.bulk_bytes;
        }
        seen
    })
}

/// A message there and back, again and again.
async fn chat(mut client: TcpStream, mut upstream: TcpStream, stop: Stop) -> Seen {
    let mut seen = Seen::default();
    let (mut there, mut back) = (Pattern::default(), Pattern::default());
    let pass = async |from: &mut TcpStream, to: &mut TcpStream, pattern: &mut Pattern| {
        let (mut check, mut bytes) = (pattern.clone(), [0; 61]);
        pattern.fill(&mut bytes);
        from.write_all(&bytes).await.expect("bytes go out");
        to.read_exact(&mut bytes).await.expect("the tunnel lives");
        check.check(&bytes);
    };
    while !stop.is_set() {
        let began = Instant::now();
        pass(&mut client, &mut upstream, &mut there).await;
        pass(&mut upstream, &mut client, &mut back).await;
        let took = began.elapsed();
        seen.round_trips += 1;
        seen.pauses += if took > PAUSE { took } else { Duration::ZERO };
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    seen
}

/// As much as goes, both ways.
async fn bulk(client: TcpStream, upstream: TcpStream, stop: Stop) -> Seen {
    let ((client_reader, client_writer), (upstream_reader, upstream_writer)) =
        (client.into_split(), upstream.into_split());
    let send = async |mut to: tokio::net::tcp::OwnedWriteHalf| {
        let (mut pattern, mut bytes) = (Pattern::default(), vec![0; 128 * 1024]);
        while !stop.is_set() {
            pattern.fill(&mut bytes);
            to.write_all(&bytes).await.expect("bytes go out");
            // Others want some of the two cores too.
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        to.shutdown().await.expect("a FIN goes out");
        pattern.position()
    };
    let receive = async |mut from: tokio::net::tcp::OwnedReadHalf| {
        let (mut pattern, mut bytes) = (Pattern::default(), vec![0; 128 * 1024]);
        loop {
            match from.read(&mut bytes).await.expect("the tunnel lives") {
                0 => return pattern.position(),
                length => pattern.check(&bytes[..length]),
            }
        }
    };
    let (up, down, at_upstream, at_client) = tokio::join!(
        send(client_writer),
        send(upstream_writer),
        receive(upstream_reader),
        receive(client_reader)
    );
    assert_eq!((up, down), (at_upstream, at_client), "every byte has arrived");
    Seen { bulk_bytes: up + down, ..Seen::default() }
}

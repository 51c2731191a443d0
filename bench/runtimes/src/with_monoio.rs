//! The relay on monoio, twice: a copy loop in each direction with buffers that are lent to the kernel,
//! and a loop that waits with `readable()` and moves bytes through one buffer of the thread's.
//!
//! The second calls recv(2) and send(2) itself, as monoio's documentation of `readable()` has it. Ring
//! operations with pooled buffers would be an alternative, but a stream can only be split into halves
//! that cannot wait without reading.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::rc::Rc;

use monoio::io::{AsyncReadRent, AsyncWriteRent, AsyncWriteRentExt, Splitable};
use monoio::net::{TcpListener, TcpStream};
use monoio::{IoUringDriver, RuntimeBuilder};
use nix::errno::Errno;
use nix::sys::socket::{self, MsgFlags, Shutdown};

use crate::BUFFER_BYTES;

/// As the other ring runtimes have it: thousands of tunnels complete at once.
const ENTRIES: u32 = 4096;

/// The buffer all connections share.
type SharedBuffer = Rc<RefCell<Box<[u8]>>>;

/// The relay with lent buffers.
pub(crate) fn run_copy(listen: SocketAddr, origin: SocketAddr) -> io::Result<()> {
    run(listen, origin, copy_both_ways)
}

/// The relay with one shared buffer.
pub(crate) fn run_readable(listen: SocketAddr, origin: SocketAddr) -> io::Result<()> {
    let buffer: SharedBuffer = Rc::new(RefCell::new(vec![0; BUFFER_BYTES].into()));
    run(listen, origin, move |client, upstream| move_both_ways(client, upstream, Rc::clone(&buffer)))
}

fn run<F, W>(listen: SocketAddr, origin: SocketAddr, relay: F) -> io::Result<()>
where
    F: Fn(TcpStream, TcpStream) -> W + Clone + 'static,
    W: Future<Output = ()> + 'static,
{
    // The two crates share their ring crate's version, and only tokio-uring hands out its builder.
    let mut ring = tokio_uring::uring_builder();
    ring.setup_coop_taskrun().setup_single_issuer();
    let builder = RuntimeBuilder::<IoUringDriver>::new().with_entries(ENTRIES).uring_builder(ring);
    builder.build()?.block_on(async {
        let listener = TcpListener::bind(listen)?;
        loop {
            let (client, _) = listener.accept().await?;
            let relay = relay.clone();
            monoio::spawn(async move {
                // Where the origin refuses, dropping the client's connection says so.
                let Ok(upstream) = TcpStream::connect_addr(origin).await else { return };
                if client.set_nodelay(true).is_ok() && upstream.set_nodelay(true).is_ok() {
                    relay(client, upstream).await;
                }
            });
        }
    })
}

async fn copy_both_ways(client: TcpStream, upstream: TcpStream) {
    let (client_reader, client_writer) = client.into_split();
    let (upstream_reader, upstream_writer) = upstream.into_split();
    monoio::join!(copy(client_reader, upstream_writer), copy(upstream_reader, client_writer));
}

/// Copies until the source ends or either end fails; both look the same from the other end.
///
/// monoio has such a loop (`monoio::io::copy`), with a buffer of 4 KiB.
async fn copy(mut source: impl AsyncReadRent, mut target: impl AsyncWriteRent) {
    let mut buffer = Vec::with_capacity(BUFFER_BYTES);
    loop {
        let (received, filled) = source.read(buffer).await;
        let Ok(1..) = received else { break };
        let (sent, written) = target.write_all(filled).await;
        if sent.is_err() {
            break;
        }
        buffer = written;
    }
    // Dropping this half of the target has sent the end of the stream on.
}

async fn move_both_ways(client: TcpStream, upstream: TcpStream, buffer: SharedBuffer) {
    monoio::join!(move_one_way(&client, &upstream, &buffer), move_one_way(&upstream, &client, &buffer));
}

/// Moves bytes until the source ends or either end fails.
async fn move_one_way(source: &TcpStream, target: &TcpStream, buffer: &SharedBuffer) {
    while source.readable(false).await.is_ok() {
        let held = {
            let mut buffer = buffer.borrow_mut();
            match socket::recv(source.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) {
                Ok(length @ 1..) => match send(target, &buffer[..length]) {
                    Ok(sent) => buffer[sent..length].to_vec(),
                    Err(_) => break,
                },
                Err(Errno::EAGAIN) => continue,
                Ok(0) | Err(_) => break,
            }
        };
        if !send_rest(target, &held).await {
            break;
        }
    }
    // Fails only when the connection is gone.
    let _ = socket::shutdown(target.as_raw_fd(), Shutdown::Write);
}

/// Sends what the target did not take at once. `false` when it is gone.
async fn send_rest(target: &TcpStream, mut held: &[u8]) -> bool {
    while !held.is_empty() {
        if target.writable(false).await.is_err() {
            return false;
        }
        match send(target, held) {
            Ok(sent) => held = &held[sent..],
            Err(_) => return false,
        }
    }
    true
}

/// Bytes taken now; 0 where the socket is full.
fn send(target: &TcpStream, bytes: &[u8]) -> nix::Result<usize> {
    match socket::send(target.as_raw_fd(), bytes, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL) {
        Err(Errno::EAGAIN) => Ok(0),
        sent => sent,
    }
}

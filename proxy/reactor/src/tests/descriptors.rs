//! Options, listeners and pipes, compared with what the kernel says about the descriptor.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use rustix::net::sockopt;

use super::{loopback, on_each_engine, pair, run};
use crate::{Keepalive, Listener, Pipe, SocketOptions, connect, set_incoming_cpu};

const OPTIONS: SocketOptions = SocketOptions {
    nodelay: true,
    keepalive: Some(Keepalive { idle: Duration::from_secs(33), interval: Duration::from_secs(7) }),
    user_timeout: Some(Duration::from_millis(45_678)),
};

fn assert_options(fd: BorrowedFd<'_>) {
    assert!(sockopt::tcp_nodelay(fd).unwrap());
    assert!(sockopt::socket_keepalive(fd).unwrap());
    assert_eq!(sockopt::tcp_keepidle(fd).unwrap(), Duration::from_secs(33));
    assert_eq!(sockopt::tcp_keepintvl(fd).unwrap(), Duration::from_secs(7));
    assert_eq!(sockopt::tcp_user_timeout(fd).unwrap(), 45_678);
}

#[test]
fn options_are_set_on_both_sides_of_a_connection() {
    on_each_engine(|reactor| {
        let bound = Listener::bind(loopback(), 16, true).unwrap();
        OPTIONS.apply(bound.fd()).unwrap();
        let listener = Listener::register(reactor, bound).unwrap();
        let address = listener.local_addr();
        let (accepted, connected) =
            run(reactor, crate::join(listener.accept(), connect(reactor, address, &OPTIONS)));
        assert_options(accepted.unwrap().0.as_fd());
        assert_options(connected.unwrap().fd());
    });
}

#[test]
fn several_workers_listen_on_one_port_when_asked() {
    let first = Listener::bind(loopback(), 16, true).unwrap();
    let second = Listener::bind(first.local_addr(), 16, true).unwrap();
    for (core, shown) in [(Some(1), 1), (None, u32::MAX)] {
        set_incoming_cpu(second.fd(), core).unwrap();
        assert_eq!(sockopt::socket_incoming_cpu(second.fd()).unwrap(), shown);
    }
    let alone = Listener::bind(loopback(), 16, false).unwrap();
    let taken = Listener::bind(alone.local_addr(), 16, false).unwrap_err();
    assert_eq!(taken.kind(), ErrorKind::AddrInUse);
}

/// Fails if one worker gets most of the clients while others idle.
#[test]
fn connections_are_spread_evenly_over_the_listeners_of_one_port() {
    const CONNECTIONS: usize = 2_000;
    let first = Listener::bind(loopback(), 16, true).unwrap();
    let second = Listener::bind(first.local_addr(), 16, true).unwrap();
    let mut accepted = [0, 0];
    for _ in 0..CONNECTIONS {
        let _client = TcpStream::connect(first.local_addr()).unwrap();
        for (count, listener) in accepted.iter_mut().zip([&first, &second]) {
            *count += usize::from(rustix::net::accept(listener.fd()).is_ok());
        }
    }
    assert_eq!(accepted.iter().sum::<usize>(), CONNECTIONS);
    assert!(accepted.iter().all(|count| *count >= CONNECTIONS / 2 * 7 / 10), "{accepted:?}");
}

#[test]
fn both_protocols_listen_on_one_port() {
    let Ok(six) = Listener::bind(SocketAddr::from(([0_u16; 8], 0)), 16, false) else {
        return eprintln!("left out: no IPv6 here");
    };
    let port = six.local_addr().port();
    let four = Listener::bind(SocketAddr::from(([0, 0, 0, 0], port)), 16, false);
    // Another test may hold the IPv4 port; what must not fail is the pairing itself.
    assert!(four.is_ok() || TcpListener::bind(("0.0.0.0", port)).is_err());
    assert!(sockopt::ipv6_v6only(six.fd()).unwrap());
}

#[test]
fn a_pipe_carries_bytes_between_sockets() {
    let ((from, mut client), (to, mut upstream)) = (pair(), pair());
    let pipe = Pipe::new().unwrap();
    assert!(pipe.capacity() >= 4096 && pipe.capacity() <= crate::limits::PIPE_BYTES, "{}", pipe.capacity());
    let asked = rustix::pipe::fcntl_getpipe_size(pipe.writer()).unwrap();
    assert_eq!(pipe.capacity(), asked, "as granted");
    let empty = pipe.fill(from.as_fd(), 100).unwrap_err();
    assert_eq!(empty.kind(), ErrorKind::WouldBlock);
    client.write_all(b"through the kernel").unwrap();
    assert_eq!(pipe.fill(from.as_fd(), 1 << 20).unwrap(), 18);
    assert_eq!(pipe.drain(to.as_fd(), 18).unwrap(), 18);
    let mut buffer = [0; 18];
    upstream.read_exact(&mut buffer).unwrap();
    assert_eq!(&buffer, b"through the kernel");
    drop(client);
    assert_eq!(pipe.fill(from.as_fd(), 100).unwrap(), 0, "the end of the stream");
    assert_eq!(pipe.drain(to.as_fd(), 1).unwrap_err().kind(), ErrorKind::WouldBlock);
    assert_eq!(rustix::io::fcntl_getfd(pipe.reader()).unwrap(), rustix::io::FdFlags::CLOEXEC);
}

#[test]
fn accepted_sockets_do_not_block_and_are_closed_on_exec() {
    on_each_engine(|reactor| {
        let listener = Listener::register(reactor, Listener::bind(loopback(), 16, false).unwrap()).unwrap();
        let client = TcpStream::connect(listener.local_addr()).unwrap();
        let (fd, _) = run(reactor, listener.accept()).unwrap();
        assert!(rustix::fs::fcntl_getfl(&fd).unwrap().contains(rustix::fs::OFlags::NONBLOCK));
        assert_eq!(rustix::io::fcntl_getfd(&fd).unwrap(), rustix::io::FdFlags::CLOEXEC);
        drop(client);
    });
}

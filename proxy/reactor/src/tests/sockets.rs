//! What tasks do with sockets: read, write, half-close, reset, accept, connect.

use std::cell::Cell;
use std::io::{ErrorKind, IoSlice, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::rc::Rc;
use std::time::Duration;

use super::{PATIENCE, loopback, on_each_engine, run, socket_pair, thread_names};
use crate::{Either, Listener, Reactor, Socket, SocketOptions, connect, join, mailbox, select};

async fn echo(socket: Socket) {
    let mut buffer = [0; 4096];
    loop {
        match socket.recv(&mut buffer).await {
            Ok(0) => return socket.shutdown_write().unwrap(),
            Ok(count) => socket.send_all(&buffer[..count]).await.unwrap(),
            Err(error) => panic!("{error}"),
        }
    }
}

fn spawn_echo_listener(reactor: &Reactor) -> SocketAddr {
    let listener = Listener::register(reactor, Listener::bind(loopback(), 4096, true).unwrap()).unwrap();
    let address = listener.local_addr();
    let handle = reactor.clone();
    reactor.spawn(async move {
        loop {
            let (fd, _) = listener.accept().await.unwrap();
            let socket = Socket::register(&handle, fd).unwrap();
            handle.spawn(echo(socket));
        }
    });
    address
}

async fn send_and_read_back(reactor: &Reactor, address: SocketAddr, data: &[u8]) {
    let socket = connect(reactor, address, &SocketOptions::default()).await.unwrap();
    let sending = async {
        socket.send_all(data).await.unwrap();
        socket.shutdown_write().unwrap();
    };
    let reading = async {
        let mut answer = Vec::new();
        let mut buffer = [0; 500];
        loop {
            match socket.recv(&mut buffer).await.unwrap() {
                0 => return answer,
                count => answer.extend_from_slice(&buffer[..count]),
            }
        }
    };
    let ((), answer) = join(sending, reading).await;
    assert!(answer == data, "{} of {} bytes came back, or others", answer.len(), data.len());
}

#[test]
fn echoes_more_than_the_buffers_hold() {
    on_each_engine(|reactor| {
        let address = spawn_echo_listener(reactor);
        let data: Vec<u8> = (0..8_000_000_u32).map(|n| n.to_le_bytes()[n as usize % 3]).collect();
        run(reactor, send_and_read_back(reactor, address, &data));
        assert!(!thread_names().iter().any(|name| name.starts_with("iou-wrk")), "an io-wq thread runs");
    });
}

#[test]
fn serves_two_thousand_sources() {
    on_each_engine(|reactor| {
        let address = spawn_echo_listener(reactor);
        let left = Rc::new(Cell::new(1000));
        let (done, mut all_done) = mailbox::new(1);
        for number in 0..1000_u32 {
            let (handle, left, done) = (reactor.clone(), Rc::clone(&left), done.clone());
            reactor.spawn(async move {
                send_and_read_back(&handle, address, &number.to_le_bytes()).await;
                left.set(left.get() - 1);
                if left.get() == 0 {
                    done.try_send(()).unwrap();
                }
            });
        }
        run(reactor, all_done.recv()).unwrap();
        let stats = reactor.stats();
        assert!(stats.events >= 2000 && stats.turns > 0 && stats.wakes >= 1000, "{stats:?}");
    });
}

/// Fails by hanging when the short read that took the last bytes also made the announced end forgotten.
#[test]
fn the_end_that_came_with_the_last_bytes_is_seen() {
    on_each_engine(|reactor| {
        let (socket, mut other) = socket_pair(reactor);
        run(reactor, async {
            let mut buffer = [0; 64];
            other.write_all(b"last").unwrap();
            other.shutdown(Shutdown::Write).unwrap();
            socket.read_closed().await;
            assert_eq!(socket.recv(&mut buffer).await.unwrap(), 4);
            assert_eq!(socket.recv(&mut buffer).await.unwrap(), 0);
        });
    });
}

#[test]
fn the_end_that_came_after_the_last_bytes_is_seen() {
    on_each_engine(|reactor| {
        let (socket, mut other) = socket_pair(reactor);
        run(reactor, async {
            let mut buffer = [0; 64];
            other.write_all(b"last").unwrap();
            assert_eq!(socket.recv(&mut buffer).await.unwrap(), 4);
            assert!(!socket.ready().readable(), "a short read means empty");
            other.shutdown(Shutdown::Write).unwrap();
            assert_eq!(socket.recv(&mut buffer).await.unwrap(), 0);
        });
    });
}

/// A client may finish sending and still read a long answer. Fails with a busy loop when its half-close counts
/// as "writable".
#[test]
fn a_half_closed_client_with_a_full_buffer_is_waited_for() {
    on_each_engine(|reactor| {
        let (socket, mut other) = socket_pair(reactor);
        other.shutdown(Shutdown::Write).unwrap();
        let sent = run(reactor, async {
            socket.read_closed().await;
            let mut sent = 0;
            loop {
                match socket.try_send(&[7; 100_000]) {
                    Ok(count) => sent += count,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => panic!("{error}"),
                }
            }
            let turns = reactor.stats().turns;
            let waited = reactor.now() + Duration::from_millis(50);
            assert!(reactor.timeout_at(Some(waited), socket.writable()).await.is_err());
            assert!(reactor.stats().turns - turns < 10, "it spins");
            sent
        });
        let reader = std::thread::spawn(move || {
            let mut all = vec![0; sent];
            other.read_exact(&mut all).unwrap();
            other
        });
        run(reactor, socket.writable());
        drop(reader.join().unwrap());
    });
}

#[test]
fn a_reset_ends_every_wait() {
    on_each_engine(|reactor| {
        let (socket, other) = socket_pair(reactor);
        let (ours, theirs) = (socket, Socket::register(reactor, other.into()).unwrap());
        run(reactor, async {
            theirs.set_linger_zero();
            drop(theirs);
            ours.read_closed().await;
            ours.readable().await;
            ours.writable().await;
            assert!(ours.is_read_closed() && ours.ready().error());
            assert_eq!(ours.recv(&mut [0; 8]).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
            let again = ours.send_all(b"x").await.unwrap_err();
            assert_eq!(again.kind(), ErrorKind::BrokenPipe, "an error, not a signal");
        });
    });
}

/// The ring's watch holds the socket open: fails by hanging when its removal waits for some later submission.
#[test]
fn the_other_end_sees_a_close_at_once() {
    on_each_engine(|reactor| {
        let (socket, mut other) = socket_pair(reactor);
        let (seen, mut reader) = mailbox::new(1);
        run(reactor, async {
            let idle =
                reactor.timeout_at(Some(reactor.now() + Duration::from_millis(10)), socket.read_closed());
            assert!(idle.await.is_err(), "the watch is in force");
            drop(socket);
            std::thread::spawn(move || seen.try_send(other.read(&mut [0; 8]).unwrap()).unwrap());
            assert_eq!(reader.recv().await, Some(0));
        });
    });
}

#[test]
fn a_close_in_the_turn_of_its_registration_leaves_nothing() {
    on_each_engine(|reactor| {
        let (mut others, mut seen) = (Vec::new(), Vec::new());
        for _ in 0..100 {
            // The descriptor's number is used again by the next pair while the first watch is still queued.
            let (socket, other) = socket_pair(reactor);
            drop(socket);
            others.push(other);
        }
        let (socket, mut other) = socket_pair(reactor);
        run(reactor, async {
            other.write_all(b"mine").unwrap();
            assert_eq!(socket.recv(&mut [0; 8]).await.unwrap(), 4);
        });
        for mut other in others {
            seen.push(other.read(&mut [0; 8]).unwrap());
        }
        assert_eq!(seen, [0; 100]);
        assert_eq!(reactor.stats().sources, 1);
    });
}

#[test]
fn vectored_sends_arrive_in_order() {
    on_each_engine(|reactor| {
        let (socket, mut other) = socket_pair(reactor);
        let count = socket.try_send_vectored(&[IoSlice::new(b"head "), IoSlice::new(b"body")]).unwrap();
        let mut buffer = [0; 16];
        other.read_exact(&mut buffer[..count]).unwrap();
        assert_eq!(&buffer[..count], b"head body");
        drop(other);
        run(reactor, socket.read_closed());
    });
}

/// A pooled upstream connection is looked at before it is used again.
#[test]
fn a_peek_tells_silent_from_closed_and_takes_nothing() {
    on_each_engine(|reactor| {
        let (socket, mut other) = socket_pair(reactor);
        assert_eq!(socket.try_peek().unwrap_err().kind(), ErrorKind::WouldBlock);
        other.write_all(b"x").unwrap();
        run(reactor, socket.readable());
        assert_eq!(socket.try_peek().unwrap(), 1);
        assert_eq!(socket.try_recv(&mut [0; 8]).unwrap(), 1);
        drop(other);
        run(reactor, socket.read_closed());
        assert_eq!(socket.try_peek().unwrap(), 0);
    });
}

#[test]
fn a_refused_connection_is_an_error() {
    on_each_engine(|reactor| {
        let address = TcpListener::bind(loopback()).unwrap().local_addr().unwrap();
        let result = run(reactor, connect(reactor, address, &SocketOptions::default()));
        assert_eq!(result.unwrap_err().kind(), ErrorKind::ConnectionRefused);
        assert_eq!(reactor.stats().sources, 0);
    });
}

#[test]
fn dropping_a_connect_closes_it() {
    on_each_engine(|reactor| {
        let listener = TcpListener::bind(loopback()).unwrap();
        let address = listener.local_addr().unwrap();
        run(reactor, async {
            let options = SocketOptions::default();
            // The loser is polled once, so the connection is under way when it is dropped.
            let first = select(
                async {
                    let mut connecting = std::pin::pin!(connect(reactor, address, &options));
                    let _ =
                        std::future::poll_fn(|cx| std::task::Poll::Ready(connecting.as_mut().poll(cx))).await;
                },
                std::future::pending::<()>(),
            );
            assert!(matches!(first.await, Either::Left(())));
        });
        let (mut accepted, _) = listener.accept().unwrap();
        accepted.set_read_timeout(Some(PATIENCE)).unwrap();
        assert_eq!(accepted.read(&mut [0; 8]).unwrap(), 0);
        assert_eq!(reactor.stats().sources, 0);
    });
}

#[test]
fn dropping_an_accept_loses_no_connection() {
    on_each_engine(|reactor| {
        let listener = Listener::register(reactor, Listener::bind(loopback(), 16, false).unwrap()).unwrap();
        run(reactor, async {
            let soon = reactor.now() + Duration::from_millis(5);
            assert!(reactor.timeout_at(Some(soon), listener.accept()).await.is_err());
            let client = TcpStream::connect(listener.local_addr()).unwrap();
            let (_, address) = listener.accept().await.unwrap();
            assert_eq!(address, client.local_addr().unwrap());
        });
    });
}

#[test]
fn a_burst_of_connections_lets_other_tasks_run() {
    on_each_engine(|reactor| {
        let listener = Listener::register(reactor, Listener::bind(loopback(), 1024, false).unwrap()).unwrap();
        let clients: Vec<TcpStream> =
            (0..300).map(|_| TcpStream::connect(listener.local_addr()).unwrap()).collect();
        let polls = Rc::new(Cell::new(0));
        let counted = Rc::clone(&polls);
        reactor.spawn(async move {
            loop {
                counted.set(counted.get() + 1);
                crate::yield_now().await;
            }
        });
        run(reactor, async {
            for _ in &clients {
                listener.accept().await.unwrap();
            }
        });
        assert!(polls.get() >= 300 / crate::limits::ACCEPTS_PER_BURST_MAX, "{} polls", polls.get());
    });
}

/// A watch whose event is under way is not taken back by every operation, and a watch that stays holds the
/// socket open: the other end would never see the end.
#[test]
fn a_socket_closed_while_an_event_is_under_way_is_closed() {
    on_each_engine(|reactor| {
        let (socket, mut other) = socket_pair(reactor);
        run(reactor, crate::yield_now());
        other.write_all(b"x").unwrap();
        drop(socket);
        run(reactor, crate::yield_now());
        other.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        // Bytes were left unread, so the end is a reset.
        assert_eq!(other.read(&mut [0; 8]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    });
}

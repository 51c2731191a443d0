//! Receives and sends the ring makes by itself, and epoll's way beside it.

use std::cell::{Cell, RefCell};
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use ringbolt_reactor::{
    Chunk, ContentType, EngineChoice, KtlsSupport, Reactor, Ready, Received, Sink, SinkToken, SourceId,
    TlsCipher, TlsVersion, is_record, recv, recv_record,
};

use super::CLOSE_NOTIFY;
use crate::session::Parties;
use crate::traffic;

/// Longer than a buffer of the ring's, so that a record comes in several.
const MESSAGE_BYTES: usize = 5_000;
const MESSAGES: usize = 20;
const PATIENCE: Duration = Duration::from_secs(60);

/// One end of a tunnel, which sends back what it is sent.
struct Echo {
    reactor: Reactor,
    fd: OwnedFd,
    source: SourceId,
    /// Whether the ring receives.
    receiving: Cell<bool>,
    waiting: RefCell<Vec<Chunk>>,
    sending: Cell<bool>,
    echoed: Cell<usize>,
    alert: RefCell<Option<Vec<u8>>>,
}

impl Echo {
    fn send_next(&self) {
        if !self.sending.get() && !self.waiting.borrow().is_empty() {
            let chunk = self.waiting.borrow_mut().remove(0);
            self.sending.set(true);
            self.reactor.send(self.fd.as_fd(), self.source, chunk).unwrap();
        }
    }
}

impl Sink for Echo {
    fn ready(&self, _: SinkToken, _: Ready) {
        // Behind the alert comes the FIN.
        if self.receiving.get() || self.alert.borrow().is_some() {
            return;
        }
        let mut buffer = [0; 3000];
        loop {
            match recv(self.fd.as_fd(), &mut buffer) {
                Ok(length) => {
                    assert!(length > 0, "no close_notify");
                    self.echoed.set(self.echoed.get() + length);
                    let mut stream = std::net::TcpStream::from(self.fd.try_clone().unwrap());
                    stream.write_all(&buffer[..length]).unwrap();
                }
                Err(error) if is_record(&error) => {
                    let (content_type, length) = recv_record(self.fd.as_fd(), &mut buffer).unwrap();
                    assert_eq!(content_type, ContentType::ALERT);
                    *self.alert.borrow_mut() = Some(buffer[..length].to_vec());
                    return;
                }
                Err(error) => {
                    assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
                    return;
                }
            }
        }
    }

    fn expired(&self, _: SinkToken) {}

    fn received(&self, token: SinkToken, received: Received) {
        match received {
            Received::Bytes(chunk) => {
                self.waiting.borrow_mut().push(chunk);
                self.send_next();
            }
            Received::Stopped => {
                self.receiving.set(false);
                self.ready(token, Ready::default());
            }
            Received::Failed(error) => panic!("{error}"),
        }
    }

    fn sent(&self, _: SinkToken, chunk: Chunk, result: std::io::Result<usize>) {
        assert_eq!(result.unwrap(), chunk.bytes().len());
        self.echoed.set(self.echoed.get() + chunk.bytes().len());
        self.sending.set(false);
        self.send_next();
    }
}

pub(crate) fn run(_: &KtlsSupport) {
    for engine in [EngineChoice::Uring, EngineChoice::Epoll] {
        for version in [TlsVersion::Tls13, TlsVersion::Tls12] {
            serve(engine, version);
        }
    }
}

fn serve(engine: EngineChoice, version: TlsVersion) {
    let (mut client, server) = Parties::new(version, TlsCipher::Aes256Gcm).connect();
    server.stream.set_nonblocking(true).unwrap();
    let (reactor, _) = Reactor::new(engine).unwrap();
    let fd = OwnedFd::from(server.stream);
    let source = reactor.register(fd.as_fd()).unwrap();
    reactor.assign(source, SinkToken(1));
    let receiving = reactor.receive(source);
    assert_eq!(receiving, engine == EngineChoice::Uring);
    let echo = Echo {
        reactor: reactor.clone(),
        fd,
        source,
        receiving: Cell::new(receiving),
        waiting: RefCell::default(),
        sending: Cell::new(false),
        echoed: Cell::new(0),
        alert: RefCell::default(),
    };
    let talking = std::thread::spawn(move || {
        for message in 0..MESSAGES {
            let sent = traffic::bytes(MESSAGE_BYTES, u32::try_from(message).unwrap());
            client.write_all(&sent).unwrap();
            let mut received = vec![0; MESSAGE_BYTES];
            client.read_exact(&mut received).unwrap();
            assert!(received == sent, "message {message}");
        }
        client.conn.send_close_notify();
        client.flush().unwrap();
    });
    let deadline = Instant::now() + PATIENCE;
    while echo.alert.borrow().is_none() {
        assert!(Instant::now() < deadline, "hangs after {} bytes", echo.echoed.get());
        let turn = reactor.sleep_until(Instant::now() + Duration::from_millis(50));
        reactor.run(turn, &echo).unwrap();
    }
    assert_eq!(echo.alert.borrow().as_deref(), Some(&CLOSE_NOTIFY[..]));
    assert_eq!(echo.echoed.get(), MESSAGES * MESSAGE_BYTES);
    talking.join().unwrap();
    let Echo { fd, source, .. } = echo;
    reactor.close(fd, source);
}

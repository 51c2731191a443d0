//! Bytes both ways between a TLS connection and a plain one, until both have ended.
//!
//! Ends mean the same on both sides: `close_notify` is FIN, and what ends without it is reset.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::sockopt::set_socket_linger;
use rustls::Connection;

/// Bytes that wait for one side before the other is read.
const WAITING_MAX: usize = 64 * 1024;

struct Pump<'a> {
    connection: Connection,
    outer: &'a TcpStream,
    inner: &'a TcpStream,
    /// For the plain side.
    waiting: Vec<u8>,
    outer_ended: bool,
    inner_ended: bool,
    outer_told: bool,
    inner_told: bool,
}

/// Carries bytes until both sides have ended; a side that fails takes the other with it.
pub(super) fn run(connection: Connection, outer: &TcpStream, inner: &TcpStream) {
    for socket in [outer, inner] {
        socket.set_nonblocking(true).expect("an option of an open socket");
        socket.set_nodelay(true).expect("an option of an open socket");
    }
    let mut pump = Pump {
        connection,
        outer,
        inner,
        waiting: Vec::new(),
        outer_ended: false,
        inner_ended: false,
        outer_told: false,
        inner_told: false,
    };
    // The handshake may have received more than its own.
    let mut carried = pump.take_plaintext().and_then(|()| pump.write_inner());
    while !(pump.outer_told && pump.inner_told) {
        carried = carried.and_then(|()| pump.turn());
        if carried.is_err() {
            for socket in [outer, inner] {
                // Fails only where there is nothing left to reset.
                let _ = set_socket_linger(socket, Some(Duration::ZERO));
            }
            return;
        }
    }
}

impl Pump<'_> {
    fn turn(&mut self) -> io::Result<()> {
        let reads_outer = !self.outer_ended && self.waiting.len() < WAITING_MAX;
        let reads_inner = !self.inner_ended && !self.connection.wants_write();
        let flags = |reads: bool, writes: bool| {
            let mut flags = PollFlags::empty();
            flags.set(PollFlags::IN, reads);
            flags.set(PollFlags::OUT, writes);
            flags
        };
        let mut polled = [
            PollFd::new(self.outer, flags(reads_outer, self.connection.wants_write())),
            PollFd::new(self.inner, flags(reads_inner, !self.waiting.is_empty())),
        ];
        poll(&mut polled, None)?;
        if reads_outer {
            self.read_outer()?;
        }
        if reads_inner {
            self.read_inner()?;
        }
        self.write_outer()?;
        self.write_inner()
    }

    fn read_outer(&mut self) -> io::Result<()> {
        match self.connection.read_tls(&mut &*self.outer) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        }
        self.connection.process_new_packets().map_err(io::Error::other)?;
        self.take_plaintext()
    }

    fn take_plaintext(&mut self) -> io::Result<()> {
        let mut buffer = [0; 16 * 1024];
        loop {
            match self.connection.reader().read(&mut buffer) {
                Ok(0) => {
                    self.outer_ended = true;
                    return Ok(());
                }
                Ok(length) => self.waiting.extend_from_slice(&buffer[..length]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    fn read_inner(&mut self) -> io::Result<()> {
        let mut buffer = [0; 16 * 1024];
        match (&mut &*self.inner).read(&mut buffer) {
            Ok(0) => {
                self.inner_ended = true;
                self.connection.send_close_notify();
                Ok(())
            }
            Ok(length) => self.connection.writer().write_all(&buffer[..length]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn write_outer(&mut self) -> io::Result<()> {
        while self.connection.wants_write() {
            match self.connection.write_tls(&mut &*self.outer) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        if self.inner_ended && !self.outer_told {
            self.outer_told = true;
            // Fails where the far end has closed both ways.
            let _ = self.outer.shutdown(Shutdown::Write);
        }
        Ok(())
    }

    fn write_inner(&mut self) -> io::Result<()> {
        while !self.waiting.is_empty() {
            match (&mut &*self.inner).write(&self.waiting) {
                Ok(sent) => drop(self.waiting.drain(..sent)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        if self.outer_ended && !self.inner_told {
            self.inner_told = true;
            // Fails where the near end has closed both ways.
            let _ = self.inner.shutdown(Shutdown::Write);
        }
        Ok(())
    }
}

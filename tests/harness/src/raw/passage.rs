//! The way to a backend, which can be blocked without a word: as behind a router or firewall that drops every packet.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{self, JoinHandle};

use parking_lot::Mutex;
use rustix::net::listen;

use super::dead::fill;

/// An address from which bytes go to a backend and back, until it is blocked.
#[derive(Debug)]
pub struct Passage {
    address: SocketAddr,
    listener: TcpListener,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
    queued: Vec<TcpStream>,
}

#[derive(Debug, Default)]
struct Shared {
    blocked: AtomicBool,
    /// Both ends of every connection, so that none is closed when it is blocked.
    ends: Mutex<Vec<TcpStream>>,
}

impl Passage {
    /// A passage to `target`.
    ///
    /// # Panics
    /// If no port is free.
    #[must_use]
    pub fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound socket");
        let shared = Arc::new(Shared::default());
        let (of_thread, state) = (listener.try_clone().expect("a descriptor"), Arc::clone(&shared));
        let accepting = Some(thread::spawn(move || accept(&of_thread, target, &state)));
        Self { address, listener, shared, accepting, queued: Vec::new() }
    }

    /// Where it begins.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Blocks it: what is sent on open connections arrives nowhere, and no other one is answered.
    ///
    /// # Panics
    /// If the queue of connections does not fill.
    pub fn block(&mut self) {
        self.stop();
        // The place that is left is taken at once.
        listen(&self.listener, 0).expect("a bound socket");
        self.queued = fill(self.address);
    }

    fn stop(&mut self) {
        self.shared.blocked.store(true, Relaxed);
        if let Some(accepting) = self.accepting.take() {
            // Ends with the next connection.
            let woken = TcpStream::connect(self.address);
            // A panic of it has been told already.
            let _ = accepting.join();
            drop(woken);
        }
    }
}

impl Drop for Passage {
    fn drop(&mut self) {
        self.stop();
        for end in &*self.shared.ends.lock() {
            // One that is closed already needs no more.
            let _ = end.shutdown(Shutdown::Both);
        }
    }
}

fn accept(listener: &TcpListener, target: SocketAddr, shared: &Arc<Shared>) {
    for client in listener.incoming() {
        let client = client.expect("a connection");
        if shared.blocked.load(Relaxed) {
            return;
        }
        let Ok(backend) = TcpStream::connect(target) else { continue };
        let another = |end: &TcpStream| end.try_clone().expect("a descriptor");
        shared.ends.lock().extend([another(&client), another(&backend)]);
        let (from, to, state) = (another(&client), another(&backend), Arc::clone(shared));
        thread::spawn(move || pass(from, to, &state));
        let state = Arc::clone(shared);
        thread::spawn(move || pass(backend, client, &state));
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, shared: &Shared) {
    let mut buffer = [0; 16 * 1024];
    while let Ok(length) = from.read(&mut buffer) {
        if shared.blocked.load(Relaxed) {
            return;
        }
        if length == 0 || to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    // Whichever end has gone, the other one hears of it.
    let _ = to.shutdown(Shutdown::Write);
}

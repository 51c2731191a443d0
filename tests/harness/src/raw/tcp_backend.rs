//! A backend that speaks no HTTP: a script for each connection, from its first byte.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{self, JoinHandle};

use parking_lot::{Condvar, Mutex};

use super::WAIT;
use super::wire::Wire;

#[derive(Debug, Default)]
struct Shared {
    accepted: Mutex<usize>,
    changed: Condvar,
    stopped: AtomicBool,
}

/// A listening backend with a thread for each connection. It accepts none any more when dropped.
#[derive(Debug)]
pub struct TcpBackend {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

impl TcpBackend {
    /// Runs `script` for each connection, which ends with it.
    ///
    /// # Panics
    /// If no port is free.
    #[must_use]
    pub fn start(script: impl Fn(&mut Wire) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound socket");
        let shared = Arc::new(Shared::default());
        let (script, seen) = (Arc::new(script), Arc::clone(&shared));
        let accepting = thread::spawn(move || {
            for stream in listener.incoming() {
                if seen.stopped.load(Relaxed) {
                    return;
                }
                // The far end may be gone again.
                let Ok(stream) = stream else { continue };
                *seen.accepted.lock() += 1;
                seen.changed.notify_all();
                let script = Arc::clone(&script);
                thread::spawn(move || script(&mut Wire::new(Arc::new(stream))));
            }
        });
        Self { address, shared, accepting: Some(accepting) }
    }

    /// Sends `banner` at once, then back whatever comes.
    #[must_use]
    pub fn echoing(banner: impl Into<Vec<u8>>) -> Self {
        let banner = banner.into();
        Self::start(move |wire| {
            // The far end may be gone: then there is nothing to echo either.
            let _ = wire.try_send(&banner);
            while let Ok(bytes) = wire.read_ever() {
                if wire.try_send(bytes).is_err() {
                    break;
                }
            }
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections it has accepted.
    #[must_use]
    pub fn connections(&self) -> usize {
        *self.shared.accepted.lock()
    }

    /// Waits until `count` connections have been accepted.
    ///
    /// # Panics
    /// After [`WAIT`].
    pub fn wait_for_connections(&self, count: usize) {
        let mut accepted = self.shared.accepted.lock();
        let few = |accepted: &mut usize| *accepted < count;
        let timed_out = self.shared.changed.wait_while_for(&mut accepted, few, WAIT).timed_out();
        assert!(!timed_out, "waited {WAIT:?} for {count} connections at the backend; so far {accepted}");
    }
}

impl Drop for TcpBackend {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Relaxed);
        // Wakes the accepting thread, which then sees that it shall stop.
        let _ = TcpStream::connect_timeout(&self.address, WAIT);
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
    }
}

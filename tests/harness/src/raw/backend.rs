//! A backend that answers with whatever bytes a test says, and remembers what the proxy sent it.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Weak};
use std::thread::{self, JoinHandle};

use parking_lot::{Condvar, Mutex};

use super::message::Message;
use super::wire::Wire;
use super::{End, Head, WAIT};

/// One request as it reached the backend.
#[derive(Clone, Debug)]
pub struct Request {
    /// Which connection of this backend it came on, counted from 0.
    pub connection: usize,
    /// Head and, unless the backend began at the head, body.
    pub message: Message,
}

impl Request {
    /// Answers as a backend of Engine.IO does that calls itself and all its sessions `name`: it upgrades what wants it
    /// and leaves that wire open, opens a session, and answers everything else with its name.
    pub fn answer_as(&self, name: &str, wire: &Wire) {
        if self.head().value("Upgrade").is_some() {
            return wire.send(format!(
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                 Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nX-Name: {name}\r\n\r\n"
            ));
        }
        let target = self.head().target();
        let sid =
            format!("0{{\"sid\":\"{name}\",\"upgrades\":[],\"pingInterval\":25000,\"pingTimeout\":20000}}");
        let body = if target.contains("EIO=") && !target.contains("sid=") { &sid } else { name };
        wire.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
    }

    /// The head as the proxy sent it.
    #[must_use]
    pub fn head(&self) -> &Head {
        &self.message.head
    }
}

/// What a backend does with a request. A wire it leaves open serves the next one.
type Script = dyn Fn(&Request, &mut Wire) + Send + Sync;

/// When the script begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Begin {
    AtHead,
    AtEnd,
}

#[derive(Debug, Default)]
struct Seen {
    connections: usize,
    requests: Vec<Request>,
    /// How connections ended on which the far end closed first.
    ends: Vec<End>,
    /// What came of requests that never became complete.
    fragments: Vec<Vec<u8>>,
}

#[derive(Debug, Default)]
struct Shared {
    seen: Mutex<Seen>,
    changed: Condvar,
    open: Mutex<Vec<Weak<TcpStream>>>,
    stopped: AtomicBool,
}

/// A listening backend with a thread for each connection. It stops when dropped.
#[derive(Debug)]
pub struct Backend {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

impl Backend {
    /// Runs `script` for each request, once its body is complete.
    ///
    /// # Panics
    /// If no port is free.
    #[must_use]
    pub fn start(script: impl Fn(&Request, &mut Wire) + Send + Sync + 'static) -> Self {
        Self::start_on(SocketAddr::from(([127, 0, 0, 1], 0)), script)
    }

    /// The same, at an address of its own.
    ///
    /// # Panics
    /// If the address is taken.
    #[must_use]
    pub fn start_on(
        address: SocketAddr,
        script: impl Fn(&Request, &mut Wire) + Send + Sync + 'static,
    ) -> Self {
        Self::begin(Begin::AtEnd, address, Arc::new(script))
    }

    /// Runs `script` for each request, once its head is complete; [`Wire::read_request_body`] takes the rest.
    ///
    /// # Panics
    /// If no port is free.
    #[must_use]
    pub fn start_at_head(script: impl Fn(&Request, &mut Wire) + Send + Sync + 'static) -> Self {
        Self::begin(Begin::AtHead, SocketAddr::from(([127, 0, 0, 1], 0)), Arc::new(script))
    }

    /// Answers every request with `response`.
    #[must_use]
    pub fn answering(response: impl Into<Vec<u8>>) -> Self {
        let response = response.into();
        Self::start(move |_, wire| wire.send(&response))
    }

    /// Answers every request with 200 and `name`.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self::answering(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{name}", name.len()))
    }

    fn begin(begin: Begin, address: SocketAddr, script: Arc<Script>) -> Self {
        let listener = TcpListener::bind(address).expect("a free port");
        let address = listener.local_addr().expect("a bound socket");
        let shared = Arc::new(Shared::default());
        let for_thread = Arc::clone(&shared);
        let accepting = thread::spawn(move || accept(&listener, begin, &script, &for_thread));
        Self { address, shared, accepting: Some(accepting) }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections it has accepted.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.shared.seen.lock().connections
    }

    /// The requests it has received, in order of their completion.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        self.shared.seen.lock().requests.clone()
    }

    /// What it has received of requests that never became complete.
    #[must_use]
    pub fn fragments(&self) -> Vec<Vec<u8>> {
        self.shared.seen.lock().fragments.clone()
    }

    /// The head of the only request it has received.
    ///
    /// # Panics
    /// If it was not one.
    #[must_use]
    pub fn only_head(&self) -> Head {
        self.only_request().message.head
    }

    /// The only request it has received.
    ///
    /// # Panics
    /// If it was not one.
    #[must_use]
    pub fn only_request(&self) -> Request {
        let requests = self.requests();
        assert_eq!(requests.len(), 1, "requests at the backend: {requests:?}");
        requests.into_iter().next().expect("one request")
    }

    /// Waits until `count` requests have come.
    ///
    /// # Panics
    /// After [`WAIT`].
    pub fn wait_for_requests(&self, count: usize) {
        self.wait(&format!("{count} requests"), |seen| seen.requests.len() >= count);
    }

    /// Waits until `count` connections have been accepted.
    ///
    /// # Panics
    /// After [`WAIT`].
    pub fn wait_for_connections(&self, count: usize) {
        self.wait(&format!("{count} connections"), |seen| seen.connections >= count);
    }

    /// Waits until the far end has closed `count` connections between two requests; returns how.
    ///
    /// # Panics
    /// After [`WAIT`].
    #[must_use]
    pub fn wait_for_ends(&self, count: usize) -> Vec<End> {
        self.wait(&format!("{count} ends of connections"), |seen| seen.ends.len() >= count);
        self.shared.seen.lock().ends.clone()
    }

    fn wait(&self, what: &str, reached: impl Fn(&Seen) -> bool) {
        let mut seen = self.shared.seen.lock();
        let timed_out =
            self.shared.changed.wait_while_for(&mut seen, |seen| !reached(seen), WAIT).timed_out();
        assert!(!timed_out, "waited {WAIT:?} for {what} at the backend; so far {:?}", *seen);
    }

    /// Closes every connection that is open, as a backend does that is tired of idle ones.
    pub fn close_connections(&self) {
        for stream in self.shared.open.lock().drain(..).filter_map(|stream| stream.upgrade()) {
            // Fails only where the far end was faster.
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Relaxed);
        // Wakes the accepting thread, which then sees that it shall stop.
        let _ = TcpStream::connect_timeout(&self.address, WAIT);
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
        self.close_connections();
    }
}

fn accept(listener: &TcpListener, begin: Begin, script: &Arc<Script>, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        if shared.stopped.load(Relaxed) {
            return;
        }
        // The far end may be gone again.
        let Ok(stream) = stream else { continue };
        let stream = Arc::new(stream);
        let mut open = shared.open.lock();
        open.retain(|stream| stream.strong_count() > 0);
        open.push(Arc::downgrade(&stream));
        drop(open);
        let connection = {
            let mut seen = shared.seen.lock();
            seen.connections += 1;
            seen.connections - 1
        };
        shared.changed.notify_all();
        let (script, shared) = (Arc::clone(script), Arc::clone(shared));
        thread::spawn(move || serve(connection, Wire::new(stream), begin, &*script, &shared));
    }
}

/// One connection, until either end closes it.
fn serve(connection: usize, mut wire: Wire, begin: Begin, script: &Script, shared: &Shared) {
    while wire.is_open() {
        let message = match receive(&mut wire, begin) {
            Ok(message) => message,
            Err((end, fragment)) => {
                let mut seen = shared.seen.lock();
                seen.ends.push(end);
                if !fragment.is_empty() {
                    seen.fragments.push(fragment);
                }
                shared.changed.notify_all();
                return;
            }
        };
        let request = Request { connection, message };
        shared.seen.lock().requests.push(request.clone());
        shared.changed.notify_all();
        script(&request, &mut wire);
    }
}

/// Takes one request, or tells how the connection ended and what had come of it.
fn receive(wire: &mut Wire, begin: Begin) -> Result<Message, (End, Vec<u8>)> {
    let head = wire.await_head().map_err(|end| (end, wire.unread().to_vec()))?;
    if begin == Begin::AtHead {
        return Ok(Message::bodiless(head));
    }
    let before = head.0.clone();
    wire.read_request_body(head).map_err(|end| (end, [&before[..], wire.unread()].concat()))
}

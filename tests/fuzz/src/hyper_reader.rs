//! The second parser: what hyper, as a server or a client, makes of bytes.
//!
//! hyper shares httparse's tokeniser with us and nothing else: where messages begin and end, and what
//! their framing is, it decides in code of its own. Everything happens in memory and on one thread, without
//! an executor: all bytes are there at once, so a connection that waits has nothing to wait for.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Once;
use std::task::{Context, Poll, Waker};

use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::{Request, Response, client, server};

/// Times a connection is polled before it counts as stuck: each byte of an input can wake it once or twice.
const POLLS_MAX: usize = 1 << 16;

/// Fields of a head that hyper reads: more than we ever forward.
const FIELDS_MAX: usize = 256;

/// A request as its receiver understood it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub method: Vec<u8>,
    pub target: Vec<u8>,
    pub body: Vec<u8>,
}

/// What a server read from a connection.
#[derive(Debug)]
pub(crate) struct Requests {
    pub(crate) messages: Vec<Message>,
    pub(crate) end: End,
}

/// Why a server read no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The bytes were used up, or the last request said that it is the last.
    Closed,
    /// A head was answered with an error.
    Refused,
    /// A body did not end as its framing says.
    BrokenBody,
}

/// What a client read from a connection.
#[derive(Debug, PartialEq, Eq)]
pub enum Reply {
    Complete {
        status: u16,
        body: Vec<u8>,
    },
    /// The head was refused or never came.
    NoHead,
    /// The body did not end as its framing says.
    BrokenBody,
}

/// Bytes to read, then the end. What is written is forgotten.
struct Memory {
    bytes: Vec<u8>,
    read: usize,
    /// An answer comes after its question: one that is there before is no answer to a client.
    may_read: bool,
}

impl Memory {
    fn new(bytes: &[u8], may_read: bool) -> Self {
        Self { bytes: bytes.to_vec(), read: 0, may_read }
    }
}

impl Read for Memory {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.may_read {
            return Poll::Pending;
        }
        let end = self.bytes.len().min(self.read + buffer.remaining());
        buffer.put_slice(&self.bytes[self.read..end]);
        self.read = end;
        Poll::Ready(Ok(()))
    }
}

impl Write for Memory {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.may_read = true;
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Sees once that the second parser reads at all: one that refused everything would agree with anything.
pub(crate) fn check() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let asked = requests(b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nok");
        let message = Message { method: b"POST".into(), target: b"/a".into(), body: b"ok".into() };
        assert_eq!((asked.messages, asked.end), (vec![message], End::Closed));
        let whole = Reply::Complete { status: 200, body: b"ok".into() };
        assert_eq!(reply(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", "GET"), whole);
        assert_eq!(reply(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok", "GET"), Reply::BrokenBody);
        assert_eq!(reply(b"HTTP/1.1 2x0 OK\r\n\r\n", "GET"), Reply::NoHead);
    });
}

/// The requests in `bytes`, as a server reads them.
pub(crate) fn requests(bytes: &[u8]) -> Requests {
    let messages = Rc::new(RefCell::new(Vec::new()));
    let service = hyper::service::service_fn(|request: Request<Incoming>| {
        let messages = Rc::clone(&messages);
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await?.to_bytes().to_vec();
            let target = head.uri.path_and_query().map_or("", |target| target.as_str());
            let message = Message { method: head.method.as_str().into(), target: target.into(), body };
            messages.borrow_mut().push(message);
            Ok::<_, hyper::Error>(Response::new(Empty::<Bytes>::new()))
        }
    });
    let mut builder = server::conn::http1::Builder::new();
    builder.half_close(true).max_headers(FIELDS_MAX);
    let end = run(pin!(builder.serve_connection(Memory::new(bytes, true), service)));
    let end = match end {
        Ok(()) => End::Closed,
        Err(error) if error.is_parse() => End::Refused,
        Err(_) => End::BrokenBody,
    };
    Requests { messages: messages.take(), end }
}

/// The answer in `bytes` to a request with `method`, as a client reads it.
pub(crate) fn reply(bytes: &[u8], method: &str) -> Reply {
    let mut builder = client::conn::http1::Builder::new();
    builder.max_headers(FIELDS_MAX);
    let memory = Memory::new(bytes, false);
    let Ok((mut sender, connection)) = run(pin!(builder.handshake::<_, Empty<Bytes>>(memory))) else {
        return Reply::NoHead;
    };
    let mut request = Request::new(Empty::new());
    *request.method_mut() = method.parse().expect("a method");
    let exchange = async move {
        let Ok(response) = sender.send_request(request).await else { return Reply::NoHead };
        let status = response.status().as_u16();
        match response.into_body().collect().await {
            Ok(body) => Reply::Complete { status, body: body.to_bytes().to_vec() },
            Err(_) => Reply::BrokenBody,
        }
    };
    let (mut exchange, mut connection) = (pin!(exchange), pin!(connection));
    let mut connected = true;
    run(pin!(poll_fn(move |context| {
        connected = connected && connection.as_mut().poll(context).is_pending();
        exchange.as_mut().poll(context)
    })))
}

/// Polls a future that has nothing to wait for.
fn run<T>(mut future: Pin<&mut impl Future<Output = T>>) -> T {
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..POLLS_MAX {
        if let Poll::Ready(result) = future.as_mut().poll(&mut context) {
            return result;
        }
    }
    panic!("hyper waits for bytes that are all there");
}

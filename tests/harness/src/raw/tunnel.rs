//! Both ends of a tunnel through the proxy, in one thread's hands.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};

use super::WAIT;

/// A request to become a WebSocket tunnel.
pub const UPGRADE: &str = "GET / HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// The answer that agrees to [`UPGRADE`], and to any request with its key.
pub const ACCEPTED: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// A tunnel to `/tunnel`, made by a request to upgrade to WebSocket.
#[derive(Debug)]
pub struct Tunnel {
    /// The client's end.
    pub client: TcpStream,
    /// The backend's end.
    pub upstream: TcpStream,
}

impl Tunnel {
    /// Opens a tunnel through the proxy to a backend, which nobody else may accept for.
    ///
    /// # Panics
    /// If that does not work.
    #[must_use]
    pub fn open(proxy: SocketAddr, backend: &TcpListener) -> Self {
        Self::ask(proxy, backend).accept()
    }

    /// As [`Self::open`], but the backend has not answered yet: [`Self::accept`] must follow.
    ///
    /// # Panics
    /// If that does not work.
    #[must_use]
    pub fn ask(proxy: SocketAddr, backend: &TcpListener) -> Self {
        let mut client = TcpStream::connect(proxy).expect("the proxy accepts");
        let request = "GET /tunnel HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        client.write_all(request.as_bytes()).expect("a request goes out");
        let (mut upstream, _) = backend.accept().expect("the proxy connects");
        for end in [&client, &upstream] {
            end.set_read_timeout(Some(WAIT)).expect("an option of an open socket");
            end.set_nodelay(true).expect("an option of an open socket");
        }
        read_head(&mut upstream);
        Self { client, upstream }
    }

    /// The backend answers.
    ///
    /// # Panics
    /// If the answer does not arrive.
    #[must_use]
    pub fn accept(mut self) -> Self {
        self.upstream.write_all(ACCEPTED.as_bytes()).expect("an answer goes out");
        assert!(read_head(&mut self.client).starts_with("HTTP/1.1 101"));
        self
    }

    /// Sends a few bytes each way.
    ///
    /// # Panics
    /// If they do not arrive.
    pub fn check(&self) {
        for (mut from, mut to) in [(&self.client, &self.upstream), (&self.upstream, &self.client)] {
            from.write_all(b"still here").expect("bytes go out");
            let mut bytes = [0; 10];
            to.read_exact(&mut bytes).expect("the tunnel lives");
            assert_eq!(&bytes, b"still here");
        }
    }
}

fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("a head");
        head.extend(byte);
    }
    String::from_utf8(head).expect("a head of text")
}

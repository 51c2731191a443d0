//! One request and its answer, each on a connection of its own.
//!
//! Answers are read by the rules of the data plane, so an answer that a strict proxy would refuse is told
//! as what it is. A connection of its own is what a browser behind a balancer must expect of any request.

// tidy: allow peer, rustls calls so whoever is at the other end

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use ringbolt_core::http::{
    Asked, BodyReader, HeadLimits, Method, ResponseHead, ResponseKind, Version, WebSocketKey,
};
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, ProtocolVersion};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::client::TlsStream;

use super::target::{Target, Tls};
use crate::limits::{DOCTOR_ANSWER_BYTES_MAX, DOCTOR_CONNECT_TIMEOUT};
use crate::tls::{self, AnyStream, Wrong};

/// An answer, complete.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) version: Version,
    /// Values of Server and Via.
    pub(super) hops: Vec<String>,
    pub(super) body: Vec<u8>,
    /// From the first byte sent to the last one received.
    pub(super) took: Duration,
}

impl Answer {
    /// The beginning of the body, for people.
    pub(super) fn text(&self) -> String {
        const SHOWN: usize = 80;
        let text: String = String::from_utf8_lossy(&self.body).chars().take(SHOWN).collect();
        text.replace(|char: char| char.is_control(), " ").trim().to_owned()
    }
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Failure {
    Connect(io::Error),
    Tls(Wrong),
    /// Nothing, or not all, within this time.
    Timeout(Duration),
    /// The connection ended after this time, before the answer was complete.
    Closed(Duration),
    /// It is no HTTP, and why.
    Malformed(&'static str),
    TooLong,
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect(error) => write!(formatter, "cannot connect: {error}"),
            Self::Tls(wrong) => formatter.write_str(&wrong.seen),
            Self::Timeout(within) => write!(formatter, "no answer within {} s", within.as_secs()),
            Self::Closed(after) => {
                write!(
                    formatter,
                    "the connection was closed after {:.1} s, before the answer was complete",
                    after.as_secs_f64()
                )
            }
            Self::Malformed(why) => write!(formatter, "the answer is malformed: {why}"),
            Self::TooLong => {
                write!(formatter, "the answer does not end within {DOCTOR_ANSWER_BYTES_MAX} bytes")
            }
        }
    }
}

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request<'a> {
    pub(super) method: Method,
    /// Path and query.
    pub(super) target: &'a str,
    pub(super) body: &'a str,
    /// With it the request is a WebSocket handshake.
    pub(super) upgrade: Option<WebSocketKey>,
    pub(super) version: Version,
}

impl<'a> Request<'a> {
    pub(super) fn get(target: &'a str) -> Self {
        Self { method: Method::Get, target, body: "", upgrade: None, version: Version::Http11 }
    }

    pub(super) fn post(target: &'a str, body: &'a str) -> Self {
        Self { method: Method::Post, body, ..Self::get(target) }
    }

    fn text(&self, to: &Target) -> String {
        let method = if self.method == Method::Post { "POST" } else { "GET" };
        let version = if self.version == Version::Http10 { "1.0" } else { "1.1" };
        let mut text = format!("{method} {} HTTP/{version}\r\nHost: {}\r\n", self.target, to.authority());
        text.push_str(concat!(
            "User-Agent: ringbolt-doctor/",
            env!("CARGO_PKG_VERSION"),
            "\r\nAccept: */*\r\n"
        ));
        if let Some(key) = self.upgrade {
            let key = String::from_utf8_lossy(key.as_bytes()).into_owned();
            text.push_str("Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n");
            text.push_str(&format!("Sec-WebSocket-Key: {key}\r\n"));
        } else {
            text.push_str("Connection: close\r\n");
        }
        if self.method == Method::Post {
            text.push_str("Content-Type: text/plain; charset=UTF-8\r\n");
            text.push_str(&format!("Content-Length: {}\r\n", self.body.len()));
        }
        text.push_str("\r\n");
        text.push_str(self.body);
        text
    }
}

/// What came of a WebSocket handshake.
#[derive(Debug)]
pub(super) enum Upgraded {
    /// A 101 that proves itself, and the bytes behind it.
    Switched(AnyStream, Vec<u8>),
    Refused(Answer),
}

/// Sends a request and reads the whole answer. A 101 is one only to a request with `upgrade`.
pub(super) async fn exchange(to: &Target, request: Request<'_>, within: Duration) -> Result<Answer, Failure> {
    match begin(to, request, within).await? {
        Upgraded::Refused(answer) => Ok(answer),
        Upgraded::Switched(..) => Err(Failure::Malformed("a 101 nobody asked for")),
    }
}

/// Sends a request and reads the answer, or switches protocols.
pub(super) async fn begin(to: &Target, request: Request<'_>, within: Duration) -> Result<Upgraded, Failure> {
    let mut stream = connect(to).await?;
    let began = Instant::now();
    let closed = |error: io::Error| match error.get_ref().is_some_and(|cause| cause.is::<rustls::Error>()) {
        // With TLS 1.3 this is where a client hears that it should have shown a certificate.
        true => Failure::Tls(tls::no_session(&error)),
        false => Failure::Closed(began.elapsed()),
    };
    let deadline = began + within;
    let late = |_| Failure::Timeout(within);
    timeout_at(deadline, stream.write_all(request.text(to).as_bytes()))
        .await
        .map_err(late)?
        .map_err(closed)?;

    let mut reading = Reading::of(&request);
    let mut piece = vec![0; 16 * 1024];
    loop {
        let length = timeout_at(deadline, stream.read(&mut piece)).await.map_err(late)?.map_err(closed)?;
        match reading.take(&piece[..length])? {
            Progress::More => {}
            Progress::Switched(rest) => return Ok(Upgraded::Switched(stream, rest)),
            Progress::Done => return Ok(Upgraded::Refused(reading.into_answer(began.elapsed()))),
        }
        if length == 0 {
            return Err(Failure::Closed(began.elapsed()));
        }
    }
}

/// The service, connected to, with TLS where its URL wants it.
async fn connect(to: &Target) -> Result<AnyStream, Failure> {
    let connecting = async {
        let stream = connect_tcp(to).await?;
        match &to.tls {
            None => Ok(Box::new(stream) as AnyStream),
            Some(tls) => Ok(Box::new(shake(stream, tls, Arc::clone(&tls.config)).await?) as AnyStream),
        }
    };
    // In a box, because TLS handshakes are large, and everything the doctor does holds one.
    let connected = timeout(DOCTOR_CONNECT_TIMEOUT, Box::pin(connecting)).await;
    connected.unwrap_or(Err(Failure::Timeout(DOCTOR_CONNECT_TIMEOUT)))
}

async fn connect_tcp(to: &Target) -> Result<TcpStream, Failure> {
    TcpStream::connect((to.host.as_str(), to.port)).await.map_err(Failure::Connect)
}

/// The certificates that the service shows, its own first, and the version of TLS.
pub(super) async fn presented(
    to: &Target,
    tls: &Tls,
) -> Result<(Vec<CertificateDer<'static>>, &'static str), Failure> {
    let anybody = tls::http_client(None, false).map_err(|error| Failure::Connect(io::Error::other(error)))?;
    let connecting = async { shake(connect_tcp(to).await?, tls, anybody).await };
    let connected = timeout(DOCTOR_CONNECT_TIMEOUT, Box::pin(connecting)).await;
    let stream = connected.unwrap_or(Err(Failure::Timeout(DOCTOR_CONNECT_TIMEOUT)))?;
    let (_, session) = stream.get_ref();
    let chain = session.peer_certificates().unwrap_or_default().to_vec();
    let is_1_2 = session.protocol_version() == Some(ProtocolVersion::TLSv1_2);
    Ok((chain, if is_1_2 { "TLS 1.2" } else { "TLS 1.3" }))
}

async fn shake(
    stream: TcpStream,
    tls: &Tls,
    config: Arc<ClientConfig>,
) -> Result<TlsStream<TcpStream>, Failure> {
    let begun = tls::begin(stream, config, tls.name.clone()).await;
    begun.map_err(|error| Failure::Tls(tls::no_session(&error)))
}

/// An answer that is coming in.
struct Reading {
    asked: Asked,
    head: ResponseHead,
    unread: Vec<u8>,
    /// Once the head is there.
    reader: Option<BodyReader>,
    body: Vec<u8>,
}

enum Progress {
    More,
    Switched(Vec<u8>),
    Done,
}

impl Reading {
    fn of(request: &Request<'_>) -> Self {
        Self {
            asked: Asked { method: request.method, upgrade: request.upgrade, verify_accept: true },
            head: ResponseHead::default(),
            unread: Vec::new(),
            reader: None,
            body: Vec::new(),
        }
    }

    /// Takes the next bytes; none are the end of the stream.
    fn take(&mut self, bytes: &[u8]) -> Result<Progress, Failure> {
        self.unread.extend_from_slice(bytes);
        while self.reader.is_none() {
            let parsed = self.head.parse(&self.unread, &self.asked, &HeadLimits::default());
            let Some(length) = parsed.map_err(|fault| Failure::Malformed(fault.reason))? else {
                return Ok(Progress::More);
            };
            self.unread.drain(..length);
            match self.head.kind() {
                ResponseKind::Informational => {}
                ResponseKind::Switching => return Ok(Progress::Switched(std::mem::take(&mut self.unread))),
                ResponseKind::Final => self.reader = Some(BodyReader::new(self.head.framing())),
            }
        }
        let Some(reader) = &mut self.reader else { return Ok(Progress::More) };
        let decoded = reader.decode(&mut self.unread).map_err(|fault| Failure::Malformed(fault.reason))?;
        self.body.extend_from_slice(&self.unread[..decoded.payload]);
        self.unread.drain(..decoded.consumed);
        if self.body.len() > DOCTOR_ANSWER_BYTES_MAX {
            return Err(Failure::TooLong);
        }
        let ends_here = bytes.is_empty() && reader.plain_bytes_left() == Some(u64::MAX);
        Ok(if decoded.done || ends_here { Progress::Done } else { Progress::More })
    }

    fn into_answer(self, took: Duration) -> Answer {
        let fields = self
            .head
            .fields()
            .filter(|(name, _)| name.eq_ignore_ascii_case(b"server") || name.eq_ignore_ascii_case(b"via"));
        let hops = fields.map(|(_, value)| String::from_utf8_lossy(value).into_owned()).collect();
        Answer { status: self.head.status(), version: self.head.version(), hops, body: self.body, took }
    }
}

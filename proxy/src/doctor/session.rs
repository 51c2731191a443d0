//! Engine.IO sessions as a client has them.
//!
//! Whether a backend knows a session is asked for in a way that leaves it as it is: a request for the WebSocket
//! transport that is no upgrade. Servers refuse it with one error where they know the sid and with another where
//! they do not.

use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use ringbolt_core::affinity::{HandshakeReading, Protocol, read_handshake};
use ringbolt_core::http::{Version, WebSocketKey};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{Message, Role, WebSocketConfig};

use super::exchange::{Answer, Failure, Request, Upgraded, begin, exchange};
use super::target::Target;
use crate::limits::{DOCTOR_ANSWER_BYTES_MAX, DOCTOR_ANSWER_TIMEOUT};
use crate::tls::AnyStream;

/// A session that a server has opened.
#[derive(Clone, Debug)]
pub(super) struct Session {
    pub(super) sid: String,
    pub(super) ping_interval: Duration,
    pub(super) offers_websocket: bool,
}

/// Why there is no session, no upgrade or no packet.
#[derive(Debug)]
pub(super) enum Trouble {
    /// No answer, or none that can be read.
    Failure(Failure),
    /// An answer, but not this one.
    Answer(Answer),
    /// The WebSocket did not carry what it should have.
    Frames(String),
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

/// What a server says of a sid.
#[derive(Debug)]
pub(super) enum Knows {
    Yes,
    No(Answer),
    Unclear(Trouble),
}

/// Whether an answer says that its server has never heard of the session.
pub(super) fn is_unknown_sid(answer: &Answer) -> bool {
    let text = answer.text();
    let said = ["Session ID unknown", "Invalid session", "\"code\":1,", "\"code\":1}", "\"code\":\"1\""];
    (400..=404).contains(&answer.status) && said.iter().any(|said| text.contains(said))
}

/// Opens a session by polling.
pub(super) async fn open(to: &Target) -> Result<(Session, Answer), Trouble> {
    let target = to.request_target("polling", None);
    let answer = exchange(to, Request::get(&target), DOCTOR_ANSWER_TIMEOUT).await?;
    match session_in(&answer.body, to.protocol) {
        Some(session) if answer.status == 200 => Ok((session, answer)),
        _ => Err(Trouble::Answer(answer)),
    }
}

fn session_in(packet: &[u8], protocol: u8) -> Option<Session> {
    let protocol = if protocol == 3 { Protocol::V3 } else { Protocol::V4 };
    let HandshakeReading::Found(handshake) = read_handshake(packet, protocol) else { return None };
    Some(Session {
        sid: String::from_utf8_lossy(handshake.sid.as_bytes()).into_owned(),
        ping_interval: Duration::from_millis(handshake.ping_interval_ms.into()),
        offers_websocket: handshake.offers_websocket,
    })
}

impl Session {
    /// Asks whoever gets this request whether it knows the session, on a connection of its own.
    pub(super) async fn is_known(&self, to: &Target) -> Knows {
        let target = to.request_target("websocket", Some(&self.sid));
        match exchange(to, Request::get(&target), DOCTOR_ANSWER_TIMEOUT).await {
            Ok(answer) if is_unknown_sid(&answer) => Knows::No(answer),
            Ok(answer) if answer.status == 400 => Knows::Yes,
            Ok(answer) => Knows::Unclear(Trouble::Answer(answer)),
            Err(failure) => Knows::Unclear(Trouble::Failure(failure)),
        }
    }

    /// Polls and waits at most this long.
    pub(super) async fn poll(&self, to: &Target, within: Duration) -> Result<Answer, Failure> {
        let target = to.request_target("polling", Some(&self.sid));
        exchange(to, Request::get(&target), within).await
    }

    /// Sends one packet by polling.
    pub(super) async fn post(&self, to: &Target, packet: &str) -> Result<Answer, Failure> {
        let target = to.request_target("polling", Some(&self.sid));
        let body = if to.protocol == 3 { format!("{}:{packet}", packet.len()) } else { packet.to_owned() };
        exchange(to, Request::post(&target, &body), DOCTOR_ANSWER_TIMEOUT).await
    }

    /// Ends the session, so that the servers are left as they were. Best effort: it ends by itself too.
    pub(super) async fn close(&self, to: &Target) {
        let _ = self.post(to, "1").await;
    }
}

/// The WebSocket of a session.
#[derive(Debug)]
pub(super) struct Tunnel(WebSocketStream<AnyStream>);

impl Tunnel {
    /// Upgrades the session, or opens one on the WebSocket where there is none.
    pub(super) async fn open(to: &Target, session: Option<&Session>) -> Result<Self, Trouble> {
        Self::open_in(Version::Http11, to, session).await
    }

    /// As a hop asks for it that speaks another version.
    pub(super) async fn open_in(
        version: Version,
        to: &Target,
        session: Option<&Session>,
    ) -> Result<Self, Trouble> {
        let target = to.request_target("websocket", session.map(|session| session.sid.as_str()));
        let request = Request { upgrade: Some(key()), version, ..Request::get(&target) };
        match begin(to, request, DOCTOR_ANSWER_TIMEOUT).await? {
            Upgraded::Refused(answer) => Err(Trouble::Answer(answer)),
            Upgraded::Switched(stream, rest) => {
                let limits = WebSocketConfig::default().max_message_size(Some(DOCTOR_ANSWER_BYTES_MAX));
                let role = Role::Client;
                Ok(Self(WebSocketStream::from_partially_read(stream, rest, role, Some(limits)).await))
            }
        }
    }

    pub(super) async fn send(&mut self, packet: &str) -> Result<(), String> {
        self.0.send(Message::text(packet)).await.map_err(|error| error.to_string())
    }

    /// The next text packet. The frames of WebSocket itself are answered on the way.
    pub(super) async fn next(&mut self) -> Result<String, String> {
        loop {
            match self.0.next().await {
                Some(Ok(Message::Text(packet))) => return Ok(packet.to_string()),
                Some(Ok(Message::Close(Some(close)))) => return Err(format!("closed with {}", close.code)),
                Some(Ok(Message::Close(None))) | None => return Err("closed".to_owned()),
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error.to_string()),
            }
        }
    }

    /// As [`Self::next`], for an answer that is due at once.
    pub(super) async fn next_soon(&mut self) -> Result<String, Trouble> {
        match tokio::time::timeout(DOCTOR_ANSWER_TIMEOUT, self.next()).await {
            Ok(packet) => packet.map_err(Trouble::Frames),
            Err(_) => Err(Trouble::Failure(Failure::Timeout(DOCTOR_ANSWER_TIMEOUT))),
        }
    }

    /// The session that the first packet opens.
    pub(super) async fn session(&mut self) -> Result<Session, Trouble> {
        let packet = self.next_soon().await?;
        // On a WebSocket packets have no length before them in any protocol, as in EIO=4.
        session_in(packet.as_bytes(), 4)
            .ok_or_else(|| Trouble::Frames(format!("the first packet opens no session: {packet:?}")))
    }

    pub(super) async fn close(mut self) {
        // Best effort: the service has been looked at already.
        let _ = tokio::time::timeout(DOCTOR_ANSWER_TIMEOUT, self.0.close(None)).await;
    }
}

/// A fresh key (RFC 6455 section 4.1).
fn key() -> WebSocketKey {
    let text = tokio_tungstenite::tungstenite::handshake::client::generate_key();
    WebSocketKey::parse(text.as_bytes()).unwrap_or_else(|| unreachable!("a key has 24 characters of base64"))
}

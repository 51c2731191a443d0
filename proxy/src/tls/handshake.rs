//! The TLS handshake at both ends, until there is a session or a reason why there is none.

// tidy: allow peer, rustls calls so whoever is at the other end

use std::io;
use std::net::SocketAddr;
use std::time::Instant;

use ringbolt_core::detect::{Protocol, Protocols};
use rustls::client::UnbufferedClientConnection;
use rustls::server::UnbufferedServerConnection;
use rustls::{Error, HandshakeKind, ProtocolVersion};

use super::identity;
use super::listener::Terminator;
use super::session::Session;
use super::upstream::Originator;
use crate::client::Client;
use crate::limits::TLS_HANDSHAKE_BYTES_MAX;
use crate::metrics::label::{TlsFailure, TlsVersion};
use crate::stream::Stream;
use crate::worker::Worker;

/// The alert `unrecognized_name` (RFC 6066 section 3), for which rustls says `access_denied`.
const NAME_REFUSED: [u8; 7] = [0x15, 3, 3, 0, 2, 2, 112];

/// Why there is no session.
struct Fault {
    reason: TlsFailure,
    words: String,
}

impl Fault {
    fn of(reason: TlsFailure, words: impl Into<String>) -> Self {
        Self { reason, words: words.into() }
    }
}

/// The connection failed.
impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::of(TlsFailure::Closed, error.to_string())
    }
}

/// Makes a new connection that begins with a ClientHello a TLS one; returns what it may speak inside. `None`: it
/// was refused.
pub(crate) async fn accept(
    worker: &Worker,
    client: &mut Client,
    terminator: &Terminator,
) -> Option<Protocols> {
    let deadline = worker.reactor.now() + worker.snapshot().timeouts.tls_handshake;
    // In a box, because no connection should carry the room for it any longer.
    match Box::pin(terminate(worker, client, terminator, deadline)).await {
        Ok(inside) => Some(inside),
        Err(fault) => {
            tracing::debug!(client = %client.address, reason = fault.words, "TLS handshake failed");
            worker.counters().tls_failures.of(fault.reason).add(1);
            None
        }
    }
}

async fn terminate(
    worker: &Worker,
    client: &mut Client,
    terminator: &Terminator,
    deadline: Instant,
) -> Result<Protocols, Fault> {
    let began = worker.reactor.now();
    let late = |_| Fault::of(TlsFailure::Timeout, "the handshake took too long");
    let connection = UnbufferedServerConnection::new(terminator.config())
        .map_err(|error| Fault::of(TlsFailure::Protocol, error.to_string()))?;
    let mut session = Session::server(connection, worker.records.clone());
    let shaking = shake(worker, &mut client.stream, &mut session);
    worker.reactor.timeout_at(Some(deadline), shaking).await.map_err(late)??;
    let agreed = session.agreed();
    let version = match agreed.protocol_version() {
        Some(ProtocolVersion::TLSv1_2) => TlsVersion::V1_2,
        _ => TlsVersion::V1_3,
    };
    worker.counters().tls_handshakes.of(version).add(1);
    let duration = worker.reactor.now().saturating_duration_since(began);
    worker.counters().tls_handshake_durations.add(duration);
    if agreed.handshake_kind() == Some(HandshakeKind::Resumed) {
        worker.counters().tls_resumptions.add(1);
    }
    // Who has agreed on HTTP by ALPN will speak it, however long it is silent: all that is ever agreed on.
    let has_agreed = agreed.alpn_protocol().is_some();
    let inside = if has_agreed { Protocols::of(Protocol::Http) } else { terminator.inside() };
    if terminator.asks_for_certificate() {
        let certificate = agreed.peer_certificates().and_then(<[_]>::first);
        let fields = identity::fields(certificate);
        session.set_client_fields(fields);
    }
    if terminator.gives_to_kernel() {
        session.allow_kernel();
    }
    client.stream.begin_tls(session);
    Ok(inside)
}

/// Makes a new connection to the backend at `address` a TLS one.
///
/// # Errors
/// What went wrong, in words for the log.
pub(crate) async fn connect(
    worker: &Worker,
    stream: &mut Stream,
    originator: &Originator,
    address: SocketAddr,
) -> Result<(), String> {
    let connection = UnbufferedClientConnection::new(originator.config(), originator.name(address))
        .map_err(|error| error.to_string())?;
    let mut session = Session::client(connection, worker.records.clone());
    shake(worker, stream, &mut session).await.map_err(|fault| fault.words)?;
    stream.begin_tls(session);
    Ok(())
}

/// Exchanges messages until the session is established and all its messages are sent. Plaintext that comes
/// with the last of them is unread then.
async fn shake(worker: &Worker, stream: &mut Stream, session: &mut Session) -> Result<(), Fault> {
    let mut early = std::mem::take(&mut stream.unread);
    let mut left = TLS_HANDSHAKE_BYTES_MAX;
    let mut received = worker.hot.with(|plain| {
        let begun = session.begin(&mut early, plain);
        begun.inspect(|&length| stream.unread.extend_from_slice(&plain[..length]))
    });
    loop {
        if received.is_err() && session.fault().is_some_and(is_name_refused) {
            session.say_instead(&NAME_REFUSED);
        }
        while !session.flush(&mut |records| stream.socket.try_send(records))? {
            stream.socket.writable().await;
        }
        match received {
            Ok(0) if session.is_over() => {
                return Err(Fault::of(TlsFailure::Closed, "closed during the handshake"));
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => {
                // The alert is read before the reset that closing on unread bytes would send.
                let _ = stream.socket.shutdown_write();
                return Err(session.fault().map_or_else(|| error.into(), fault_of));
            }
        }
        if !session.is_handshaking() {
            return Ok(());
        }
        stream.socket.readable().await;
        received = worker.hot.with(|plain| {
            let received = session.receive(plain, |records| {
                let length = stream.socket.try_recv(records)?;
                left = left.checked_sub(length).ok_or(io::ErrorKind::OutOfMemory)?;
                Ok(length)
            });
            received.inspect(|&length| stream.unread.extend_from_slice(&plain[..length]))
        });
    }
}

/// No certificate is for the name that the client asked for, or it asked for none.
fn is_name_refused(error: &Error) -> bool {
    matches!(error, Error::General(words) if words == "no server certificate chain resolved")
}

fn fault_of(error: &Error) -> Fault {
    let reason = match error {
        Error::AlertReceived(_) => TlsFailure::Alert,
        Error::InvalidCertificate(_) | Error::NoCertificatesPresented => TlsFailure::Certificate,
        Error::PeerIncompatible(_) | Error::NoApplicationProtocol => TlsFailure::Incompatible,
        error if is_name_refused(error) => TlsFailure::Name,
        _ => TlsFailure::Protocol,
    };
    Fault::of(reason, error.to_string())
}

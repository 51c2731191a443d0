//! One health check: what a client of the backend would do, as little of it as tells.

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::HOST;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use ringbolt_core::affinity::{Handshake, HandshakeReading, Protocol, read_handshake};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use super::Target;
use crate::config::Check;
use crate::limits::CHECK_ANSWER_BYTES_MAX;
use crate::tls::{self, AnyStream};

/// Makes the check.
///
/// # Errors
/// What was seen instead of what was wanted, in words.
pub(super) async fn run(target: &Target) -> Result<(), String> {
    let Target { check, address, proxy_protocol, tls, .. } = target;
    let mut stream = TcpStream::connect(address).await.map_err(|error| format!("connecting: {error}"))?;
    if let Some(version) = proxy_protocol {
        let sent = stream.write_all(version.local_header()).await;
        sent.map_err(|error| format!("sending the PROXY header: {error}"))?;
    }
    let (path, host) = match check {
        Check::Tcp => return Ok(()),
        Check::Http { path, host, .. } | Check::EngineIo { path, host } => (path, host),
    };
    let stream: AnyStream = match tls {
        None => Box::new(stream),
        Some(tls) => {
            let begun = tls::begin(stream, tls.config(), tls.name(*address)).await;
            Box::new(begun.map_err(|error| format!("TLS: {error}"))?)
        }
    };
    let (sender, connection) =
        handshake(TokioIo::new(stream)).await.map_err(|error| format!("HTTP: {error}"))?;
    let host = host.clone().unwrap_or_else(|| address.to_string());
    let mut asking = Asking { sender, host };
    let asked = async {
        match check {
            Check::Tcp => Ok(()),
            Check::Http { status, body, .. } => {
                let (answered, content) = asking.ask(Method::GET, path, "").await?;
                if !status.contains(&answered.as_u16()) {
                    return Err(format!("status {} instead of {status:?}", answered.as_u16()));
                }
                let wanted = body.as_deref().unwrap_or_default().as_bytes();
                match wanted.is_empty() || content.windows(wanted.len()).any(|part| part == wanted) {
                    true => Ok(()),
                    false => Err("the body does not contain what is wanted".to_owned()),
                }
            }
            Check::EngineIo { .. } => asking.open_and_close(path).await,
        }
    };
    tokio::select! {
        // The connection moves what is asked and answered; it ends first only where it fails.
        result = asked => result,
        Err(error) = connection => Err(format!("HTTP: {error}")),
    }
}

/// A connection for requests one after the other.
struct Asking {
    sender: SendRequest<Full<Bytes>>,
    host: String,
}

impl Asking {
    async fn ask(&mut self, method: Method, target: &str, body: &str) -> Result<(StatusCode, Bytes), String> {
        let request = Request::builder()
            .method(method)
            .uri(target)
            .header(HOST, &self.host)
            .header("User-Agent", "ringbolt-health")
            .body(Full::from(body.to_owned()))
            .map_err(|error| error.to_string())?;
        self.sender.ready().await.map_err(|error| format!("HTTP: {error}"))?;
        let answer = self.sender.send_request(request).await.map_err(|error| format!("HTTP: {error}"))?;
        let status = answer.status();
        let content = Limited::new(answer.into_body(), CHECK_ANSWER_BYTES_MAX).collect().await;
        content.map(|content| (status, content.to_bytes())).map_err(|error| format!("body: {error}"))
    }

    /// Opens a session and closes it, as a client would that is gone at once: nothing of it stays.
    async fn open_and_close(&mut self, path: &str) -> Result<(), String> {
        let query = "EIO=4&transport=polling";
        let (status, body) = self.ask(Method::GET, &format!("{path}?{query}"), "").await?;
        if status != StatusCode::OK {
            return Err(format!("the Engine.IO handshake was answered {}", status.as_u16()));
        }
        // An old server frames its answer in the old way, whatever it is asked for.
        let found = [Protocol::V4, Protocol::V3].into_iter().find_map(|protocol| {
            match read_handshake(&body, protocol) {
                HandshakeReading::Found(Handshake { sid, .. }) => Some((protocol, sid)),
                HandshakeReading::Incomplete | HandshakeReading::NotAHandshake => None,
            }
        });
        let (protocol, sid) = found.ok_or("the answer to an Engine.IO handshake is none")?;
        let close = if protocol == Protocol::V4 { "1" } else { "1:1" };
        let sid: String = sid.as_bytes().iter().map(|byte| format!("%{byte:02X}")).collect();
        let (status, _) = self.ask(Method::POST, &format!("{path}?{query}&sid={sid}"), close).await?;
        if status != StatusCode::OK {
            return Err(format!("closing the Engine.IO session was answered {}", status.as_u16()));
        }
        Ok(())
    }
}

//! `[timeouts]`: how long anything may take.

use std::time::Duration;

use super::section::{Section, or_off, text};
use super::value;

/// `[timeouts]`. None of them ends a live tunnel unless `tunnel_idle` or `tunnel_max_age` is set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Timeouts {
    /// From a TLS client's connection to the end of its handshake.
    pub(crate) tls_handshake: Duration,
    /// From a request's first byte to the end of its head.
    pub(crate) request_head: Duration,
    /// Between two pieces of a request body.
    pub(crate) request_body_idle: Duration,
    /// Silence of a client's connection before a request, the first one included.
    pub(crate) keep_alive: Duration,
    /// Silence of a new connection until it is taken for TCP, whose server may speak first.
    pub(crate) detect: Duration,
    /// Until a backend has accepted a connection.
    pub(crate) connect: Duration,
    /// From the last byte of a request to the response head, and between two pieces of its body.
    pub(crate) response: Duration,
    /// Silence after which a tunnel is closed whose one end has closed already.
    pub(crate) tunnel_half_closed: Duration,
    /// Silence after which a tunnel is closed; `None`: never.
    pub(crate) tunnel_idle: Option<Duration>,
    /// Time after which a tunnel is closed whatever it does; `None`: never.
    pub(crate) tunnel_max_age: Option<Duration>,
    /// From SIGTERM, when `/readyz` turns, to the beginning of the drain.
    pub(crate) drain_delay: Duration,
    /// From the beginning of the drain to the end of the process, whatever is still open.
    pub(crate) drain: Duration,
    /// How long a drain waits for the last request of an idle connection.
    pub(crate) drain_idle: Duration,
    /// How long an idle upstream connection is kept for reuse.
    pub(crate) upstream_keep_alive: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            tls_handshake: Duration::from_secs(10),
            request_head: Duration::from_secs(10),
            request_body_idle: Duration::from_secs(30),
            keep_alive: Duration::from_secs(75),
            // A client that speaks first may have lost its first bytes twice: 1 s and 2 s to send them again.
            detect: Duration::from_secs(5),
            connect: Duration::from_secs(2),
            // Engine.IO holds a poll for up to pingInterval, 25 s by default; some services set minutes.
            response: Duration::from_secs(120),
            tunnel_half_closed: Duration::from_secs(30),
            tunnel_idle: None,
            tunnel_max_age: None,
            drain_delay: Duration::ZERO,
            drain: Duration::from_secs(30),
            // Longer than a polling client takes from an answer to its next poll, shorter than anybody's patience.
            drain_idle: Duration::from_secs(1),
            // node closes an idle connection after 5 s: reuse must end before that.
            upstream_keep_alive: Duration::from_secs(4),
        }
    }
}

/// Reads the section.
pub(super) fn timeouts(mut section: Section<'_>) -> Timeouts {
    let default = Timeouts::default();
    let duration = || text(r#"a duration such as "10s""#, value::duration);
    let or_zero = || text(r#"a duration such as "10s""#, value::duration_or_zero);
    let mut zero = |name, default| section.read(name, or_zero()).unwrap_or(default);
    let drain_delay = zero("drain_delay", default.drain_delay);
    let drain = zero("drain", default.drain);
    let drain_idle = zero("drain_idle", default.drain_idle);
    let mut read = |name, default| section.read(name, duration()).unwrap_or(default);
    let timeouts = Timeouts {
        tls_handshake: read("tls_handshake", default.tls_handshake),
        request_head: read("request_head", default.request_head),
        request_body_idle: read("request_body_idle", default.request_body_idle),
        keep_alive: read("keep_alive", default.keep_alive),
        detect: read("detect", default.detect),
        connect: read("connect", default.connect),
        response: read("response", default.response),
        tunnel_half_closed: read("tunnel_half_closed", default.tunnel_half_closed),
        upstream_keep_alive: read("upstream_keep_alive", default.upstream_keep_alive),
        tunnel_idle: section.read("tunnel_idle", or_off(duration())).unwrap_or(default.tunnel_idle),
        tunnel_max_age: section.read("tunnel_max_age", or_off(duration())).unwrap_or(default.tunnel_max_age),
        drain_delay,
        drain,
        drain_idle,
    };
    section.finish();
    timeouts
}

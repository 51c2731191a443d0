//! What hops around the proxy break, recognised by its traces and named with its cure.
//!
//! Some traces are whole in one request ([`crate::http::RequestHead::downgrade`]) or one answer ([`Downgrade::of_answer`]). Others show
//! only in several of one source ([`Sources`]): each is noted where a session begins, upgrades or loses a poll, so
//! that no ordinary request costs anything. What was recognised is kept in [`Findings`].

mod findings;
mod hop;
mod source;
#[cfg(test)]
mod tests;

pub use findings::{Due, Finding, Findings, Place, Sighting};
pub use hop::{hop_behind, hop_in_front};
pub use source::{Source, Sources};

/// What a hop has broken, by its trace.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Downgrade {
    /// A WebSocket handshake in HTTP/1.0.
    Http10,
    /// `Upgrade: websocket` without `Connection: upgrade`.
    ConnectionMissing,
    /// Sec-WebSocket-Key without `Upgrade`.
    UpgradeMissing,
    /// An upgrade to websocket without a key or a version.
    FieldsMissing,
    /// Sessions that were offered websocket stay with polling.
    NeverUpgraded,
    /// Held polls end after the same round number of seconds.
    PollsCut,
    /// Clients upgrade sessions that were not opened here.
    OtherProxy,
    /// A backend answered an upgrade with 200.
    Answered200,
    /// With 400.
    Answered400,
    /// With 426.
    Answered426,
}

impl Downgrade {
    /// Every kind.
    pub const ALL: [Self; 10] = [
        Self::Http10,
        Self::ConnectionMissing,
        Self::UpgradeMissing,
        Self::FieldsMissing,
        Self::NeverUpgraded,
        Self::PollsCut,
        Self::OtherProxy,
        Self::Answered200,
        Self::Answered400,
        Self::Answered426,
    ];

    /// What an answer other than 101 shows of whoever gave it, if it shows anything.
    #[must_use]
    pub const fn of_answer(status: u16) -> Option<Self> {
        match status {
            200 => Some(Self::Answered200),
            400 => Some(Self::Answered400),
            426 => Some(Self::Answered426),
            _ => None,
        }
    }

    /// Its name in metrics, logs and documents.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Http10 => "http_1_0",
            Self::ConnectionMissing => "connection_missing",
            Self::UpgradeMissing => "upgrade_missing",
            Self::FieldsMissing => "websocket_fields_missing",
            Self::NeverUpgraded => "never_upgraded",
            Self::PollsCut => "polls_cut",
            Self::OtherProxy => "other_proxy",
            Self::Answered200 => "answered_200",
            Self::Answered400 => "answered_400",
            Self::Answered426 => "answered_426",
        }
    }

    /// What was seen, in one sentence.
    #[must_use]
    pub const fn seen(self) -> &'static str {
        match self {
            Self::Http10 => "WebSocket upgrades arrive in HTTP/1.0",
            Self::ConnectionMissing => {
                "WebSocket upgrades arrive with Upgrade and without Connection: upgrade"
            }
            Self::UpgradeMissing => "WebSocket upgrades arrive with their key and without Upgrade",
            Self::FieldsMissing => "WebSocket upgrades arrive without Sec-WebSocket-Key or -Version",
            Self::NeverUpgraded => "sessions that were offered websocket stay with polling",
            Self::PollsCut => "held polls are cut, always after the same time",
            Self::OtherProxy => "clients upgrade sessions that were not opened through this process",
            Self::Answered200 => "the backend answers WebSocket upgrades with 200",
            Self::Answered400 => "the backend answers WebSocket upgrades with 400",
            Self::Answered426 => "the backend answers WebSocket upgrades with 426",
        }
    }

    /// What to do about it.
    #[must_use]
    pub const fn cure(self) -> &'static str {
        match self {
            Self::Http10 => {
                "Make the hop in front speak HTTP/1.1 to this proxy and pass on Upgrade and Connection. nginx: \
                 proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection \
                 \"upgrade\". Other balancers: HTTP/1.1 or TCP mode."
            }
            Self::ConnectionMissing => {
                "Make the hop in front send Connection: upgrade together with Upgrade. nginx: proxy_set_header \
                 Connection \"upgrade\". A hop that removes hop-by-hop fields must know WebSocket."
            }
            Self::UpgradeMissing => {
                "Make the hop in front pass on Upgrade. nginx: proxy_set_header Upgrade $http_upgrade; \
                 proxy_set_header Connection \"upgrade\". Apache httpd: mod_proxy_wstunnel or \
                 upgrade=websocket. A CDN: turn WebSocket on."
            }
            Self::FieldsMissing => {
                "A hop in front filters fields it does not know. Let it pass all Sec-WebSocket-* fields, once and as \
                 they are."
            }
            Self::NeverUpgraded => {
                "Upgrades do not arrive at all: a hop in front or the clients' network refuses them, or the clients \
                 are set to polling (transports). Look for 4xx answers in the hop's log; ringbolt doctor URL through \
                 that hop tells which."
            }
            Self::PollsCut => {
                "Raise the hop's read timeout above the ping interval of the server, 25 s by default. nginx: \
                 proxy_read_timeout; HAProxy: timeout server and timeout client; balancers: idle timeout."
            }
            Self::OtherProxy => {
                "A hop in front spreads one client over several proxies that do not share sessions. Make it choose by \
                 the client's address, or let one proxy take all and the other stand by."
            }
            Self::Answered200 => {
                "The backend, or a hop between here and it, does not know WebSocket and answers as if it were an \
                 ordinary request. Point the upstream at the Socket.IO server itself and look at its path and \
                 transports."
            }
            Self::Answered400 => {
                "Behind this proxy the session or the upgrade is lost: a hop there that drops Upgrade, a backend of \
                 several processes without affinity, or transports without websocket. The answer's message says \
                 which."
            }
            Self::Answered426 => {
                "Behind this proxy somebody got the upgrade in HTTP/1.0, or wants another WebSocket version. Look at \
                 the hop between here and the backend."
            }
        }
    }
}

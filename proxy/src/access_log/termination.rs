//! Why something ended, in two letters as HAProxy's: who or what ended it, and in which phase.

use crate::error::Error;
use crate::metrics::label::{SessionEnd, TunnelEnd};

/// Defines an enumeration whose values are letters in the log, each with what it means.
macro_rules! letters {
    ($(#[$doc:meta])* $name:ident { $( $variant:ident = $letter:literal $meaning:literal, )+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub(crate) enum $name { $( #[doc = $meaning] $variant, )+ }

        impl $name {
            /// Every letter with its meaning, for the document.
            #[cfg(test)]
            pub(super) const ALL: &'static [(char, &'static str)] = &[$(($letter as char, $meaning)),+];

            pub(crate) const fn letter(self) -> u8 {
                match self { $( Self::$variant => $letter, )+ }
            }
        }
    };
}

letters! {
    /// Who or what ended it: the first letter.
    Cause {
        None = b'-' "Nobody: the request was carried through; or a tunnel's line has both ends' part in order.",
        Client = b'C' "The client closed or reset its connection.",
        Server = b'S' "The backend refused, closed or reset its connection, or its answer broke a rule.",
        ClientTimeout = b'c' "The client did not send in time what it had to.",
        ServerTimeout = b's' "The backend did not accept or answer in time.",
        Timeout = b't' "A timeout for silent or old tunnels.",
        Proxy = b'P' "The proxy refused it: a rule, a limit, no backend to serve it.",
        Local = b'L' "Nobody: the proxy answered by itself, as its route says.",
        Killed = b'K' "The process or the backend was drained.",
        Upgraded = b'U' "Another process of the proxy has taken it over, and writes a line at its end.",
    }
}

letters! {
    /// What was going on: the second letter.
    Phase {
        None = b'-' "It ended in order.",
        Request = b'R' "Reading the request, and finding its route and backend.",
        Connect = b'C' "Waiting in a backend's queue, or connecting to it.",
        Head = b'H' "Sending the request, and waiting for the head of its answer.",
        Data = b'D' "The answer was on its way.",
        Tunnel = b'T' "In the tunnel.",
        Poll = b'P' "The session polled.",
    }
}

impl Cause {
    /// Why a request ended early.
    pub(crate) fn of(error: &Error) -> Self {
        match error {
            Error::ClientGone => Self::Client,
            Error::Broken | Error::Stale => Self::Server,
            Error::Own(_) => Self::Local,
            Error::SessionEnded => Self::Killed,
            Error::Alert(_) => Self::Proxy,
            Error::Answer(answer) => match answer.status {
                408 => Self::ClientTimeout,
                502 => Self::Server,
                504 => Self::ServerTimeout,
                _ => Self::Proxy,
            },
        }
    }
}

/// The code of a tunnel's end.
pub(super) fn of_tunnel(end: TunnelEnd) -> (Cause, Phase) {
    match end {
        TunnelEnd::ClientClosed => (Cause::Client, Phase::None),
        TunnelEnd::UpstreamClosed => (Cause::Server, Phase::None),
        TunnelEnd::ClientReset => (Cause::Client, Phase::Tunnel),
        TunnelEnd::UpstreamReset => (Cause::Server, Phase::Tunnel),
        TunnelEnd::HalfClosedTimeout | TunnelEnd::IdleTimeout | TunnelEnd::MaxAge => {
            (Cause::Timeout, Phase::Tunnel)
        }
        TunnelEnd::Drained => (Cause::Killed, Phase::Tunnel),
        TunnelEnd::HandedOver => (Cause::Upgraded, Phase::Tunnel),
        TunnelEnd::KeyUsedUp => (Cause::Proxy, Phase::Tunnel),
    }
}

/// The code of the end of a session that polls.
pub(super) fn of_session(end: SessionEnd) -> (Cause, Phase) {
    match end {
        SessionEnd::ClientClosed => (Cause::Client, Phase::None),
        SessionEnd::ServerClosed => (Cause::Server, Phase::None),
        SessionEnd::ClientLeft => (Cause::Client, Phase::Poll),
        SessionEnd::BackendLost | SessionEnd::BackendRefused => (Cause::Server, Phase::Poll),
        SessionEnd::Expired => (Cause::ClientTimeout, Phase::Poll),
        SessionEnd::Drained => (Cause::Killed, Phase::Poll),
        SessionEnd::Upgraded => (Cause::None, Phase::Tunnel),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_letter_means_two_things() {
        for letters in [Cause::ALL, Phase::ALL] {
            let distinct: BTreeSet<char> = letters.iter().map(|(letter, _)| *letter).collect();
            assert_eq!(distinct.len(), letters.len());
        }
    }
}

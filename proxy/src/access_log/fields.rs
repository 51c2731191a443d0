//! The fields of JSON lines: their names, and what docs/access-log.md says of them.

/// A field of a line.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field {
    #[cfg_attr(not(test), expect(dead_code, reason = "for the document"))]
    pub(super) name: &'static str,
    /// The name as it stands in a line, behind another field and before a number.
    pub(super) key: &'static str,
    /// The same before a text.
    pub(super) text_key: &'static str,
    /// The lines it stands in.
    #[cfg_attr(not(test), expect(dead_code, reason = "for the document"))]
    pub(super) lines: &'static str,
    #[cfg_attr(not(test), expect(dead_code, reason = "for the document"))]
    pub(super) meaning: &'static str,
}

/// Defines each field and the list of all.
macro_rules! fields {
    ($( $constant:ident = $name:literal $lines:literal $meaning:literal; )+) => {
        $( pub(super) const $constant: Field = Field {
            name: $name,
            key: concat!(",\"", $name, "\":"),
            text_key: concat!(",\"", $name, "\":\""),
            lines: $lines,
            meaning: $meaning,
        }; )+

        /// In the order of the document.
        #[cfg(test)]
        pub(super) const ALL: &[Field] = &[$( $constant ),+];
    };
}

fields! {
    TIME = "time" "all" "When it ended, or was found to have: RFC 3339, UTC, milliseconds.";
    EVENT = "event" "all" "`request`, `tunnel` or `session`.";
    CLIENT = "client" "all" "The client's address: behind `trusted_proxies` the one they name.";
    SCHEME = "scheme" "request, tunnel, session" "`https` if the client spoke TLS, else `http`.";
    METHOD = "method" "request, tunnel, session" "As it was sent.";
    HOST = "host" "request, tunnel, session" "Host and port as they were sent.";
    PATH = "path" "request, tunnel, session" "Path of the target.";
    QUERY = "query" "request, tunnel, session" "Query of the target, if there is one. Sids in it are masked.";
    HTTP_VERSION = "http_version" "request, tunnel, session" "`1.0` or `1.1`.";
    USER_AGENT = "user_agent" "request, tunnel, session" "Value of User-Agent.";
    REFERER = "referer" "request, tunnel, session" "Value of Referer.";
    TRACEPARENT = "traceparent" "request, tunnel, session" "Value of traceparent (W3C Trace Context) as it was sent.";
    WEBSOCKET_KEY = "sec_websocket_key" "request, tunnel, session" "Value of Sec-WebSocket-Key: the same in the client's and the backend's logs.";
    PROTOCOL = "engine_io" "request, tunnel, session" "Engine.IO's protocol: `3` or `4`.";
    TRANSPORT = "transport" "request, tunnel, session" "Engine.IO's transport: `polling`, `websocket` or `webtransport`.";
    SID = "sid" "request, tunnel, session" "The session's sid, masked: its first characters, at most 6 and at most a third.";
    REQUEST_ID = "request_id" "request, tunnel, session" "X-Request-ID as the backend gets it.";
    UPSTREAM = "upstream" "request, tunnel, session" "Name of the upstream, once it is known.";
    BACKEND = "backend" "request, tunnel, session" "Name of the backend that was asked last.";
    EVIDENCE = "evidence" "request, tunnel, session" "What bound the request to it, as in `ringbolt_affinity_decisions_total`.";
    REUSED = "reused" "request, tunnel, session" "1: a pooled connection to the backend was used.";
    STATUS = "status" "request" "Status of the answer; 0: there was none.";
    TERMINATION = "termination" "request, tunnel, session" "Why it ended, in two letters; see below.";
    REASON = "reason" "request, tunnel, session" "Of a request that the proxy refused: why. Of a tunnel, and of a session that was one: its end, as in `ringbolt_tunnels_closed_total`; of other sessions as in `ringbolt_engine_io_session_ends_total`.";
    DURATION = "duration_seconds" "request, tunnel, session" "From the head of the request to the last byte of its answer; the life of a tunnel or session.";
    CONNECT = "connect_seconds" "request" "Until there was a connection to the backend.";
    RESPONSE_HEAD = "response_head_seconds" "request" "Until the head of the answer.";
    REQUEST_BODY = "request_body_bytes" "request, session" "Payload of the request that was received; of all the session's requests.";
    RESPONSE_BODY = "response_body_bytes" "request, session" "Payload of the answer that was received from the backend; of all the session's answers.";
    CLIENT_BYTES = "client_bytes" "tunnel, session" "Bytes from the client that were sent on to the backend.";
    BACKEND_BYTES = "backend_bytes" "tunnel, session" "Bytes from the backend that were sent on to the client.";
    TRANSPORTS = "transports" "session" "The transports it had: `polling`, `websocket` or `polling>websocket`.";
    REQUESTS = "requests" "session" "Its requests that have ended, its handshake and its upgrade included.";
    SAMPLE = "sample" "request" "With `sample` above 1, in lines of requests that went well: each stands for so many.";
    TAKEN_OVER = "taken_over" "tunnel, session" "1: it began in the process before this one, whose line of a tunnel of the same client and time tells the rest; or at another proxy.";
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fmt::Write as _;

    use super::super::termination::{Cause, Phase};
    use super::*;
    use crate::golden;

    const SESSIONS: &str = "\n## Sessions\n\n\
        A session that polls ends with a close packet, or when none of its requests has come for as long as its handshake says:\n\
        then `termination` and `reason` say how its last request ended. One that has upgraded ends with its tunnel. In its first\n\
        12 s a tunnel's end may be that of an upgrade that failed, so the line waits until the session has not polled by then.\n\
        What tells of a request (method, query, `transport`, `request_id`, ...) is that of the first one. \n\n\
        | `termination` | `reason` | how the session ended |\n| --- | --- | --- |\n\
        | `C-` | `client_closed` | The client sent a close packet, or closed the tunnel first. |\n\
        | `S-` | `server_closed`, `upstream_closed` | The backend did. |\n\
        | `cP` | `expired` | The client fell silent. |\n\
        | `CP` | `client_left` | The client broke a poll off. |\n\
        | `SP` | `backend_lost` | The backend could not be reached, or broke an answer off. |\n\
        | `SP` | `backend_refused` | The backend answered 4xx: mostly because it knows the sid no more. |\n\
        | `KP` | `drained` | A drain closed it, or the process ended without another one in its place. |\n\
        | others | as a tunnel's | It ended with its tunnel. |\n\n\
        A session that another process has taken over has its line there, if a request of it came there.\n";

    /// `docs/access-log.md`.
    fn document() -> String {
        let mut document = String::from(
            "# Access log\n\n\
             What `[access_log]` writes; how to configure it is in [configuration](configuration.md#access_log). This page is \
             made from\n`proxy/src/access_log/`; `UPDATE_GOLDEN=1 cargo test -p ringbolt --bin ringbolt` writes it.\n\n\
             One line for each request when it has ended, one for each tunnel when it has and, where `events` names them, one for each\n\
             Engine.IO session when it has. A field is left out where there is nothing to tell. Texts are cut at 1,024 bytes, which\n\
             `...` marks. No line holds a whole sid.\n\n\
             | field | lines | meaning |\n| --- | --- | --- |\n",
        );
        for Field { name, lines, meaning, .. } in ALL {
            writeln!(document, "| `{name}` | {lines} | {meaning} |").unwrap();
        }
        document.push_str(
            "\n## Termination\n\nTwo letters, in the manner of HAProxy's. `--` is a request that was carried through.\n\n\
             | first letter | who or what ended it |\n| --- | --- |\n",
        );
        for (letter, meaning) in Cause::ALL {
            writeln!(document, "| `{letter}` | {meaning} |").unwrap();
        }
        document.push_str("\n| second letter | what was going on |\n| --- | --- |\n");
        for (letter, meaning) in Phase::ALL {
            writeln!(document, "| `{letter}` | {meaning} |").unwrap();
        }
        document.push_str(SESSIONS);
        document.push_str(
            "\n## Combined form\n\n`format = \"combined\"` writes requests as Apache and nginx do, for tools that read those:\n\n\
             \x20   127.0.0.1 - - [21/Nov/2026:20:16:36 +0000] \"GET /a?b HTTP/1.1\" 200 5 \"https://a.example/\" \"curl/8\"\n\n\
             Tunnels have no line there but that of their request, with status 101, and sessions none.\n",
        );
        document
    }

    #[test]
    fn the_document_lists_every_field_and_letter() {
        golden::assert_same(&golden::path("../docs/access-log.md"), &document());
    }

    #[test]
    fn names_follow_the_conventions() {
        let names: BTreeSet<&str> = ALL.iter().map(|field| field.name).collect();
        assert_eq!(names.len(), ALL.len());
        let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
        assert!(names.iter().all(|name| name.bytes().all(is_plain)), "{names:?}");
    }
}

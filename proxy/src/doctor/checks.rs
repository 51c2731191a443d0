//! What a client does, step by step, and what it means when a step fails.

use std::time::Duration;

use ringbolt_core::http::Version;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::exchange::{Answer, Failure};
use super::finding::Finding;
use super::session::{Knows, Session, Trouble, Tunnel, is_unknown_sid, open};
use super::target::Target;
use crate::limits::{DOCTOR_HELD_MARGIN, DOCTOR_SESSIONS_AT_ONCE};

/// A backend that does not know a session says so sooner.
const HELD_MIN: Duration = Duration::from_secs(1);

/// Requests of one session that are sent on connections of their own.
const QUESTIONS: usize = 4;

const PATH_CURE: &str = "Is the path right? Socket.IO's is /socket.io/ unless the application sets another.";
const BACKEND_CURE: &str =
    "The hop in front cannot reach a backend: look at its error log and at the backends.";
const AFFINITY_CURE: &str = "Requests of one session reach different backends. Every request with ?sid= must go to \
    the backend\nthat issued the sid: Ringbolt does so with no configuration; nginx needs ip_hash or hash, HAProxy a \
    stick table,\nand both lose sessions when backends are added or clients share an address.";
const UPGRADE_CURE: &str = "A hop drops the Upgrade header. nginx needs\n  proxy_http_version 1.1;\n  \
    proxy_set_header Upgrade $http_upgrade;\n  proxy_set_header Connection \"upgrade\";\nand a load balancer in front \
    of it TCP or HTTP/1.1 mode. Clients work by polling meanwhile, at several times the cost.";
const HANG_CURE: &str = "A hop waits for a body that never comes, which is what an upgrade becomes behind one that speaks \
    HTTP/1.0.\nMake every hop speak HTTP/1.1.";
const TIMEOUT_CURE: &str = "A hop's idle timeout is shorter than the server's ping interval (proxy_read_timeout in nginx, \
    timeout server\nand timeout tunnel in HAProxy, 60 s by default in many load balancers). Raise it above the ping \
    interval.";
const REPEAT_CURE: &str = "A hop's timeout is shorter than the server's ping interval, and the hop then repeats the \
    poll at another\nbackend, which ends the session. Raise the timeout above the ping interval (proxy_read_timeout in \
    nginx), and\nlet nothing be repeated that a backend may have got (proxy_next_upstream off).";
const HTTP10_CURE: &str =
    "A hop answers in HTTP/1.0: connections are not kept, and upgrades through it cannot succeed.";

/// Opens a session by polling: without it nothing else can be looked at.
pub(super) async fn polling(to: &Target) -> Result<(Session, Answer, Vec<Finding>), Finding> {
    const CHECK: &str = "polling";
    let (session, answer) = match open(to).await {
        Ok(opened) => opened,
        Err(Trouble::Answer(answer)) => return Err(no_handshake(CHECK, &answer)),
        Err(trouble) => {
            return Err(Finding::fault(
                CHECK,
                told(&trouble),
                "Is the address right, and does anything listen there?",
            ));
        }
    };
    let mut findings = vec![Finding::ok(
        CHECK,
        format!(
            "a session in {:.0} ms, ping interval {} s",
            answer.took.as_secs_f64() * 1e3,
            session.ping_interval.as_secs_f64()
        ),
    )];
    if answer.version == Version::Http10 {
        findings.push(Finding::warning("version", "the answer is HTTP/1.0", HTTP10_CURE));
    }
    Ok((session, answer, findings))
}

fn no_handshake(check: &'static str, answer: &Answer) -> Finding {
    let seen = format!("{} in place of an Engine.IO handshake: {}", answer.status, answer.text());
    let cure = match answer.status {
        400 if answer.text().contains("protocol") => {
            "The server speaks another generation: try --eio 3 or --eio 4."
        }
        429 | 503 => "The service refuses new sessions at present, or its backends are all out.",
        500.. => BACKEND_CURE,
        _ => PATH_CURE,
    };
    Finding::fault(check, seen, cure)
}

/// Opens many sessions and asks for each on several connections.
pub(super) async fn affinity(to: &Target, sessions: usize) -> Finding {
    const CHECK: &str = "affinity";
    let mut running = JoinSet::new();
    let mut begun = 0;
    let (mut lost, mut failed, mut example) = (0, 0, String::new());
    while begun < sessions || !running.is_empty() {
        while begun < sessions && running.len() < DOCTOR_SESSIONS_AT_ONCE {
            let to = to.clone();
            running.spawn(async move { follow(&to).await });
            begun += 1;
        }
        match running.join_next().await {
            Some(Ok(Fate::Kept)) | None => {}
            Some(Ok(Fate::Lost(answer))) => {
                (lost, example) = (lost + 1, format!("{} {}", answer.status, answer.text()))
            }
            Some(Ok(Fate::Failed(why))) => (failed, example) = (failed + 1, why),
            Some(Err(error)) => (failed, example) = (failed + 1, error.to_string()),
        }
    }
    match (lost, failed) {
        (0, 0) => Finding::ok(
            CHECK,
            format!("{sessions} sessions, each known to whoever got its {QUESTIONS} requests"),
        ),
        (0, failed) => {
            Finding::fault(CHECK, format!("{failed} of {sessions} sessions failed: {example}"), BACKEND_CURE)
        }
        (lost, _) => Finding::fault(
            CHECK,
            format!("{lost} of {sessions} sessions were unknown: {example}"),
            AFFINITY_CURE,
        ),
    }
}

enum Fate {
    Kept,
    Lost(Answer),
    Failed(String),
}

async fn follow(to: &Target) -> Fate {
    let session = match open(to).await {
        Ok((session, _)) => session,
        Err(trouble) => return Fate::Failed(told(&trouble)),
    };
    let mut fate = Fate::Kept;
    for _ in 0..QUESTIONS {
        match session.is_known(to).await {
            Knows::Yes => {}
            Knows::No(answer) => {
                fate = Fate::Lost(answer);
                break;
            }
            Knows::Unclear(trouble) => {
                fate = Fate::Failed(told(&trouble));
                break;
            }
        }
    }
    session.close(to).await;
    fate
}

/// Upgrades a session from polling to WebSocket, as clients do.
pub(super) async fn upgrade(to: &Target, session: &Session) -> Finding {
    const CHECK: &str = "upgrade";
    if !session.offers_websocket {
        return Finding::warning(
            CHECK,
            "the server offers no WebSocket",
            "The application allows polling only (transports).",
        );
    }
    let began = Instant::now();
    match probe(to, session).await {
        Ok(()) => {
            Finding::ok(CHECK, format!("to WebSocket in {:.0} ms", began.elapsed().as_secs_f64() * 1e3))
        }
        Err(trouble) => no_upgrade(CHECK, &trouble),
    }
}

async fn probe(to: &Target, session: &Session) -> Result<(), Trouble> {
    let mut tunnel = Tunnel::open(to, Some(session)).await?;
    tunnel.send("2probe").await.map_err(Trouble::Frames)?;
    let answer = tunnel.next_soon().await?;
    if answer != "3probe" {
        return Err(Trouble::Frames(format!("{answer:?} in place of the answer to the probe")));
    }
    tunnel.close().await;
    Ok(())
}

fn no_upgrade(check: &'static str, trouble: &Trouble) -> Finding {
    let seen = told(trouble);
    let cure = match trouble {
        Trouble::Answer(answer) if is_unknown_sid(answer) => AFFINITY_CURE,
        Trouble::Answer(answer) if answer.status >= 500 => BACKEND_CURE,
        Trouble::Answer(_) => UPGRADE_CURE,
        Trouble::Failure(Failure::Timeout(_)) => HANG_CURE,
        Trouble::Failure(_) => "Some hop ends connections that ask for an upgrade.",
        Trouble::Frames(_) => {
            "The connection switched, and its frames do not pass: a hop may buffer or rewrite them."
        }
    };
    Finding::fault(check, seen, cure)
}

/// Opens a session on a WebSocket from the start and keeps it for `time`, answering the server's pings.
pub(super) async fn tunnel(to: &Target, time: Duration) -> Finding {
    const CHECK: &str = "tunnel";
    let opened = async {
        let mut tunnel = Tunnel::open(to, None).await?;
        let session = tunnel.session().await?;
        Ok((tunnel, session))
    };
    let (mut tunnel, session) = match opened.await {
        Ok(opened) => opened,
        Err(trouble) => return no_upgrade(CHECK, &trouble),
    };
    let began = Instant::now();
    let outcome = timeout(time, beat(&mut tunnel, to, &session)).await;
    tunnel.close().await;
    match outcome {
        Err(_) => Finding::ok(
            CHECK,
            format!(
                "open for {} s with a ping every {} s",
                time.as_secs(),
                session.ping_interval.as_secs_f64()
            ),
        ),
        Ok(why) => Finding::fault(
            CHECK,
            format!("ended after {:.1} s ({why})", began.elapsed().as_secs_f64()),
            TIMEOUT_CURE,
        ),
    }
}

/// Pings and pongs until the tunnel ends; returns why it did.
async fn beat(tunnel: &mut Tunnel, to: &Target, session: &Session) -> String {
    loop {
        // Clients ping in EIO=3, servers in EIO=4.
        if to.protocol == 3 {
            match timeout(session.ping_interval, tunnel.next()).await {
                Ok(Ok(_)) => {}
                Ok(Err(why)) => return why,
                Err(_) => {
                    if let Err(why) = tunnel.send("2").await {
                        return why;
                    }
                }
            }
            continue;
        }
        let pong = match tunnel.next().await {
            Ok(packet) => packet == "2",
            Err(why) => return why,
        };
        if pong && let Err(why) = tunnel.send("3").await {
            return why;
        }
    }
}

/// Lets the server hold a poll until it pings, which is as long as any poll is held.
pub(super) async fn held_poll(to: &Target) -> Finding {
    const CHECK: &str = "held poll";
    let session = match open(to).await {
        Ok((session, _)) => session,
        Err(trouble) => return Finding::fault(CHECK, told(&trouble), BACKEND_CURE),
    };
    let began = Instant::now();
    let polled = hold(to, &session).await;
    let held = began.elapsed();
    session.close(to).await;
    match polled {
        Ok(answer) if answer.status == 200 => {
            Finding::ok(CHECK, format!("held for {:.1} s", held.as_secs_f64()))
        }
        Ok(answer) if is_unknown_sid(&answer) => {
            let seen = format!("{} after {:.1} s: {}", answer.status, held.as_secs_f64(), answer.text());
            // Another backend would have said so at once.
            let cure = if held < HELD_MIN { AFFINITY_CURE } else { REPEAT_CURE };
            Finding::fault(CHECK, seen, cure)
        }
        Ok(answer) => Finding::fault(
            CHECK,
            format!("{} after {:.1} s: {}", answer.status, held.as_secs_f64(), answer.text()),
            TIMEOUT_CURE,
        ),
        Err(failure) => Finding::fault(CHECK, failure.to_string(), TIMEOUT_CURE),
    }
}

async fn hold(to: &Target, session: &Session) -> Result<Answer, Failure> {
    let within = session.ping_interval + DOCTOR_HELD_MARGIN;
    if to.protocol == 3 {
        // Whatever the server says at once comes first; nothing ends a poll then but the answer to a ping.
        let _ = session.poll(to, Duration::from_secs(1)).await;
        let pinging = async {
            tokio::time::sleep(session.ping_interval).await;
            session.post(to, "2").await
        };
        let (polled, pinged) = tokio::join!(session.poll(to, within), pinging);
        return pinged.and(polled);
    }
    session.poll(to, within).await
}

/// An upgrade as a hop leaves it that speaks HTTP/1.0: it cannot succeed, and must be told so at once.
pub(super) async fn http10(to: &Target) -> Finding {
    const CHECK: &str = "HTTP/1.0";
    const CURE: &str = "A client behind a hop that speaks HTTP/1.0 waits for nothing until its own timeout. \
        Ringbolt answers\nsuch an upgrade with 426 and counts it.";
    match Tunnel::open_in(Version::Http10, to, None).await {
        Err(Trouble::Answer(answer)) => Finding::ok(
            CHECK,
            format!("a downgraded upgrade is refused at once: {} {}", answer.status, answer.text()),
        ),
        Err(trouble) => Finding::warning(CHECK, format!("a downgraded upgrade: {}", told(&trouble)), CURE),
        Ok(tunnel) => {
            tunnel.close().await;
            Finding::warning(
                CHECK,
                "a downgraded upgrade is answered with 101, which its hop cannot pass on",
                CURE,
            )
        }
    }
}

fn told(trouble: &Trouble) -> String {
    match trouble {
        Trouble::Failure(failure) => failure.to_string(),
        Trouble::Answer(answer) => format!("{} {}", answer.status, answer.text()),
        Trouble::Frames(why) => why.clone(),
    }
}

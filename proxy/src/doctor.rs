//! `ringbolt doctor`: with a URL, plays a client of an Engine.IO service through whatever stands in front of it, and says in
//! words what is wrong.
//!
//! Useful against any proxy. It leaves the service as it was: it sends no message of an application, and closes the
//! sessions it opens.

mod certificate;
mod checks;
mod exchange;
mod finding;
mod host;
mod session;
mod target;

use std::io;
use std::process::ExitCode;
use std::time::Duration;

use self::finding::{Report, Severity};
use self::target::Target;
use crate::config::Config;
use crate::{cli, tls};

/// Exit codes, beside 0.
const EXIT_WARNING: u8 = 3;
const EXIT_FAULT: u8 = 4;

/// Looks at the service and prints what it found. The exit code is that of the worst finding.
///
/// # Errors
/// What is wrong with the command line, or what this machine lacks.
pub(crate) fn run(asked: &cli::Doctor, out: impl io::Write) -> Result<ExitCode, String> {
    let client = || tls::http_client(asked.ca.as_deref(), !asked.insecure);
    let target = Target::parse(asked.url.as_deref().unwrap_or_default(), asked.eio, client)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("the runtime cannot start: {error}"))?;
    tell(&runtime.block_on(look(&target, asked)), asked.json, out)
}

/// Looks at this machine and prints what it found. The exit code is that of the worst finding.
///
/// # Errors
/// The report cannot be written as JSON.
pub(crate) fn run_on_host(
    config: Option<&Config>,
    json: bool,
    out: impl io::Write,
) -> Result<ExitCode, String> {
    tell(&host::look(config), json, out)
}

fn tell(report: &Report, json: bool, mut out: impl io::Write) -> Result<ExitCode, String> {
    let text = if json {
        serde_json::to_string_pretty(report).map_err(|error| error.to_string())?
    } else {
        report.to_string()
    };
    // Fails only when nobody reads any more; the exit code still tells.
    let _ = writeln!(out, "{text}");
    Ok(match report.severity() {
        Severity::Ok => ExitCode::SUCCESS,
        Severity::Warning => ExitCode::from(EXIT_WARNING),
        Severity::Fault => ExitCode::from(EXIT_FAULT),
    })
}

async fn look(to: &Target, asked: &cli::Doctor) -> Report {
    let mut report = Report { url: to.to_string(), hops: Vec::new(), findings: Vec::new() };
    if let Some(tls) = &to.tls {
        report.findings.push(certificate::check(to, tls, asked.ca.as_deref(), asked.insecure).await);
        if report.severity() == Severity::Fault {
            return report;
        }
    }
    let session = match checks::polling(to).await {
        Ok((session, answer, findings)) => {
            report.hops = answer.hops;
            report.findings.extend(findings);
            session
        }
        Err(fault) => {
            report.findings.push(fault);
            return report;
        }
    };
    report.findings.push(checks::upgrade(to, &session).await);
    session.close(to).await;
    report.findings.push(checks::affinity(to, asked.sessions.into()).await);
    report.findings.push(checks::http10(to).await);
    let held = async { if asked.quick { None } else { Some(checks::held_poll(to).await) } };
    let time = Duration::from_secs(if asked.quick { 0 } else { asked.idle });
    let tunnel = async { if session.offers_websocket { Some(checks::tunnel(to, time).await) } else { None } };
    let (held, tunnel) = tokio::join!(held, tunnel);
    report.findings.extend(held.into_iter().chain(tunnel));
    report
}

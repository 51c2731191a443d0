//! The quick start: three Socket.IO chat backends and the real daemon in front of them.
//!
//! Order of events: start the backends on free loopback ports, start `ringbolt run` as a child
//! process, print its address, wait for a signal, stop the child. This crate knows the daemon only
//! by its command line and its log lines; the daemon knows nothing of this crate.
#![forbid(unsafe_code)]

mod backend;
mod chat;
mod daemon;

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

use crate::chat::Chat;
use crate::daemon::Daemon;

/// Names of the backends, shown in the page. Three, so that round robin would break sessions.
const BACKENDS: [&str; 3] = ["north", "east", "west"];

/// Run Ringbolt in front of three Socket.IO chat backends.
#[derive(Debug, Parser)]
#[command(name = "ringbolt-demo", version)]
struct Options {
    /// Address the chat page is served on; port 0 takes a free port
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Address of the proxy's metrics and health; port 0 takes a free port
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9180")]
    admin: SocketAddr,
    /// PEM file with a certificate and its key: the page is served over https
    #[arg(long, value_name = "FILE")]
    tls: Option<PathBuf>,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let outcome = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("cannot start the runtime of the demo: {error}"))
        .and_then(|runtime| runtime.block_on(run(&options)));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => {
            eprintln!("ringbolt-demo: {text}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the demo until a signal ends it, or until the proxy ends by itself, which is an error.
async fn run(options: &Options) -> Result<(), String> {
    // Installed first: a signal that comes while the proxy starts must stop the proxy too.
    let refused = |error| format!("cannot wait for signals: {error}");
    let mut interrupt = signal(SignalKind::interrupt()).map_err(refused)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(refused)?;

    check_free(options.listen, "--listen")?;
    check_free(options.admin, "--admin")?;
    let chat = Chat::new(&BACKENDS);
    let mut addresses = Vec::with_capacity(BACKENDS.len());
    for name in BACKENDS {
        let address = backend::start(name, &chat)
            .await
            .map_err(|error| format!("cannot start chat backend {name}: {error}"))?;
        addresses.push(address);
    }

    let tls = options.tls.as_deref();
    let mut daemon = Daemon::start(options.listen, options.admin, tls, &addresses).await?;
    let scheme = if tls.is_some() { "https" } else { "http" };
    let outcome = tokio::select! {
        outcome = serve(&mut daemon, scheme) => outcome,
        _ = interrupt.recv() => Ok(()),
        _ = terminate.recv() => Ok(()),
    };
    daemon.stop().await;
    outcome
}

/// Announces the page once the proxy listens, then watches the proxy. Returns only when it ended.
async fn serve(daemon: &mut Daemon, scheme: &str) -> Result<(), String> {
    let address = daemon.ready().await?;
    println!("chat on 3 backends through Ringbolt: {scheme}://{address}/   (Ctrl-C stops it)");
    Err(daemon.watch().await)
}

/// Refuses an address another program listens on, before anything is started.
///
/// The daemon shares its port between its workers with SO_REUSEPORT, so a second demo of the same
/// user could join the first one's port without an error. This bind asks for no sharing.
fn check_free(address: SocketAddr, option: &str) -> Result<(), String> {
    match TcpListener::bind(address) {
        Ok(_) => Ok(()),
        Err(error) => Err(format!(
            "cannot listen on {address}: {error}; choose another address, for example {option} {}:0 for a \
             free port",
            address.ip()
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_address_is_refused_with_the_option_that_changes_it() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let text = check_free(address, "--listen").unwrap_err();
        assert!(text.contains(&address.to_string()), "{text}");
        assert!(text.contains("--listen 127.0.0.1:0"), "{text}");
        drop(taken);
        assert_eq!(check_free(address, "--listen"), Ok(()));
    }

    #[test]
    fn the_command_line_is_sound() {
        use clap::CommandFactory;
        Options::command().debug_assert();
    }
}

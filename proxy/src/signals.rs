//! The signals that end the process or make it reload or upgrade.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// A signal that asks the process to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// SIGTERM, from a service manager.
    Terminate,
    /// SIGINT, from a terminal.
    Interrupt,
    /// No signal: another process has taken over.
    HandedOver,
}

impl Stop {
    /// The signal's name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Terminate => "SIGTERM",
            Self::Interrupt => "SIGINT",
            Self::HandedOver => "none, upgraded",
        }
    }

    /// Exit code of a process ended by the signal, as shells report it: 128 and its number.
    pub(crate) fn exit_code(self) -> u8 {
        match self {
            Self::Terminate => 128 + 15,
            Self::Interrupt => 128 + 2,
            Self::HandedOver => 0,
        }
    }
}

/// Waits for one signal, which from its creation on does not end the process.
#[derive(Debug)]
pub(crate) struct Repeated(Signal);

impl Repeated {
    /// Takes SIGHUP over. Needs a tokio runtime.
    ///
    /// # Errors
    ///
    /// As [`Signals::new`].
    pub(crate) fn hangups() -> io::Result<Self> {
        signal(SignalKind::hangup()).map(Self)
    }

    /// Takes SIGUSR2 over. Needs a tokio runtime.
    ///
    /// # Errors
    ///
    /// As [`Signals::new`].
    pub(crate) fn upgrades() -> io::Result<Self> {
        signal(SignalKind::user_defined2()).map(Self)
    }

    /// Takes SIGUSR1 over. Needs a tokio runtime.
    ///
    /// # Errors
    ///
    /// As [`Signals::new`].
    pub(crate) fn reopenings() -> io::Result<Self> {
        signal(SignalKind::user_defined1()).map(Self)
    }

    /// The next one; several that came together are one. Dropping the future loses none.
    pub(crate) async fn next(&mut self) {
        self.0.recv().await;
    }
}

/// Waits for signals. From its creation on none of them ends the process by itself.
#[derive(Debug)]
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Takes the signals over. Needs a tokio runtime.
    ///
    /// # Errors
    ///
    /// The kernel refuses a handler, which it does for no signal used here.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// The next signal. Dropping the future loses none.
    pub(crate) async fn next(&mut self) -> Stop {
        tokio::select! {
            _ = self.terminate.recv() => Stop::Terminate,
            _ = self.interrupt.recv() => Stop::Interrupt,
        }
    }
}

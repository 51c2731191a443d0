//! Log lines on stderr, as text or JSON.
//!
//! Keys are snake_case. No line holds a whole sid: whoever reads logs could take a session over.

use std::net::SocketAddr;

use ringbolt_reactor::Engine;
use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::config::{Config, Log, LogFormat, LogLevel};

/// Starts logging, once in the life of the process.
pub(crate) fn init(log: Log) {
    // Fails only when it was started already, which leaves nothing to do.
    let _ = tracing::subscriber::set_global_default(subscriber(log, std::io::stderr));
}

/// Writes each event as one line.
///
/// A line that cannot be written is lost in silence: the alternative is a panic on a closed stderr.
fn subscriber(
    log: Log,
    writer: impl for<'a> MakeWriter<'a> + Send + Sync + 'static,
) -> Box<dyn Subscriber + Send + Sync> {
    let lines = tracing_subscriber::fmt()
        .with_max_level(LevelFilter::from(log.level))
        .with_target(false)
        .with_ansi(false)
        .log_internal_errors(false)
        .with_writer(writer);
    match log.format {
        LogFormat::Text => Box::new(lines.finish()),
        LogFormat::Json => Box::new(lines.json().flatten_event(true).with_current_span(false).finish()),
    }
}

impl From<LogLevel> for LevelFilter {
    fn from(level: LogLevel) -> Self {
        match level {
            LogLevel::Error => Self::ERROR,
            LogLevel::Warn => Self::WARN,
            LogLevel::Info => Self::INFO,
            LogLevel::Debug => Self::DEBUG,
            LogLevel::Trace => Self::TRACE,
        }
    }
}

/// What the ready line tells beyond the configuration.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Started<'a> {
    /// The listeners' addresses, with the ports that the kernel chose.
    pub(crate) listen: &'a [SocketAddr],
    pub(crate) admin: Option<SocketAddr>,
    pub(crate) workers: usize,
    /// The engine in use.
    pub(crate) engine: Engine,
}

/// The line that says every worker serves. Tools wait for it and read the addresses from it.
pub(crate) fn ready(config: &Config, started: Started<'_>) {
    let Started { listen, admin, workers, engine } = started;
    let listen: Vec<String> = listen.iter().map(SocketAddr::to_string).collect();
    let backends: usize = config.upstreams.values().map(|upstream| upstream.backends.len()).sum();
    tracing::info!(
        version = %env!("CARGO_PKG_VERSION"),
        listeners = %listen.join(","),
        admin = %admin.map_or_else(|| "off".to_owned(), |address| address.to_string()),
        workers,
        engine = %engine,
        backends,
        "ready"
    );
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::Arc;

    use parking_lot::Mutex;

    use super::*;

    /// A log that is kept.
    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What is logged by `work`. One at a time: whether anybody listens to an event is remembered for the whole process.
    fn logged(format: LogFormat, level: LogLevel, work: impl FnOnce()) -> String {
        static ALONE: Mutex<()> = Mutex::new(());
        let _alone = ALONE.lock();
        let kept = Kept::default();
        let writer = kept.clone();
        let subscriber = subscriber(Log { format, level }, move || writer.clone());
        tracing::subscriber::with_default(subscriber, work);
        let bytes = kept.0.lock().clone();
        String::from_utf8(bytes).unwrap()
    }

    fn ready_line() {
        let any = "127.0.0.1:0".parse().unwrap();
        let backends = ["127.0.0.1:1".parse().unwrap(), "127.0.0.1:2".parse().unwrap()];
        let config = Config::without_file(&[any], &backends, crate::config::Affinity::default()).unwrap();
        let listen = ["127.0.0.1:8080".parse().unwrap(), "[::1]:8080".parse().unwrap()];
        ready(&config, Started { listen: &listen, admin: None, workers: 2, engine: Engine::Epoll });
    }

    #[test]
    fn the_ready_line_names_every_address() {
        let text = logged(LogFormat::Text, LogLevel::Info, ready_line);
        let expected = "listeners=127.0.0.1:8080,[::1]:8080 admin=off workers=2 engine=epoll backends=2\n";
        assert!(text.ends_with(expected), "{text}");
        assert!(text.contains(" INFO ready version="), "{text}");
    }

    #[test]
    fn a_json_line_is_one_flat_object() {
        let text = logged(LogFormat::Json, LogLevel::Info, ready_line);
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(line["message"], "ready");
        assert_eq!(line["level"], "INFO");
        assert_eq!(line["listeners"], "127.0.0.1:8080,[::1]:8080");
        assert_eq!(line["workers"], 2);
    }

    #[test]
    fn less_important_events_are_left_out() {
        assert_eq!(logged(LogFormat::Text, LogLevel::Warn, ready_line), "");
    }
}

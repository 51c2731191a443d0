//! Where goes what the workers tell: the access log's writer and the exporter of spans, each at the end of a queue.

use std::future;
use std::sync::Arc;

use crate::access_log::{self, Writer};
use crate::config::Config;
use crate::metrics::Counters;
use crate::signals::Repeated;
use crate::start::StartError;
use crate::traces::{self, Exporter};

/// What there is of them.
#[derive(Debug, Default)]
pub(crate) struct Outputs {
    access_log: Option<Writer>,
    exporter: Option<Exporter>,
}

/// The ways to them, for each worker.
#[derive(Clone, Debug)]
pub(crate) struct Queues {
    pub(crate) access_log: Option<access_log::Queue>,
    pub(crate) traces: Option<traces::Queue>,
}

impl Outputs {
    /// Opens what is configured, with the rights that it has when a file is to be opened anew.
    ///
    /// # Errors
    /// The access log cannot be opened.
    pub(crate) fn start(config: &Config, counters: &Counters) -> Result<(Self, Queues), StartError> {
        let start = |settings| Writer::start(settings, Arc::clone(counters.writer()));
        let writer = config.access_log.as_ref().map(start).transpose()?;
        let export = |settings| traces::start(settings, Arc::clone(counters.housekeeping()));
        let (traces, exporter) = config.traces.map(export).unzip();
        let access_log = writer.as_ref().map(|writer| writer.queue().clone());
        Ok((Self { access_log: writer, exporter }, Queues { access_log, traces }))
    }

    /// Exports spans, and opens the access log anew as often as that is asked for. Never ends.
    pub(crate) async fn attend(&mut self, asked: Repeated) {
        let Self { access_log, exporter } = self;
        tokio::select! {
            () = reopen(asked, access_log.as_ref()) => {}
            () = export(exporter.as_mut()) => {}
        }
    }

    /// What is still in the queues goes out before the process ends.
    pub(crate) async fn finish(&mut self) {
        if let Some(log) = &self.access_log {
            log.finish();
        }
        if let Some(exporter) = &mut self.exporter {
            exporter.finish().await;
        }
    }
}

/// Without an access log the signal means nothing.
async fn reopen(mut asked: Repeated, access_log: Option<&Writer>) {
    loop {
        asked.next().await;
        match access_log {
            Some(log) => log.reopen(),
            None => tracing::info!("SIGUSR1: there is no access log to open anew"),
        }
    }
}

async fn export(exporter: Option<&mut Exporter>) {
    match exporter {
        Some(exporter) => exporter.attend().await,
        None => future::pending().await,
    }
}

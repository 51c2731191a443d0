//! What a new session waits for before its client hears of it: that all who may get its next request know of it.

use std::time::Instant;

use tokio::sync::oneshot;

use crate::worker::Worker;

/// Each one resolves when it is known there, or cannot be; `None`: it is so already.
#[derive(Debug)]
pub(crate) struct Binding {
    /// By the process that takes over.
    by_successor: Option<oneshot::Receiver<()>>,
    /// By all who look into the shared directory, which is waited for until then.
    by_others: Option<(oneshot::Receiver<()>, Instant)>,
}

impl Binding {
    /// `None`: there is nothing to wait for, as nearly always where no directory is shared.
    pub(crate) fn of(
        by_successor: Option<oneshot::Receiver<()>>,
        by_others: Option<(oneshot::Receiver<()>, Instant)>,
    ) -> Option<Box<Self>> {
        let is_settled = by_successor.is_none() && by_others.is_none();
        (!is_settled).then(|| Box::new(Self { by_successor, by_others }))
    }

    /// Resolves at `deadline` at the latest.
    pub(crate) async fn settled(self, worker: &Worker, deadline: Instant) {
        // Both are under way already, so it does not matter which is waited for first.
        if let Some(known) = self.by_successor {
            let _ = worker.reactor.timeout_at(Some(deadline), known).await;
        }
        if let Some((listed, until)) = self.by_others {
            let _ = worker.reactor.timeout_at(Some(deadline.min(until)), listed).await;
        }
    }
}

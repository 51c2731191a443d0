//! The directory's end of the housekeeping thread: keeps a connection and does what workers ask for over it.
//!
//! Where the directory is silent or gone it is left aside: workers are told not to ask, and it is tried again once in a
//! while, by nobody's request. That begins and ends with a line in the log.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use redis::RedisResult;
use ringbolt_core::circuit::{Circuit, Outcome};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::client::{Client, Connection};
use super::{Directory, Job};
use crate::limits::{DIRECTORY_AT_ONCE_MAX, DIRECTORY_CONNECT_TIMEOUT, DIRECTORY_PAUSE};
use crate::metrics::HousekeepingCounters;
use crate::metrics::label::DirectoryFailure;

/// Serves the workers' jobs.
#[derive(Debug)]
pub(crate) struct Service {
    client: Client,
    jobs: mpsc::Receiver<Job>,
    directory: Arc<Directory>,
    counters: Arc<HousekeepingCounters>,
    /// Made before the first client came.
    connection: Option<Ready>,
    /// The last line of the log said that it is not there.
    is_missed: bool,
}

/// A connection over which somebody has answered.
struct Ready(Connection);

impl std::fmt::Debug for Ready {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Ready")
    }
}

/// How a job ended, with the words for it if it failed; `None`: nobody was asked.
type Done = Option<(Outcome, Option<(DirectoryFailure, String)>)>;

impl Service {
    pub(super) fn new(
        client: Client,
        jobs: mpsc::Receiver<Job>,
        directory: Arc<Directory>,
        counters: Arc<HousekeepingCounters>,
    ) -> Self {
        Self { client, jobs, directory, counters, connection: None, is_missed: false }
    }

    /// Connects, so that the directory is there when the first client comes; once, and then [`Self::attend`] goes on.
    pub(crate) async fn begin(&mut self) {
        self.connection = self.connect().await;
        self.directory.answers.store(self.connection.is_some(), Relaxed);
    }

    /// Serves for ever.
    pub(crate) async fn attend(mut self) {
        loop {
            let ready = match self.connection.take() {
                Some(ready) => ready,
                None => self.connect_at_last().await,
            };
            self.directory.answers.store(true, Relaxed);
            self.serve(&ready.0).await;
            self.directory.answers.store(false, Relaxed);
        }
    }

    async fn connect_at_last(&mut self) -> Ready {
        loop {
            if let Some(ready) = self.connect().await {
                return ready;
            }
            sleep(DIRECTORY_PAUSE).await;
        }
    }

    /// Connects and waits for an answer over the connection.
    async fn connect(&mut self) -> Option<Ready> {
        let connecting = async {
            let mut connection = self.client.connect().await?;
            connection.ping().await?;
            Ok(connection)
        };
        let failure = match timeout(DIRECTORY_CONNECT_TIMEOUT, Box::pin(connecting)).await {
            Ok(Ok(connection)) => {
                if std::mem::take(&mut self.is_missed) {
                    tracing::info!("the shared directory answers again");
                }
                return Some(Ready(connection));
            }
            Ok(Err(error)) => failure_of(&error),
            Err(_) => (DirectoryFailure::Timeout, silence()),
        };
        self.miss(failure);
        None
    }

    /// Does jobs until the directory is to be left aside. What is under way then is given up.
    async fn serve(&mut self, connection: &Connection) {
        let (mut running, mut circuit) = (JoinSet::new(), Circuit::default());
        loop {
            tokio::select! {
                Some(done) = running.join_next() => {
                    let Ok(Some((outcome, failure))) = done else { continue };
                    let is_away = circuit.note(outcome);
                    let Some(failure) = failure else { continue };
                    if is_away {
                        return self.miss(failure);
                    }
                    self.counters.directory_failures.of(failure.0).add(1);
                }
                Some(job) = self.jobs.recv(), if running.len() < DIRECTORY_AT_ONCE_MAX => {
                    let (connection, patience) = (connection.clone(), self.directory.timeout);
                    running.spawn(async move {
                        match timeout(patience, carry_out(job, connection)).await {
                            Ok(done) => done,
                            Err(_) => Some((Outcome::Failed, Some((DirectoryFailure::Timeout, silence())))),
                        }
                    });
                }
            }
        }
    }

    /// Counts a failure that leaves us without the directory, and says it once.
    fn miss(&mut self, (label, cause): (DirectoryFailure, String)) {
        self.counters.directory_failures.of(label).add(1);
        if !std::mem::replace(&mut self.is_missed, true) {
            tracing::warn!(%cause, "the shared directory does not answer: sessions are found without it");
        }
    }
}

async fn carry_out(job: Job, mut connection: Connection) -> Done {
    // Who has given up needs no word.
    match job {
        Job::Find { found, .. } if found.is_closed() => None,
        Job::Find { key, found } => done(connection.get(&key).await, |entry| {
            let _ = found.send(entry);
        }),
        Job::Store { key, entry, lifetime, stored } => {
            done(connection.set(&key, &entry, lifetime).await, |()| {
                let _ = stored.send(());
            })
        }
        Job::Remove { key } => done(connection.remove(&key).await, |()| {}),
    }
}

/// Tells the answer to whoever waits, if there is one.
fn done<T>(answer: RedisResult<T>, tell: impl FnOnce(T)) -> Done {
    match answer {
        Ok(answer) => {
            tell(answer);
            Some((Outcome::Answered, None))
        }
        Err(error) => {
            let is_lost = error.is_unrecoverable_error() || error.is_connection_dropped();
            let outcome = if is_lost { Outcome::Lost } else { Outcome::Failed };
            Some((outcome, Some(failure_of(&error))))
        }
    }
}

fn failure_of(error: &redis::RedisError) -> (DirectoryFailure, String) {
    let label = match error {
        _ if error.is_timeout() => DirectoryFailure::Timeout,
        _ if error.is_io_error() => DirectoryFailure::Connection,
        _ => DirectoryFailure::Refused,
    };
    (label, error.to_string())
}

fn silence() -> String {
    "no answer in time".to_owned()
}

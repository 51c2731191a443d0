//! Whose session is it, where neither its tag nor the table says? Looks where else that may be known, in the order of
//! `ringbolt_core::affinity::decide`: the shared directory, then the backends.

use std::pin::pin;
use std::time::{Duration, Instant};

use ringbolt_core::affinity::{BackendId, Listed, Protocol, Sid, Told};
use ringbolt_core::http::Answer;
use ringbolt_reactor::{Either, select};

use crate::affinity::{self, Choice, Chosen};
use crate::answer::Asked;
use crate::client::Client;
use crate::error::Error;
use crate::request::Request;
use crate::route::Route;
use crate::worker::Worker;
use crate::{ask, directory};

/// A session that the table does not hold.
#[derive(Debug)]
pub(crate) struct Unknown {
    pub(crate) sid: Sid,
    pub(crate) protocol: Protocol,
    /// Where to look for it next.
    pub(crate) place: Place,
}

/// Where a session may be known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    Directory,
    Backends,
}

/// What was found out about it so far.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct FoundOut {
    listed: Option<Listed>,
    told: Option<Told>,
}

impl FoundOut {
    /// What the shared directory says, or whether it may be looked into.
    pub(crate) fn listed(&self, worker: &Worker, route: &Route) -> Listed {
        self.listed.unwrap_or(match directory::of(worker, route) {
            Some(_) => Listed::NotYet,
            None => Listed::Never,
        })
    }

    /// What backends say, or whether they may be asked.
    pub(crate) fn told(&self, route: &Route) -> Told {
        self.told.unwrap_or(match route.upstream().ask {
            Some(_) => Told::NotYet,
            None => Told::Never,
        })
    }

    /// It is known who has it. The table knows by now too, but it was not the one to say so.
    pub(crate) fn names_owner(&self) -> bool {
        matches!(self.listed, Some(Listed::Owner(_))) || matches!(self.told, Some(Told::Owner(_)))
    }

    /// Nobody has looked for it yet.
    pub(crate) fn is_nothing(&self) -> bool {
        self.listed.is_none() && self.told.is_none()
    }
}

/// Looks for the request's session and chooses its backend by what is found out.
///
/// # Errors
/// 400 if nobody has the session; 503 if too many are looked for, or no backend takes it.
pub(crate) async fn choose<'a>(
    worker: &'a Worker,
    client: &Client,
    route: &'a Route,
    asked: &mut Asked,
    request: &Request<'_>,
    mut unknown: Unknown,
) -> Result<Choice<'a>, Error> {
    let mut found_out = FoundOut::default();
    loop {
        {
            let looking = pin!(look(worker, route, request, &unknown, &mut found_out));
            let gone = pin!(async {
                match route.upstream().abort_on_close {
                    true => client.stream.transport().read_closed().await,
                    false => std::future::pending().await,
                }
            });
            match select(looking, gone).await {
                Either::Left(looked) => looked?,
                Either::Right(()) => return Err(Error::ClientGone),
            }
        }
        let place = unknown.place;
        match affinity::choose(worker, route, asked, request, found_out)? {
            Chosen::Backend(choice) => return Ok(choice),
            Chosen::Unknown(next) if next.place != place => unknown = next,
            // What was found out there is decided by.
            Chosen::Unknown(_) => return Err(Answer::NO_BACKEND.into()),
        }
    }
}

/// Looks in one place.
async fn look(
    worker: &Worker,
    route: &Route,
    request: &Request<'_>,
    unknown: &Unknown,
    found_out: &mut FoundOut,
) -> Result<(), Error> {
    match unknown.place {
        Place::Directory => found_out.listed = Some(directory::find(worker, route, unknown).await),
        Place::Backends => found_out.told = Some(ask::tell(worker, route, request, unknown).await?),
    }
    Ok(())
}

/// Notes in the table whose session it is. Without room there it will be looked for again.
pub(crate) async fn learn(
    worker: &Worker,
    route: &Route,
    unknown: &Unknown,
    backend: BackendId,
    time_to_live: Duration,
    deadline: Instant,
) {
    let sids = &worker.shared.sids;
    match sids.insert(worker, route.upstream().seed, &unknown.sid, time_to_live, backend, None) {
        Ok(Some(is_known)) => {
            // By the process that takes over.
            let _ = worker.reactor.timeout_at(Some(deadline), is_known).await;
        }
        Ok(None) => {}
        Err(_) => worker.counters().sid_table_full.add(1),
    }
}

//! What a request and its answer show of the session: that it begins, moves to WebSocket, fails or ends.

use ringbolt_core::affinity::{Handshake, SessionState, Sid, is_close};
use ringbolt_core::http::Answer;

use super::Choice;
use crate::access_log::{Cause, Record};
use crate::binding::Binding;
use crate::directory;
use crate::error::Error;
use crate::metrics::label::{self, SessionEnd};
use crate::sids::Session;

impl Choice<'_> {
    /// Stores the session that the answer opens, by the sid that the client gets. What this returns is to be settled before
    /// the answer leaves.
    ///
    /// # Errors
    /// 503 if the sid table has no room.
    pub(crate) fn bind(
        &self,
        handshake: &Handshake,
        sid: &Sid,
        record: Option<&Record>,
    ) -> Result<Option<Box<Binding>>, Error> {
        let (worker, route, backend) = (self.worker, self.route, self.backend().id);
        let (counters, sids, upstream) = (worker.counters(), &worker.shared.sids, route.upstream().seed);
        let session = worker.access_log.as_ref().zip(record).and_then(|(log, record)| {
            record.note_session(sids.key(upstream, sid));
            log.begin_session(record, sid)
        });
        let time_to_live = handshake.time_to_live();
        match sids.insert(worker, upstream, sid, time_to_live, backend, session) {
            Ok(by_successor) => {
                let by_others = directory::of(worker, route).and_then(|directory| {
                    let stored = directory.store(worker, route, sid, backend, time_to_live)?;
                    Some((stored, directory.deadline(worker)))
                });
                self.offered.set(handshake.offers_websocket);
                counters.sessions.of(label::EngineIo::of(self.protocol())).add(1);
                counters.transports.of(label::Transport::Polling).add(1);
                Ok(Binding::of(by_successor, by_others))
            }
            Err(_) => {
                counters.sid_table_full.add(1);
                Err(Answer::SESSIONS_FULL.into())
            }
        }
    }

    /// The known session the request belongs to.
    pub(crate) fn session(&self) -> Option<&Session<'_>> {
        self.session.as_ref()
    }

    /// The upgrade was answered 101.
    pub(crate) fn upgraded(&self) {
        if self.protocol.is_some() {
            let began = if self.has_sid { label::Transport::Upgraded } else { label::Transport::WebSocket };
            self.worker.counters().transports.of(began).add(1);
        }
        if let Some(session) = &self.session {
            session.upgraded();
        }
    }

    /// Sees the payload of a request or an answer if it is a short one: it may end the session, which then was `by`.
    pub(crate) fn see_payload(&self, payload: Option<&[u8]>, by: SessionEnd, record: Option<&Record>) {
        if let Some(session) = &self.session
            && payload.is_some_and(|payload| is_close(payload, self.protocol()))
        {
            session.closed(by, record);
            if let (Some(sid), Some(directory)) = (&self.listed, directory::of(self.worker, self.route)) {
                directory.remove(self.worker, self.route, sid);
            }
        }
    }

    /// Notes that the backend has refused the request.
    pub(crate) fn note_refusal(&self) {
        if let Some(session) = &self.session {
            session.note(SessionState::Refused);
        }
    }

    /// Notes that the request has failed.
    pub(crate) fn note_failure(&self, error: &Error) {
        let state = match Cause::of(error) {
            Cause::Client => SessionState::ClientLeft,
            Cause::Server | Cause::ServerTimeout => SessionState::BackendLost,
            _ => return,
        };
        if let Some(session) = &self.session {
            session.note(state);
        }
    }
}

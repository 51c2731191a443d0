//! Why the path of a request ended early, and what the client sees of it.

use std::io;

use ringbolt_core::http::{Answer, OwnReply, Refusal, TlsAlert};

/// Why a request was not carried through.
#[derive(Debug)]
pub(crate) enum Error {
    /// The client closed, reset or fell silent: nobody is left to answer.
    ClientGone,
    /// No byte of an answer has left yet: the client gets this one.
    Answer(Answer),
    /// The client speaks TLS where HTTP is served: it gets this.
    Alert(TlsAlert),
    /// The route answers by itself.
    Own(Box<OwnReply>),
    /// A pooled connection turned out to be closed before it took the request: a fresh one may be tried.
    Stale,
    /// A drain has ended the session of this poll, of whose answer nothing was there yet: the client is told so.
    SessionEnded,
    /// The upstream failed after its answer had begun: the client's connection is torn down, so that
    /// it sees a broken message and never a complete-looking one.
    Broken,
}

impl From<Answer> for Error {
    fn from(answer: Answer) -> Self {
        Self::Answer(answer)
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        Self::Answer(Answer::from(refusal))
    }
}

/// An error of the client's socket. Errors of the upstream's are named where they happen.
impl From<io::Error> for Error {
    fn from(_: io::Error) -> Self {
        Self::ClientGone
    }
}

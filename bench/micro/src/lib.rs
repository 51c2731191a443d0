//! The units of work that every request, session and timer costs: timed by `cargo xtask bench micro`,
//! their instructions counted and held by `cargo xtask bench budgets`. Both run these same functions.
//!
//! Preparing is apart from working, so that neither clock nor counter sees it.
#![forbid(unsafe_code)]

mod clients;
mod frames;
mod http;
#[path = "../../../proxy/src/mac.rs"]
mod mac;
mod placement;
mod sids;
mod tags;
mod timers;

pub use clients::connect_contended;

/// A unit of work.
#[derive(Clone, Copy, Debug)]
pub struct Subject {
    /// Its name in `budgets.toml` and on the command line.
    pub name: &'static str,
    prepare: fn(u64) -> Work,
}

/// Does what was prepared when it is called, once. What it leaves behind goes when it is dropped.
pub type Work = Box<dyn FnMut()>;

impl Subject {
    /// Sets up what this many units need.
    #[must_use]
    pub fn prepare(&self, units: u64) -> Work {
        (self.prepare)(units)
    }

    /// The subject of this name.
    #[must_use]
    pub fn find(name: &str) -> Option<Self> {
        SUBJECTS.into_iter().find(|subject| subject.name == name)
    }
}

const fn subject(name: &'static str, prepare: fn(u64) -> Work) -> Subject {
    Subject { name, prepare }
}

/// All of them.
pub const SUBJECTS: [Subject; 18] = [
    subject("request-head-parse", http::parse_request),
    subject("request-head-write", http::write_request),
    subject("response-head-parse", http::parse_response),
    subject("response-head-write", http::write_response),
    subject("body-chunk-1k", http::move_chunk),
    subject("engine-io-query", sids::read_query),
    subject("sid-lookup", sids::look_up),
    subject("sid-insert", sids::insert),
    subject("sid-tag-seal", tags::seal),
    subject("sid-tag-open", tags::open),
    subject("sid-tag-strip", tags::strip),
    subject("client-connection", clients::connect),
    subject("frame-follow", frames::follow),
    subject("rendezvous-3", placement::among_3),
    subject("rendezvous-16", placement::among_16),
    subject("timer-set", timers::set),
    subject("timer-expire", timers::expire),
    subject("timer-cancel", timers::cancel),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_subject_can_be_found_and_done() {
        for subject in SUBJECTS {
            assert_eq!(Subject::find(subject.name).map(|found| found.name), Some(subject.name));
            subject.prepare(100)();
        }
        assert!(Subject::find("nothing").is_none());
    }
}

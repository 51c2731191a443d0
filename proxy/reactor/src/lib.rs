//! The event loop of one worker thread. All unsafe code of the workspace lives in this crate.

//! What a chapter has shown.

use super::{Event, Mode};

/// What is counted while a chapter goes on.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Counts {
    pub requests: u64,
    /// Sessions that began.
    pub opened: u64,
    /// Requests that came to another edge than their session's last one.
    pub moved: u64,
    /// What decided: tag, table, the word of a backend or the directory, the client's address.
    pub by_tag: u64,
    pub by_table: u64,
    pub by_word: u64,
    pub guessed: u64,
    /// Sids that backends were asked for.
    pub lookups: u64,
    pub questions: u64,
    /// Lookups that would have asked a backend too often: refused.
    pub busy: u64,
    pub directory_reads: u64,
    /// Sessions whose request came to another backend than theirs, or to none, though theirs serves.
    pub lost: u64,
    /// Sessions whose backend died.
    pub ended_with_backend: u64,
}

/// A chapter of a history.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Chapter {
    pub event: Event,
    pub mode: Mode,
    pub edges: usize,
    /// Open at its end.
    pub sessions: usize,
    pub counts: Counts,
    /// Most questions to one backend in one second, of all edges together.
    pub busiest_second: u64,
    /// With nothing but tables: sessions at its beginning that are not where their client's address points.
    pub guesses_miss: Option<u64>,
    /// Sessions of the fullest backend that gets new ones, as a multiple of their mean.
    pub spread: f64,
}

//! What became of the directives that do not stand in the new file: not needed, changed, or not translated.

use std::borrow::Cow;
use std::fmt;

/// Characters of a directive that are shown: enough to know it again beside its line's number.
const SHOWN_CHARS_MAX: usize = 72;

/// Where something stands in the source.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Origin {
    /// From 1.
    pub(super) line: usize,
    /// The directive in one line, without control characters.
    pub(super) text: String,
}

impl Origin {
    pub(super) fn new(line: usize, words: &[String]) -> Self {
        let shown = words.join(" ");
        let mut text: String = shown
            .chars()
            .take(SHOWN_CHARS_MAX)
            .map(|char| if char.is_control() { ' ' } else { char })
            .collect();
        if shown.chars().nth(SHOWN_CHARS_MAX).is_some() {
            text.push_str("...");
        }
        Self { line, text }
    }
}

/// What became of a directive.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Outcome {
    /// Ringbolt does it by itself, or there is nothing to do.
    NotNeeded,
    /// It stands in the new file, and means something a little different there.
    Changed,
    /// It is not in the new file.
    NotTranslated,
}

/// A directive and what became of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Remark {
    pub(super) origin: Origin,
    pub(super) outcome: Outcome,
    pub(super) why: Cow<'static, str>,
}

/// All remarks about a file, in the order of its lines.
#[derive(Debug)]
pub(crate) struct Report {
    file: String,
    remarks: Vec<Remark>,
}

impl Report {
    pub(super) fn new(file: &str, mut remarks: Vec<Remark>) -> Self {
        remarks.sort_by(|a, b| (a.origin.line, &a.origin.text).cmp(&(b.origin.line, &b.origin.text)));
        remarks.dedup();
        Self { file: file.to_owned(), remarks }
    }

    /// Whether nothing the source says is missing in the new file.
    pub(crate) fn is_complete(&self) -> bool {
        self.count(Outcome::NotTranslated) == 0
    }

    fn count(&self, outcome: Outcome) -> usize {
        self.remarks.iter().filter(|remark| remark.outcome == outcome).count()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Remark { origin, outcome, why } in &self.remarks {
            let outcome = match outcome {
                Outcome::NotNeeded => "not needed",
                Outcome::Changed => "changed",
                Outcome::NotTranslated => "NOT TRANSLATED",
            };
            writeln!(formatter, "{}:{}: {outcome}: {}: {why}", self.file, origin.line, origin.text)?;
        }
        let [left_out, changed, idle] =
            [Outcome::NotTranslated, Outcome::Changed, Outcome::NotNeeded].map(|outcome| self.count(outcome));
        write!(formatter, "{}: not translated: {left_out}, changed: {changed}, not needed: {idle}", self.file)
    }
}

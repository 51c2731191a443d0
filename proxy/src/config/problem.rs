//! How a refused configuration is told: `file:line:column: key: problem`, then the line itself.
//!
//! Knows places and texts only, no rule of the configuration.

use std::cell::RefCell;
use std::fmt::{self, Write as _};
use std::ops::Range;

use super::bounds::PROBLEMS_SHOWN_MAX;

/// Characters of a source line shown around a problem.
const LINE_CHARS_MAX: usize = 160;

/// Why a configuration was refused: the complete text for the operator, without a final line end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refused(String);

impl Refused {
    /// A problem of the file as a whole.
    pub(crate) fn whole(file: &str, problem: &str) -> Self {
        Self(format!("{file}: {problem}"))
    }

    /// `valid` is the part before the first byte that is not UTF-8.
    pub(super) fn not_utf8(file: &str, valid: &[u8]) -> Self {
        let text = String::from_utf8_lossy(valid);
        let place = Place::of(&text, text.len());
        Self(format!(
            "{file}:{}:{}: syntax: a byte that is not UTF-8; save the file as UTF-8",
            place.line, place.column
        ))
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refused {}

#[derive(Debug)]
struct Problem {
    at: Range<usize>,
    key: String,
    text: String,
}

/// The problems found so far in one file.
///
/// Shared by all readers of the file, so that one run reports everything.
#[derive(Debug, Default)]
pub(super) struct Problems(RefCell<Vec<Problem>>);

impl Problems {
    /// Notes a problem at the byte range `at` of the file's text.
    pub(super) fn add(&self, at: Range<usize>, key: impl Into<String>, text: impl Into<String>) {
        self.0.borrow_mut().push(Problem { at, key: key.into(), text: text.into() });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.borrow().is_empty()
    }

    /// Puts the problems into words, in the order of the file's lines.
    pub(super) fn into_refused(self, file: &str, text: &str) -> Refused {
        let mut problems = self.0.into_inner();
        problems.sort_by_key(|problem| problem.at.start);
        let hidden = problems.len().saturating_sub(PROBLEMS_SHOWN_MAX);
        let mut told = String::new();
        for problem in problems.iter().take(PROBLEMS_SHOWN_MAX) {
            problem.tell(&mut told, file, text);
        }
        if hidden > 0 {
            let _ = writeln!(told, "and {hidden} more");
        }
        told.truncate(told.trim_end().len());
        Refused(told)
    }
}

impl Problem {
    fn tell(&self, told: &mut String, file: &str, text: &str) {
        let Place { line, column, source } = Place::of(text, self.at.start);
        // Writing to a String does not fail.
        let _ = writeln!(told, "{file}:{line}:{column}: {}: {}", self.key, self.text);
        if source.trim().is_empty() {
            return;
        }
        let skipped = column.saturating_sub(LINE_CHARS_MAX / 2);
        let shown: String = source
            .chars()
            .map(|char| if char.is_control() { ' ' } else { char })
            .skip(skipped)
            .take(LINE_CHARS_MAX)
            .collect();
        let carets = text
            .get(self.at.clone())
            .and_then(|marked| marked.lines().next())
            .map_or(1, |marked| marked.chars().count())
            .clamp(1, (shown.chars().count() + skipped + 1).saturating_sub(column).max(1));
        let margin = " ".repeat(line.to_string().len());
        let _ = writeln!(told, "{margin} |");
        let _ = writeln!(told, "{line} | {}", shown.trim_end());
        let _ = writeln!(told, "{margin} | {}{}", " ".repeat(column - 1 - skipped), "^".repeat(carets));
    }
}

/// Where a byte of a text stands, as editors count: from 1, columns in characters.
struct Place<'t> {
    line: usize,
    column: usize,
    /// The whole line, without its end.
    source: &'t str,
}

impl<'t> Place<'t> {
    fn of(text: &'t str, at: usize) -> Self {
        let at = text.floor_char_boundary(at);
        let (before, after) = text.split_at(at);
        let start = before.rfind('\n').map_or(0, |end| end + 1);
        let end = after.find('\n').map_or(text.len(), |length| at + length);
        Self {
            line: before.matches('\n').count() + 1,
            column: before[start..].chars().count() + 1,
            source: text[start..end].trim_end_matches('\r'),
        }
    }
}

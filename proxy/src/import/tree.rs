//! Files that are trees of keys, in YAML or TOML: what is in them, where, and what of it nobody has asked for.
//!
//! Keys are compared without their case, as Traefik does. Aliases of YAML are not followed: a small file could stand
//! for a huge one.

use std::cell::Cell;

use saphyr_parser::{Event, Parser, StrInput};
use toml::de::{DeTable, DeValue};

use super::words::SyntaxError;
use crate::limits::{IMPORT_DEPTH_MAX, IMPORT_DIRECTIVES_MAX};

const TOO_MANY: &str = "more keys than any configuration has";
const TOO_DEEP: &str = "tables inside tables without end";
const NO_ALIAS: &str =
    "an alias is not followed: write out what it stands for (`docker compose config` does it)";
const NO_YAML: &str = "cannot be read as YAML: look at its indentation, quotes and colons";
const NO_TOML: &str = "cannot be read as TOML";

/// A value and the line it begins on, from 1; an entry of a table begins with its key.
#[derive(Debug, Default)]
pub(super) struct Tree {
    pub(super) line: usize,
    pub(super) value: Value,
    asked_for: Cell<bool>,
}

#[derive(Debug)]
pub(super) enum Value {
    /// Any scalar, as it is written.
    Text(String),
    List(Vec<Tree>),
    /// In the order of the file.
    Table(Vec<(String, Tree)>),
}

impl Default for Value {
    fn default() -> Self {
        Self::Table(Vec::new())
    }
}

impl Tree {
    pub(super) fn new(line: usize, value: Value) -> Self {
        Self { line, value, asked_for: Cell::default() }
    }

    /// The entries of a table, which count as asked for; none of anything else.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&str, &Tree)> {
        let entries = if let Value::Table(entries) = &self.value { &entries[..] } else { &[] };
        entries.iter().map(|(key, part)| {
            part.asked_for.set(true);
            (key.as_str(), part)
        })
    }

    /// What stands below these keys, which count as asked for.
    pub(super) fn get(&self, keys: &[&str]) -> Option<&Tree> {
        keys.iter().try_fold(self, |part, key| {
            let Value::Table(entries) = &part.value else { return None };
            let (_, found) = entries.iter().find(|(known, _)| known.eq_ignore_ascii_case(key))?;
            found.asked_for.set(true);
            Some(found)
        })
    }

    /// The text below these keys.
    pub(super) fn text(&self, keys: &[&str]) -> Option<&str> {
        if let Value::Text(text) = &self.get(keys)?.value { Some(text) } else { None }
    }

    pub(super) fn is_true(&self, keys: &[&str]) -> bool {
        self.text(keys) == Some("true")
    }

    /// The entries of a list, or the only one where there is no list.
    pub(super) fn list(&self) -> &[Tree] {
        if let Value::List(entries) = &self.value { entries } else { std::slice::from_ref(self) }
    }

    /// The texts below these keys: a list of them, or as labels have them, with commas between.
    pub(super) fn texts(&self, keys: &[&str]) -> Vec<&str> {
        let Some(part) = self.get(keys) else { return Vec::new() };
        let words = part.list().iter().filter_map(|entry| match &entry.value {
            Value::Text(text) => Some(text.split(',').map(str::trim).filter(|text| !text.is_empty())),
            _ => None,
        });
        words.flatten().collect()
    }

    /// Nothing below this is missed, whoever asks for it.
    pub(super) fn take_all(&self) {
        self.asked_for.set(true);
        match &self.value {
            Value::Text(_) => {}
            Value::List(entries) => entries.iter().for_each(Tree::take_all),
            Value::Table(entries) => entries.iter().for_each(|(_, part)| part.take_all()),
        }
    }

    /// Calls `tell` for each key that nobody has asked for, and not for what is below it.
    pub(super) fn left_over(&self, tell: &mut impl FnMut(&str, &Tree)) {
        match &self.value {
            Value::Text(_) => {}
            Value::List(entries) => entries.iter().for_each(|entry| entry.left_over(tell)),
            Value::Table(entries) => {
                for (key, part) in entries {
                    if part.asked_for.get() { part.left_over(tell) } else { tell(key, part) }
                }
            }
        }
    }

    /// Puts a value below these keys. What is there already stays, and a text is no table.
    pub(super) fn insert(&mut self, keys: &[&str], text: &str, line: usize) {
        let Some((key, rest)) = keys.split_first() else { return };
        let Value::Table(entries) = &mut self.value else { return };
        let at = entries.iter().position(|(known, _)| known.eq_ignore_ascii_case(key));
        let at = at.unwrap_or_else(|| {
            let empty = Value::default();
            let value = if rest.is_empty() { Value::Text(text.to_owned()) } else { empty };
            entries.push(((*key).to_owned(), Tree::new(line, value)));
            entries.len() - 1
        });
        entries[at].1.insert(rest, text, line);
    }
}

/// Bounds of one file.
#[derive(Default)]
struct Bounds {
    parts: usize,
}

impl Bounds {
    fn check(&mut self, depth: usize, line: usize) -> Result<(), SyntaxError> {
        self.parts += 1;
        match () {
            () if depth > IMPORT_DEPTH_MAX => Err(SyntaxError { line, problem: TOO_DEEP }),
            () if self.parts > IMPORT_DIRECTIVES_MAX => Err(SyntaxError { line, problem: TOO_MANY }),
            () => Ok(()),
        }
    }
}

/// Reads the first document of a YAML file, whose top is a table.
///
/// # Errors
/// It is no YAML, there is too much of it, or it has aliases.
pub(super) fn yaml(text: &str) -> Result<Tree, SyntaxError> {
    let mut parser = Parser::new_from_str(text);
    let mut bounds = Bounds::default();
    while let Some((event, line)) = next(&mut parser)? {
        match event {
            Event::StreamStart | Event::DocumentStart(_) => {}
            Event::MappingStart(..) => return table(&mut parser, line, 1, &mut bounds),
            Event::StreamEnd => break,
            _ => return Err(SyntaxError { line, problem: "is no table of keys" }),
        }
    }
    Ok(Tree::default())
}

fn next<'t>(parser: &mut Parser<'t, StrInput<'t>>) -> Result<Option<(Event<'t>, usize)>, SyntaxError> {
    match parser.next_event() {
        None => Ok(None),
        Some(Ok((event, span))) => Ok(Some((event, span.start.line()))),
        Some(Err(error)) => Err(SyntaxError { line: error.marker().line(), problem: NO_YAML }),
    }
}

fn table<'t>(
    parser: &mut Parser<'t, StrInput<'t>>,
    line: usize,
    depth: usize,
    bounds: &mut Bounds,
) -> Result<Tree, SyntaxError> {
    let mut entries: Vec<(String, Tree)> = Vec::new();
    while let Some((event, line)) = next(parser)? {
        let key = match event {
            Event::MappingEnd => break,
            Event::Scalar(key, ..) => key.into_owned(),
            Event::Alias(_) => return Err(SyntaxError { line, problem: NO_ALIAS }),
            _ => return Err(SyntaxError { line, problem: NO_YAML }),
        };
        let Some((event, _)) = next(parser)? else { break };
        entries.push((key, value(parser, event, line, depth, bounds)?));
    }
    Ok(Tree::new(line, Value::Table(entries)))
}

/// What begins with `event`, at `line`.
fn value<'t>(
    parser: &mut Parser<'t, StrInput<'t>>,
    event: Event<'t>,
    line: usize,
    depth: usize,
    bounds: &mut Bounds,
) -> Result<Tree, SyntaxError> {
    bounds.check(depth, line)?;
    match event {
        Event::Scalar(text, ..) => Ok(Tree::new(line, Value::Text(text.into_owned()))),
        Event::MappingStart(..) => table(parser, line, depth + 1, bounds),
        Event::SequenceStart(..) => {
            let mut entries = Vec::new();
            while let Some((event, line)) = next(parser)? {
                if matches!(event, Event::SequenceEnd) {
                    break;
                }
                entries.push(value(parser, event, line, depth + 1, bounds)?);
            }
            Ok(Tree::new(line, Value::List(entries)))
        }
        Event::Alias(_) => Err(SyntaxError { line, problem: NO_ALIAS }),
        _ => Err(SyntaxError { line, problem: NO_YAML }),
    }
}

/// Reads a TOML file.
///
/// # Errors
/// It is no TOML, or there is too much of it.
pub(super) fn toml(text: &str) -> Result<Tree, SyntaxError> {
    let line_of =
        |at: usize| text.as_bytes()[..at.min(text.len())].iter().filter(|byte| **byte == b'\n').count() + 1;
    let read = DeTable::parse(text).map_err(|error| SyntaxError {
        line: line_of(error.span().map_or(0, |span| span.start)),
        problem: NO_TOML,
    })?;
    let mut bounds = Bounds::default();
    let value = of_toml(&DeValue::Table(read.into_inner()), 1, 1, &line_of, &mut bounds)?;
    Ok(value)
}

fn of_toml(
    value: &DeValue<'_>,
    line: usize,
    depth: usize,
    line_of: &impl Fn(usize) -> usize,
    bounds: &mut Bounds,
) -> Result<Tree, SyntaxError> {
    bounds.check(depth, line)?;
    let value = match value {
        DeValue::Table(table) => {
            let entry =
                |(key, value): (&toml::Spanned<std::borrow::Cow<'_, str>>, &toml::Spanned<DeValue<'_>>)| {
                    let line = line_of(key.span().start);
                    let name = key.get_ref().clone().into_owned();
                    Ok((line, name, of_toml(value.get_ref(), line, depth + 1, line_of, bounds)?))
                };
            let mut entries = table.iter().map(entry).collect::<Result<Vec<_>, _>>()?;
            entries.sort_by_key(|(line, ..)| *line);
            Value::Table(entries.into_iter().map(|(_, name, part)| (name, part)).collect())
        }
        DeValue::Array(list) => {
            let entry = |entry: &toml::Spanned<DeValue<'_>>| {
                of_toml(entry.get_ref(), line_of(entry.span().start), depth + 1, line_of, bounds)
            };
            Value::List(list.iter().map(entry).collect::<Result<_, _>>()?)
        }
        DeValue::String(text) => Value::Text(text.clone().into_owned()),
        DeValue::Integer(number) => Value::Text(number.as_str().to_owned()),
        DeValue::Float(number) => Value::Text(number.as_str().to_owned()),
        DeValue::Boolean(is) => Value::Text(is.to_string()),
        DeValue::Datetime(date) => Value::Text(date.to_string()),
    };
    Ok(Tree::new(line, value))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(part: &Tree) -> String {
        match &part.value {
            Value::Text(text) => format!("{}:{text}", part.line),
            Value::List(entries) => format!("[{}]", entries.iter().map(shown).collect::<Vec<_>>().join(" ")),
            Value::Table(entries) => {
                let entries: Vec<String> =
                    entries.iter().map(|(key, part)| format!("{key}={}", shown(part))).collect();
                format!("{{{}}}", entries.join(" "))
            }
        }
    }

    #[test]
    fn both_forms_are_the_same_tree() {
        let expected = "{a={b=2:c d=[3:1 3:true]}}";
        assert_eq!(shown(&yaml("a:\n  b: c\n  d: [1, true]\n").unwrap()), expected);
        assert_eq!(shown(&toml("[a]\nb = \"c\"\nd = [1, true]\n").unwrap()), expected);
        assert_eq!(shown(&yaml("# nothing\n").unwrap()), "{}");
    }

    #[test]
    fn what_nobody_asked_for_is_left_over() {
        let tree = yaml("A:\n  b: 1\n  c: {d: 2}\ne: 3\n").unwrap();
        assert_eq!(tree.text(&["a", "B"]), Some("1"));
        let mut left = Vec::new();
        tree.left_over(&mut |key, part| left.push((key.to_owned(), part.line)));
        assert_eq!(left, [("c".to_owned(), 3), ("e".to_owned(), 4)]);
    }

    #[test]
    fn too_deep_too_much_and_aliases_are_errors_with_their_line() {
        for (text, line, problem) in [
            ("a:\n  b: [\n", 3, NO_YAML),
            ("a: &x 1\nb: *x\n", 2, NO_ALIAS),
            ("- a\n", 1, "is no table of keys"),
        ] {
            assert_eq!(yaml(text).unwrap_err(), SyntaxError { line, problem }, "{text}");
        }
        for deep in ["[".repeat(100), "{b: ".repeat(100)] {
            assert_eq!(yaml(&format!("a: {deep}")).unwrap_err().problem, TOO_DEEP);
        }
        yaml(&format!("a: {}", "[".repeat(100_000))).unwrap_err();
        assert_eq!(yaml(&"a: 1\n".repeat(IMPORT_DIRECTIVES_MAX + 1)).unwrap_err().problem, TOO_MANY);
        assert_eq!(toml("a = 1\nb = [").unwrap_err(), SyntaxError { line: 2, problem: NO_TOML });
        let deep = format!("a = {}1{}", "[".repeat(20), "]".repeat(20));
        assert_eq!(toml(&deep).unwrap_err().problem, TOO_DEEP);
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[ab:&*#>|\\[\\]{},'\"\\- \n\t]{0,60}") {
            let _ = (yaml(&text), toml(&text));
        }
    }
}

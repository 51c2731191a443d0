//! Walks the tables of a parsed file and notes what is wrong with their shape.
//!
//! A section remembers which keys were asked for; whatever else it holds is an unknown key. So the
//! code that reads a key is the only list of the valid ones. Knows nothing of what keys mean.

use std::ops::{Range, RangeInclusive};

use toml::de::{DeTable, DeValue};

use super::problem::Problems;

/// One table of the file, or its absence.
#[derive(Debug)]
pub(super) struct Section<'t> {
    problems: &'t Problems,
    /// The keys that lead here, joined by dots; empty for the document.
    key: String,
    /// Where the table stands in the text.
    at: Range<usize>,
    table: Option<&'t DeTable<'t>>,
    known: Vec<&'static str>,
}

/// One value of a table or array.
#[derive(Debug)]
pub(super) struct Field<'t> {
    pub(super) key: String,
    pub(super) at: Range<usize>,
    pub(super) value: &'t DeValue<'t>,
}

impl<'t> Field<'t> {
    /// The entries of an array, each under the array's own key; `None` for any other type.
    pub(super) fn entries(&self) -> Option<Vec<Self>> {
        let entries = self.value.as_array()?.iter();
        Some(
            entries
                .map(|entry| Field { key: self.key.clone(), at: entry.span(), value: entry.get_ref() })
                .collect(),
        )
    }
}

impl<'t> Section<'t> {
    /// The whole file, `length` bytes long. What it lacks is missing at its end.
    pub(super) fn document(problems: &'t Problems, table: &'t DeTable<'t>, length: usize) -> Self {
        Self { problems, key: String::new(), at: length..length, table: Some(table), known: Vec::new() }
    }

    /// The table in `field`, or a problem with `expected` in it.
    pub(super) fn of(problems: &'t Problems, field: Field<'t>, expected: &str) -> Option<Self> {
        let Some(table) = field.value.as_table() else {
            problems.add(field.at, field.key, wrong_type(field.value, expected));
            return None;
        };
        Some(Self { problems, key: field.key, at: field.at, table: Some(table), known: Vec::new() })
    }

    pub(super) fn at(&self) -> Range<usize> {
        self.at.clone()
    }

    /// Full name of the key `name` in this section.
    pub(super) fn key_of(&self, name: &str) -> String {
        if self.key.is_empty() { name.to_owned() } else { format!("{}.{name}", self.key) }
    }

    /// The file has it.
    pub(super) fn is_there(&self) -> bool {
        self.table.is_some()
    }

    /// Notes a problem of the section as a whole.
    pub(super) fn problem(&self, name: &str, text: impl Into<String>) {
        self.problems.add(self.at(), self.key_of(name), text);
    }

    /// The value of `name`, if the file has one.
    pub(super) fn field(&mut self, name: &'static str) -> Option<Field<'t>> {
        if !self.known.contains(&name) {
            self.known.push(name);
        }
        let (key, value) = self.table?.iter().find(|(key, _)| key.get_ref() == name)?;
        // A `[header]` is shown itself, not the lines below it.
        let at = if value.get_ref().is_table() { key.span() } else { value.span() };
        Some(Field { key: self.key_of(name), at, value: value.get_ref() })
    }

    /// The table `name`; an empty one when the file has none.
    pub(super) fn section(&mut self, name: &'static str) -> Self {
        let problems = self.problems;
        self.field(name)
            .and_then(|field| {
                let expected = format!("a table; write it as `[{}]`", field.key);
                Section::of(problems, field, &expected)
            })
            .unwrap_or_else(|| Self {
                problems,
                key: self.key_of(name),
                at: self.at(),
                table: None,
                known: Vec::new(),
            })
    }

    /// The tables of `[[name]]`.
    pub(super) fn list(&mut self, name: &'static str) -> Vec<Self> {
        let problems = self.problems;
        let Some(field) = self.field(name) else { return Vec::new() };
        let expected = format!("a list of tables; write each as `[[{}]]`", field.key);
        let Some(entries) = field.entries() else {
            problems.add(field.at, field.key, wrong_type(field.value, &expected));
            return Vec::new();
        };
        entries.into_iter().filter_map(|entry| Section::of(problems, entry, &expected)).collect()
    }

    /// Every value of the section, where the keys are the operator's own.
    pub(super) fn fields(&self) -> Vec<(&'t str, Field<'t>)> {
        let Some(table) = self.table else { return Vec::new() };
        table
            .iter()
            .map(|(key, value)| {
                let name: &str = key.get_ref();
                (name, Field { key: self.key_of(name), at: key.span(), value: value.get_ref() })
            })
            .collect()
    }

    /// Reads `name` by `parse`, whose error is noted as a problem.
    pub(super) fn read<T>(
        &mut self,
        name: &'static str,
        parse: impl Fn(&DeValue<'_>) -> Result<T, String>,
    ) -> Option<T> {
        let field = self.field(name)?;
        match parse(field.value) {
            Ok(value) => Some(value),
            Err(problem) => {
                self.problems.add(field.at, field.key, problem);
                None
            }
        }
    }

    /// Reads `name`, which must be there; `example` shows how.
    pub(super) fn require<T>(
        &mut self,
        name: &'static str,
        example: &str,
        parse: impl Fn(&DeValue<'_>) -> Result<T, String>,
    ) -> Option<T> {
        if self.table.is_some_and(|table| !table.iter().any(|(key, _)| key.get_ref() == name)) {
            self.known.push(name);
            self.problem(name, format!("is missing; write for example `{name} = {example}`"));
            return None;
        }
        self.read(name, parse)
    }

    /// Reads the array of strings `name`, each by `parse`; empty if there is none.
    pub(super) fn read_list<T>(
        &mut self,
        name: &'static str,
        expected: &str,
        entries_max: usize,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Vec<T> {
        let Some(field) = self.field(name) else { return Vec::new() };
        let Some(entries) = field.entries() else {
            self.problems.add(field.at, field.key, wrong_type(field.value, expected));
            return Vec::new();
        };
        if entries.len() > entries_max {
            self.problems.add(field.at, field.key, format!("has more than {entries_max} entries"));
            return Vec::new();
        }
        let parse = text("a string", parse);
        let read = |entry: Field<'t>| {
            parse(entry.value).map_err(|problem| self.problems.add(entry.at, entry.key, problem)).ok()
        };
        entries.into_iter().filter_map(read).collect()
    }

    /// Notes every key that nobody asked for.
    pub(super) fn finish(self) {
        for (key, _) in self.table.into_iter().flat_map(DeTable::iter) {
            let name: &str = key.get_ref();
            if !self.known.contains(&name) {
                let text = format!("unknown key{}", suggest(name, &self.known, "valid keys here"));
                self.problems.add(key.span(), self.key_of(name), text);
            }
        }
    }
}

/// What may have been meant by `name`: the nearest of `known`, or all of them if none is near.
pub(super) fn suggest(name: &str, known: &[&str], all_are: &str) -> String {
    let allowed_edits = match name.len() {
        0..=3 => 1,
        4..=7 => 2,
        _ => 3,
    };
    let nearest = known
        .iter()
        .map(|candidate| (strsim::osa_distance(&name.to_lowercase(), &candidate.to_lowercase()), candidate))
        .filter(|(distance, _)| *distance <= allowed_edits)
        .min();
    match nearest {
        Some((_, nearest)) => format!("; did you mean `{nearest}`?"),
        None => format!("; {all_are}: {}", known.join(", ")),
    }
}

/// What was expected and what is there instead.
pub(super) fn wrong_type(value: &DeValue<'_>, expected: &str) -> String {
    let kind = value.type_str();
    let article = if kind.starts_with(['a', 'i']) { "an" } else { "a" };
    format!("is {article} {kind}, expected {expected}")
}

/// A reader of strings, which `parse` understands.
pub(super) fn text<T>(
    expected: &str,
    parse: impl Fn(&str) -> Result<T, String>,
) -> impl Fn(&DeValue<'_>) -> Result<T, String> {
    move |value| match value.as_str() {
        Some(text) => parse(text),
        None => Err(wrong_type(value, expected)),
    }
}

/// A reader of strings, where `"off"` stands for no value.
pub(super) fn or_off<T>(
    parse: impl Fn(&DeValue<'_>) -> Result<T, String>,
) -> impl Fn(&DeValue<'_>) -> Result<Option<T>, String> {
    move |value| match value.as_str() {
        Some("off") => Ok(None),
        _ => parse(value).map(Some).map_err(|problem| format!(r#"{problem}, or "off""#)),
    }
}

/// A reader of whole numbers within `range`.
pub(super) fn integer(range: RangeInclusive<u32>) -> impl Fn(&DeValue<'_>) -> Result<u32, String> {
    move |value| {
        let (low, high) = (range.start(), range.end());
        let expected = format!("a whole number from {low} to {high}");
        let integer = value.as_integer().ok_or_else(|| wrong_type(value, &expected))?;
        u32::from_str_radix(integer.as_str(), integer.radix())
            .ok()
            .filter(|number| range.contains(number))
            .ok_or_else(|| format!("{integer} is out of range, expected {expected}"))
    }
}

/// A reader of `true` and `false`.
pub(super) fn boolean(value: &DeValue<'_>) -> Result<bool, String> {
    value.as_bool().ok_or_else(|| wrong_type(value, "true or false"))
}

//! docs/configuration.md has every key that is read, with its default, and docs/configuration-keys.md what each may be.
//!
//! The parser is asked, not the documents: an unknown key makes it name the known ones, a value of the wrong type what
//! it wants, and a key that is left out must mean what its written default means. Fails when a key is read and not
//! documented, is documented and not read, or has another default than the document says.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use toml::Value;

use super::*;

/// Every key, each with another value than its default.
const COMPLETE: &str = include_str!("../complete.toml");

/// A key that is near no other, so that all valid ones are named.
const UNKNOWN: &str = "nobody_reads_this_key";

/// What cannot stand beside other keys of its table, which the complete file has.
const ALONE: (&str, &str) = ("flash_policy", "file");

/// A value of a type that no key has.
const MISFIT: Value = Value::Float(1.5);

/// Where a table stands in the complete file: keys, and positions in lists.
type Path = Vec<String>;

fn within<'v>(value: &'v mut Value, path: &[String]) -> &'v mut toml::Table {
    let found = path.iter().fold(value, |value, step| match value {
        Value::Array(entries) => &mut entries[step.parse::<usize>().unwrap()],
        table => &mut table[step.as_str()],
    });
    found.as_table_mut().unwrap()
}

/// The paths of all tables in `value`, which is at `path`.
fn tables(value: &Value, path: &Path, found: &mut Vec<Path>) {
    let below = |step: &dyn std::fmt::Display| [&path[..], &[step.to_string()]].concat();
    match value {
        Value::Table(table) => {
            found.push(path.clone());
            table.iter().for_each(|(key, value)| tables(value, &below(key), found));
        }
        Value::Array(entries) => {
            entries.iter().enumerate().for_each(|(at, value)| tables(value, &below(&at), found));
        }
        _ => {}
    }
}

/// What documents call the tables at `path`.
fn section(path: &Path) -> String {
    let named = path.iter().enumerate().map(|(at, step)| match step.as_str() {
        _ if at == 1 && path[0] == "upstream" => "NAME",
        step => step,
    });
    named.filter(|step| step.parse::<usize>().is_err()).collect::<Vec<_>>().join(".")
}

/// As TOML in one line.
fn written(value: &Value) -> String {
    match value {
        Value::Table(table) => {
            let entries: Vec<String> =
                table.iter().map(|(key, value)| format!("\"{key}\" = {}", written(value))).collect();
            format!("{{ {} }}", entries.join(", "))
        }
        Value::Array(entries) => {
            format!("[{}]", entries.iter().map(written).collect::<Vec<_>>().join(", "))
        }
        Value::String(text) => format!("{text:?}"),
        Value::Integer(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        Value::Boolean(is) => is.to_string(),
        Value::Datetime(_) => panic!("no key has a date"),
    }
}

/// The parser, asked about one key at a time in the complete file.
struct Parser(Value);

impl Parser {
    /// What the parser makes of the file with this key set, or left out.
    fn with(&self, path: &[String], key: &str, value: Option<Value>) -> Result<Config, String> {
        let mut changed = self.0.clone();
        match value {
            Some(value) => within(&mut changed, path).insert(key.to_owned(), value),
            None => within(&mut changed, path).remove(key),
        };
        let lines = changed.as_table().unwrap().iter();
        let text: String = lines.map(|(key, value)| format!("{key} = {}\n", written(value))).collect();
        Config::parse("f", &text).map_err(|refused| refused.to_string())
    }

    /// What it says behind `words` when this key has this value; `None` if it does not say them.
    fn told(&self, path: &[String], key: &str, value: Value, words: &str) -> Option<String> {
        let refused = self.with(path, key, Some(value)).err()?;
        let line = refused.lines().find_map(|line| line.split_once(words))?.1;
        Some(line.to_owned())
    }

    /// Every key it knows, in its own order, by section, each with the tables that have it or could.
    fn keys(&self) -> BTreeMap<String, Vec<(String, Vec<Path>)>> {
        let mut paths = Vec::new();
        tables(&self.0, &Path::new(), &mut paths);
        let mut sections: BTreeMap<String, Vec<(String, Vec<Path>)>> = BTreeMap::new();
        for path in paths {
            let Some(known) = self.told(&path, UNKNOWN, MISFIT, "unknown key; valid keys here: ") else {
                continue;
            };
            let keys = sections.entry(section(&path)).or_default();
            for key in known.split(", ") {
                match keys.iter_mut().find(|(known, _)| known == key) {
                    Some((_, paths)) => paths.push(path.clone()),
                    None => keys.push((key.to_owned(), vec![path.clone()])),
                }
            }
        }
        sections
    }

    /// What a key may be, in the parser's words.
    fn values(&self, path: &[String], key: &str) -> String {
        let expected = self.told(path, key, MISFIT, "is a float, expected ").expect(key);
        let expected = expected.trim_start_matches("a ").trim_start_matches("an ").to_owned();
        let choices = "is not valid here; it is one of ";
        if let Some(choices) = self.told(path, key, "?".into(), choices) {
            return if expected.ends_with("\"off\"") && !choices.contains("\"off\"") {
                choices + ", or \"off\""
            } else {
                choices
            };
        }
        if let Some(choices) = self.told(path, key, vec!["?"].into(), choices) {
            return format!("list of {choices}");
        }
        if expected.starts_with("duration") {
            assert!(self.with(path, key, Some("721h".into())).is_err(), "{key} has a longest value");
            let accepts = |text: &&&str| {
                let lines = self.told(path, key, (**text).into(), &format!(".{key}: "));
                lines.is_none()
            };
            let least = ["0s", "1ms", "10ms", "100ms", "1s"].iter().find(accepts).expect(key);
            return expected.replace("duration such as", &format!("duration from \"{least}\", such as"));
        }
        let beyond = |number: i64| self.told(path, key, number.into(), ", expected ");
        match beyond(0).filter(|_| expected.starts_with("size")) {
            Some(bounds) => bounds.trim_start_matches("a ").to_owned(),
            None => expected,
        }
    }
}

/// The rows of a section's tables in the document: key, and what it says of the default.
fn documented() -> BTreeMap<String, Vec<(String, String)>> {
    let document = fs::read_to_string(golden::path("../docs/configuration.md")).unwrap();
    let mut rows: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    let (mut sections, mut in_table) = (Vec::new(), false);
    for line in document.lines() {
        if line.starts_with('#') {
            let names = line.split('`').skip(1).step_by(2);
            sections = names.map(|name| name.trim_matches(['[', ']']).to_owned()).collect();
        }
        in_table = line.starts_with("| key |") || (in_table && line.starts_with('|'));
        let cells: Vec<&str> = line.split(" | ").collect();
        if let (true, [key, default, ..]) = (in_table, &cells[..])
            && let Some(key) = key.strip_prefix("| `").and_then(|key| key.strip_suffix('`'))
        {
            for section in &sections {
                rows.entry(section.clone()).or_default().push((key.to_owned(), (*default).to_owned()));
            }
        }
    }
    rows
}

/// The value that a cell shows and nothing else.
fn literal(cell: &str) -> Option<Value> {
    let text = cell.strip_prefix('`')?.strip_suffix('`').filter(|text| !text.contains('`'))?;
    format!("value = {text}").parse::<toml::Table>().ok()?.remove("value")
}

#[test]
fn every_key_is_documented_with_its_values_and_default() {
    let parser = Parser(Value::Table(COMPLETE.parse().unwrap()));
    let mut rows = documented();
    let mut page = String::from(
        "# All keys\n\nEvery key of the [configuration](configuration.md), which says what they mean, with what it may be and what it is\n\
         where it is not written: as the program itself tells it. Durations are at most `\"720h\"`.\n",
    );
    for (section, keys) in parser.keys() {
        let mut told = rows.remove(&section).unwrap_or_default();
        let mut lines = String::new();
        for (key, paths) in keys {
            let has = |path: &&Path| within(&mut parser.0.clone(), path).contains_key(&key);
            let having: Vec<&Path> = paths.iter().filter(has).collect();
            let is_alone = (section.as_str(), key.as_str()) == ALONE;
            assert!(is_alone || !having.is_empty(), "complete.toml has no {section}.{key}");
            let values = parser.values(having.first().unwrap_or(&&paths[0]), &key);
            let is_table = values.starts_with("table") || values.starts_with("list of tables");
            let values = if is_table { "table".to_owned() } else { values };
            let row = told.iter().position(|(known, _)| *known == key);
            if is_table && row.is_none() {
                continue;
            }
            let (_, default) = told.remove(row.unwrap_or_else(|| {
                panic!("docs/configuration.md has no row for `{key}` below a heading with `[{section}]`")
            }));
            if !is_alone {
                check_default(&parser, &having, (&section, &key), (&default, &values));
            }
            let _ = writeln!(lines, "| `{key}` | {} | {default} |", values.replace('|', "\\|"));
        }
        assert!(told.is_empty(), "docs/configuration.md has keys of [{section}] that nobody reads: {told:?}");
        if !lines.is_empty() {
            let _ =
                write!(page, "\n## `[{section}]`\n\n| key | value | default |\n| --- | --- | --- |\n{lines}");
        }
    }
    assert!(rows.is_empty(), "docs/configuration.md has sections that nobody reads: {rows:?}");
    golden::assert_same(&golden::path("../docs/configuration-keys.md"), &page);
}

/// A key that is left out means its default, and is missed where it is required; and it means something.
fn check_default(
    parser: &Parser,
    having: &[&Path],
    (section, key): (&str, &str),
    (default, values): (&str, &str),
) {
    let differs = having.iter().any(|path| {
        let without = parser.with(path, key, None);
        let with = literal(default).map(|value| parser.with(path, key, Some(value)));
        let Ok(without) = without else {
            // Required, or needed by other keys of the complete file, which its default must not satisfy either.
            assert!(
                with.is_none_or(|with| with.is_err()),
                "{section}.{key} is not {default} where it is left out"
            );
            return true;
        };
        assert_ne!(default, "required", "{section}.{key} may be left out");
        if let Some(with) = with {
            assert!(with.as_ref() == Ok(&without), "{section}.{key} has another default than {default}");
        }
        // One of the values that the parser names will do where the complete file cannot have another.
        let complete = within(&mut parser.0.clone(), path)[key].clone();
        let named = values.split('"').skip(1).step_by(2).map(Value::from);
        let mut others = std::iter::once(complete).chain(named);
        others.any(|other| parser.with(path, key, Some(other)).is_ok_and(|with| with != without))
    });
    assert!(differs, "{section}.{key}: no value of complete.toml or of {values} differs from {default}");
}

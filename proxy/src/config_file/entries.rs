//! The entries of `backends` in the text of a file: a list of addresses and tables, or tables of their own.

use toml_edit::{Array, ArrayOfTables, InlineTable, Item, Table, TableLike, Value};

use crate::config::{Reached, backend_url};

/// See the file's head.
pub(super) enum Entries<'a> {
    /// `backends = ["10.0.0.1:3000", { address = "10.0.0.2:3000" }]`
    List(&'a mut Array),
    /// `[[upstream.NAME.backends]]`
    Tables(&'a mut ArrayOfTables),
}

impl<'a> Entries<'a> {
    /// `None`: it is neither.
    pub(super) fn of(item: &'a mut Item) -> Option<Self> {
        match item {
            Item::Value(Value::Array(list)) => Some(Self::List(list)),
            Item::ArrayOfTables(tables) => Some(Self::Tables(tables)),
            _ => None,
        }
    }

    /// Where the backend of this name is.
    pub(super) fn position(&self, name: &str) -> Option<usize> {
        let is_named = |entry: Option<String>| entry.is_some_and(|known| known == name);
        match self {
            Self::List(list) => list.iter().position(|entry| {
                let address = entry.as_str().map(name_at);
                is_named(address.or_else(|| entry.as_inline_table().and_then(|table| name_in(table))))
            }),
            Self::Tables(tables) => tables.iter().position(|table| is_named(name_in(table))),
        }
    }

    /// Sets a key of an entry. One that is an address alone becomes a table.
    pub(super) fn set(&mut self, place: usize, key: &str, value: Value) {
        match self {
            Self::List(list) => {
                let Some(entry) = list.get_mut(place) else { return };
                if let Some(address) = entry.as_str() {
                    let table = inline(vec![("address", address.into()), (key, value)]);
                    let decor = entry.decor().clone();
                    *entry = Value::InlineTable(table);
                    *entry.decor_mut() = decor;
                } else if let Some(table) = entry.as_inline_table_mut() {
                    set_inline(table, key, value);
                }
            }
            Self::Tables(tables) => {
                let Some(table) = tables.get_mut(place) else { return };
                match table.get_mut(key).and_then(Item::as_value_mut) {
                    Some(known) => replace(known, value),
                    None => _ = table.insert(key, Item::Value(value)),
                }
            }
        }
    }

    /// Takes an entry out, and the comment behind it. Comments on lines of their own stay.
    pub(super) fn remove(&mut self, place: usize) {
        match self {
            Self::List(list) => remove_from(list, place),
            Self::Tables(tables) => _ = tables.remove(place),
        }
    }

    /// Adds an entry behind the others.
    pub(super) fn push(&mut self, mut fields: Vec<(&'static str, Value)>) {
        match self {
            Self::List(list) => {
                let entry = match fields.len() {
                    1 => fields.remove(0).1,
                    _ => Value::InlineTable(inline(fields)),
                };
                push_to(list, entry);
            }
            Self::Tables(tables) => {
                let mut table = Table::new();
                for (key, value) in fields {
                    table.insert(key, Item::Value(value));
                }
                tables.push(table);
            }
        }
    }
}

/// What a backend at this address is called if nothing else is said.
pub(super) fn name_at(address: &str) -> String {
    match backend_url(address) {
        Ok((_, Reached::At(address))) => address.to_string(),
        _ => address.to_owned(),
    }
}

fn name_in(table: &dyn TableLike) -> Option<String> {
    let text = |key| table.get(key).and_then(Item::as_str);
    text("name").map(str::to_owned).or_else(|| text("address").map(name_at))
}

fn inline(fields: Vec<(&str, Value)>) -> InlineTable {
    let mut table = InlineTable::new();
    for (key, value) in fields {
        table.insert(key, value);
    }
    table
}

/// Another value in the place of one, with what surrounds it.
fn replace(known: &mut Value, value: Value) {
    let decor = known.decor().clone();
    *known = value;
    *known.decor_mut() = decor;
}

fn set_inline(table: &mut InlineTable, key: &str, mut value: Value) {
    if let Some(known) = table.get_mut(key) {
        return replace(known, value);
    }
    // What stands before the brace stays there.
    if let Some((_, last)) = table.iter_mut().last() {
        value.decor_mut().set_suffix(raw(last.decor().suffix()));
        value.decor_mut().set_prefix(" ");
        last.decor_mut().set_suffix("");
    }
    table.insert(key, value);
}

fn raw(text: Option<&toml_edit::RawString>) -> String {
    text.and_then(toml_edit::RawString::as_str).unwrap_or_default().to_owned()
}

/// What stands between the last entry and the bracket; it is taken away.
fn take_end(list: &mut Array) -> String {
    let last = list.len().checked_sub(1).and_then(|last| list.get_mut(last));
    let suffix = last.map_or_else(String::new, |last| {
        let suffix = raw(last.decor().suffix());
        last.decor_mut().set_suffix("");
        suffix
    });
    let end = suffix + &raw(Some(list.trailing()));
    list.set_trailing("");
    end
}

fn push_to(list: &mut Array, mut entry: Value) {
    let end = take_end(list);
    let before = list.len().checked_sub(1).and_then(|last| list.get(last));
    let before = before.map_or_else(String::new, |last| raw(last.decor().prefix()));
    // Comments of the lines before, then a line as the last entry has it.
    let comments = end.trim_end().to_owned();
    let line = match before.rfind('\n') {
        Some(line) => &before[line..],
        None if list.is_empty() => "",
        None => " ",
    };
    let after = &end[comments.len()..];
    let line = if comments.contains('#') && !line.contains('\n') { "\n" } else { line };
    entry.decor_mut().set_prefix(format!("{comments}{line}"));
    let has_comma = list.trailing_comma();
    list.push_formatted(entry);
    list.set_trailing_comma(has_comma);
    list.set_trailing(after);
}

fn remove_from(list: &mut Array, place: usize) {
    let end = take_end(list);
    let has_comma = list.trailing_comma();
    let removed = list.remove(place);
    let before = raw(removed.decor().prefix());
    let comments = before.trim_end();
    // What follows it on its own line goes with it.
    let from_next_line =
        |text: &str| text.find('\n').map_or_else(String::new, |line| text[line..].to_owned());
    match list.get_mut(place) {
        Some(next) => {
            let after = raw(next.decor().prefix());
            let rest = if after.contains('\n') {
                from_next_line(&after)
            } else {
                before[comments.len()..].to_owned()
            };
            next.decor_mut().set_prefix(format!("{comments}{rest}"));
            list.set_trailing(end);
        }
        None => {
            let rest = if end.contains('\n') { from_next_line(&end) } else { end };
            list.set_trailing(format!("{comments}{rest}"));
        }
    }
    list.set_trailing_comma(has_comma && !list.is_empty());
}

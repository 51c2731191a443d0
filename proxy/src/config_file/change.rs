//! The text of a configuration file with what was ordered in it. Comments and the order of everything else stay.
//!
//! What comes out is read again and compared with what was meant, so that whatever shape a file has, it is written
//! right or not at all.

use toml_edit::{Array, DocumentMut, Item, TableLike, TomlError, Value};

use super::Told;
use super::entries::Entries;
use crate::config::{Backend, Config};
use crate::differences::{Added, Change, Difference, added};
use crate::served::name_of;

/// A changed text.
#[derive(Debug)]
pub(super) struct Changed<'a> {
    pub(super) text: String,
    /// What has no place in it: backends that are found elsewhere.
    pub(super) left_out: Vec<&'a Difference>,
}

/// The text with all differences in it that have a place there.
///
/// # Errors
/// It would not be understood as it is meant.
pub(super) fn changed(told: &Told) -> Result<Changed<'_>, String> {
    let refused = |error: TomlError| format!("{}: {error}", told.file);
    let mut document: DocumentMut = told.text.parse().map_err(refused)?;
    let (mut written, mut left_out) = (Vec::new(), Vec::new());
    for difference in &told.differences {
        if apply(&mut document, difference) { written.push(difference) } else { left_out.push(difference) }
    }
    let text = document.to_string();
    let config = Config::parse(&told.file, &text).map_err(|refused| refused.to_string())?;
    match written.iter().find(|difference| !is_said(&config, difference)) {
        None => Ok(Changed { text, left_out }),
        Some(difference) => {
            Err(format!("{difference}: cannot be written into {}: edit it by hand", told.file))
        }
    }
}

/// `false`: there is no place for it.
fn apply(document: &mut DocumentMut, difference: &Difference) -> bool {
    let Difference { upstream, backend, change } = difference;
    let upstream = document.get_mut("upstream").and_then(|upstreams| upstreams.get_mut(upstream));
    let Some(upstream) = upstream.and_then(Item::as_table_like_mut) else { return false };
    if let Change::Added(added) = change {
        return add(upstream, backend, added);
    }
    let Some(mut entries) = upstream.get_mut("backends").and_then(Entries::of) else { return false };
    let Some(place) = entries.position(backend) else { return false };
    match change {
        Change::State { ordered, .. } => entries.set(place, "state", ordered.into()),
        Change::Weight { ordered, .. } => entries.set(place, "weight", i64::from(*ordered).into()),
        Change::Removed => entries.remove(place),
        Change::Added(_) => {}
    }
    true
}

fn add(upstream: &mut dyn TableLike, name: &str, added: &Added) -> bool {
    if !upstream.contains_key("backends") {
        // All of its backends are in a file of their own so far.
        upstream.insert("backends", Item::Value(Value::Array(Array::new())));
    }
    let Some(mut entries) = upstream.get_mut("backends").and_then(Entries::of) else { return false };
    entries.push(fields(name, added));
    true
}

/// The keys of a new entry: those that do not say what holds anyhow.
fn fields(name: &str, added: &Added) -> Vec<(&'static str, Value)> {
    let Added { address, weight, state, backup, maxconn } = added;
    let mut fields = vec![("address", Value::from(address))];
    if name != super::entries::name_at(address) {
        fields.insert(0, ("name", name.into()));
    }
    if *weight != 1 {
        fields.push(("weight", i64::from(*weight).into()));
    }
    if state != "up" {
        fields.push(("state", state.into()));
    }
    if *backup {
        fields.push(("backup", true.into()));
    }
    if let Some(maxconn) = maxconn {
        fields.push(("maxconn", i64::from(*maxconn).into()));
    }
    fields
}

/// Whether a configuration says what a difference does.
fn is_said(config: &Config, difference: &Difference) -> bool {
    let Some(upstream) = config.upstreams.get(&difference.upstream) else { return false };
    let is_named = |backend: &&Backend| backend.name == difference.backend;
    let known = upstream.backends.iter().find(is_named);
    let source = upstream.sources.iter().find(|source| source.name.as_ref() == Some(&difference.backend));
    let (state, weight) = match (known, source) {
        (Some(backend), _) => (backend.state, backend.weight),
        (None, Some(source)) => (source.state, source.weight),
        (None, None) => return difference.change == Change::Removed,
    };
    match &difference.change {
        Change::State { ordered, .. } => name_of(state) == ordered,
        Change::Weight { ordered, .. } => weight == *ordered,
        Change::Added(meant) => known.is_some_and(|backend| added(backend) == *meant),
        Change::Removed => false,
    }
}

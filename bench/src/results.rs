//! The tables that are kept: as `NAME.md` for people, as `NAME.json` for programs.

use std::fs;
use std::path::Path;

use serde::Serialize;

/// Writes both forms of a table to the results folder.
pub(crate) fn keep(folder: &Path, name: &str, markdown: &str, table: &impl Serialize) -> Result<(), String> {
    let json = serde_json::to_string_pretty(table).map_err(|error| format!("cannot write JSON: {error}"))?;
    for (form, text) in [("md", markdown), ("json", &format!("{json}\n"))] {
        let path = folder.join(name).with_extension(form);
        fs::write(&path, text).map_err(|error| format!("cannot write {}: {error}", path.display()))?;
    }
    Ok(())
}

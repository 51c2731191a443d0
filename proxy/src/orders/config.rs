//! What the process serves by: its file as it was loaded, and what was ordered since.

use std::path::PathBuf;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;

use super::{NotDone, Orders};
use crate::config_file::Told;
use crate::differences::differences;

/// The file as it was loaded last.
#[derive(Clone, Debug)]
pub(crate) struct Loaded {
    pub(crate) file: Option<PathBuf>,
    pub(crate) text: Arc<str>,
    /// Flags of the command line that stand above it.
    pub(crate) flags: Vec<&'static str>,
    /// Keys whose value in it waits for the next start.
    pub(crate) waiting: Vec<&'static str>,
}

pub(super) async fn tell(State(orders): State<Arc<Orders>>) -> Result<Json<Told>, NotDone> {
    // What is served, ordered and loaded belongs together only while none of it changes.
    let _changing = orders.requests.change().await?;
    let Loaded { file, text, flags, waiting } = orders.requests.loaded();
    let file = file.ok_or_else(|| {
        NotDone(StatusCode::NOT_FOUND, "the process runs without a configuration file".to_owned())
    })?;
    let names = |names: Vec<&str>| names.into_iter().map(str::to_owned).collect();
    Ok(Json(Told {
        file: file.display().to_string(),
        text: text.to_string(),
        flags: names(flags),
        waiting: names(waiting),
        differences: differences(&orders.served.revision(), &orders.requests.edits()),
    }))
}

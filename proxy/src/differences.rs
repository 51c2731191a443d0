//! What operators have ordered that the configuration file does not say.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::config::{Backend, Origin};
use crate::edits::{Edited, Edits};
use crate::served::name_of;
use crate::snapshot::Revision;

/// One backend of which something else is ordered than the file says.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Difference {
    pub(crate) upstream: String,
    pub(crate) backend: String,
    #[serde(flatten)]
    pub(crate) change: Change,
}

/// What differs.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "lowercase")]
pub(crate) enum Change {
    State { file: String, ordered: String },
    Weight { file: u32, ordered: u32 },
    Added(Added),
    Removed,
}

/// A backend that the file does not have, as it stands there when it is written.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Added {
    /// IP address and port, behind `https://` where it speaks TLS.
    pub(crate) address: String,
    pub(crate) weight: u32,
    pub(crate) state: String,
    pub(crate) backup: bool,
    pub(crate) maxconn: Option<u32>,
}

impl fmt::Display for Difference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}: ", self.upstream, self.backend)?;
        match &self.change {
            Change::State { file, ordered } => write!(formatter, "state: file {file}, ordered {ordered}"),
            Change::Weight { file, ordered } => write!(formatter, "weight: file {file}, ordered {ordered}"),
            Change::Added(Added { address, .. }) => write!(formatter, "added: {address}"),
            Change::Removed => formatter.write_str("removed"),
        }
    }
}

/// All that differs in `revision`, upstream by upstream. `edits`: the backends that were added to it and removed.
pub(crate) fn differences(revision: &Revision, edits: &Edits) -> Vec<Difference> {
    let mut differences = Vec::new();
    for (upstream, _, backends) in revision.upstreams() {
        for (backend, identity) in backends {
            let (state, weight) = (identity.state(backend.state), identity.weight(backend.weight));
            let mut differs = |change| {
                let (upstream, backend) = (upstream.to_owned(), backend.name.clone());
                differences.push(Difference { upstream, backend, change });
            };
            if backend.origin == Origin::Order {
                differs(Change::Added(added(&Backend { state, weight, ..backend.clone() })));
                continue;
            }
            if state != backend.state {
                let (file, ordered) = (name_of(backend.state).to_owned(), name_of(state).to_owned());
                differs(Change::State { file, ordered });
            }
            if weight != backend.weight {
                differs(Change::Weight { file: backend.weight, ordered: weight });
            }
        }
        let removed = edits.iter().filter(|(of, _, edited)| *of == upstream && **edited == Edited::Removed);
        differences.extend(removed.map(|(_, name, _)| {
            let (upstream, backend) = (upstream.to_owned(), name.to_owned());
            Difference { upstream, backend, change: Change::Removed }
        }));
    }
    differences
}

/// What is to be written of a backend.
pub(crate) fn added(backend: &Backend) -> Added {
    let scheme = if backend.tls { "https://" } else { "" };
    Added {
        address: format!("{scheme}{}", backend.address),
        weight: backend.weight,
        state: name_of(backend.state).to_owned(),
        backup: backend.backup,
        maxconn: backend.maxconn,
    }
}

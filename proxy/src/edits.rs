//! Backends that operators have added to those of the file and of discovery, or taken from them, while the process runs.
//!
//! They stand above the file, over reloads and upgrades too, until they are reset. What the file says as well after a
//! reload is the file's from then on.

use std::collections::BTreeMap;

use crate::config::{Backend, Config};
use crate::limits::EDITS_MAX;

/// What is ordered of one backend.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Edit {
    /// The upstream gets it.
    Add { upstream: String, backend: Backend },
    /// The upstream loses it.
    Remove { upstream: String, name: String },
    /// What was ordered of it is forgotten.
    Forget { upstream: String, name: String },
}

/// Why an edit means nothing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Senseless {
    /// There is nothing of this name.
    Unknown(String),
    /// What there is does not allow it.
    Conflict(String),
}

/// What is in place of what the configuration says of one backend.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Edited {
    Added(Backend),
    Removed,
}

/// All edits, by upstream and name.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub(crate) struct Edits(BTreeMap<(String, String), Edited>);

impl Edits {
    /// These edits and one more. `config`: what is served without any.
    ///
    /// # Errors
    /// It means nothing.
    pub(crate) fn with(&self, edit: Edit, config: &Config) -> Result<Self, Senseless> {
        let mut edits = self.clone();
        match edit {
            Edit::Add { upstream, backend } => {
                let Some(known) = config.upstreams.get(&upstream) else {
                    return Err(Senseless::Unknown(format!(r#"there is no upstream "{upstream}""#)));
                };
                let name = backend.name.clone();
                let key = (upstream, name);
                if edits.0.contains_key(&key) || known.backends.iter().any(|known| known.name == key.1) {
                    let problem = format!("{}/{} is there already, or was removed: reset it", key.0, key.1);
                    return Err(Senseless::Conflict(problem));
                }
                edits.0.insert(key, Edited::Added(backend));
            }
            Edit::Remove { upstream, name } => {
                let key = (upstream, name);
                if !matches!(edits.0.remove(&key), Some(Edited::Added(_))) {
                    edits.0.insert(key.clone(), Edited::Removed);
                }
                if edits.applied(config).upstreams.get(&key.0).is_none_or(|left| left.backends.is_empty()) {
                    return Err(Senseless::Conflict(format!("{} would be left without a backend", key.0)));
                }
            }
            Edit::Forget { upstream, name } => {
                let unknown = || Senseless::Unknown(format!("nothing was ordered of {upstream}/{name}"));
                edits.0.remove(&(upstream.clone(), name.clone())).ok_or_else(unknown)?;
            }
        }
        if edits.0.len() > EDITS_MAX {
            let problem = format!("more than {EDITS_MAX} backends differ from the file: write them there");
            return Err(Senseless::Conflict(problem));
        }
        Ok(edits)
    }

    /// Takes an edit over from another process, which has judged it.
    pub(crate) fn restore(&mut self, upstream: String, name: String, edited: Edited) {
        if self.0.len() < EDITS_MAX {
            self.0.insert((upstream, name), edited);
        }
    }

    /// Each of them with its upstream and name.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str, &Edited)> {
        self.0.iter().map(|((upstream, name), edited)| (upstream.as_str(), name.as_str(), edited))
    }

    /// `config` with the edits in it.
    pub(crate) fn applied(&self, config: &Config) -> Config {
        let mut config = config.clone();
        for ((upstream, name), edited) in &self.0 {
            let Some(upstream) = config.upstreams.get_mut(upstream) else { continue };
            upstream.backends.retain(|backend| backend.name != *name);
            if let Edited::Added(backend) = edited {
                upstream.backends.push(backend.clone());
            }
        }
        config
    }

    /// Those that still say something else than `config`, which a reload serves.
    pub(crate) fn differing(&self, config: &Config) -> Self {
        let differs = |((upstream, name), edited): &(&(String, String), &Edited)| {
            let upstream = config.upstreams.get(upstream);
            let is_there =
                upstream.is_some_and(|known| known.backends.iter().any(|known| known.name == *name));
            match edited {
                Edited::Added(_) => upstream.is_some() && !is_there,
                Edited::Removed => is_there,
            }
        };
        let kept = self.0.iter().filter(differs);
        Self(kept.map(|(key, edited)| (key.clone(), edited.clone())).collect())
    }

    /// Upstream and name of the one that is called so, or UPSTREAM/NAME, among those that are removed.
    pub(crate) fn removed(&self, wanted: &str) -> Option<(String, String)> {
        let is_wanted = |(upstream, name): &&(String, String)| {
            name == wanted || wanted.split_once('/') == Some((upstream, name))
        };
        let removed = self.0.iter().filter(|(_, edited)| **edited == Edited::Removed);
        removed.map(|(key, _)| key).find(is_wanted).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(backends: &str) -> Config {
        let text =
            format!("[[listener]]\naddress = \"127.0.0.1:0\"\n[upstream.a]\nbackends = [{backends}]\n");
        Config::parse("test", &text).unwrap()
    }

    fn backend(address: &str) -> Backend {
        config(&format!("\"{address}\"")).upstreams["a"].backends[0].clone()
    }

    fn add(address: &str) -> Edit {
        Edit::Add { upstream: "a".to_owned(), backend: backend(address) }
    }

    fn remove(name: &str) -> Edit {
        Edit::Remove { upstream: "a".to_owned(), name: name.to_owned() }
    }

    fn forget(name: &str) -> Edit {
        Edit::Forget { upstream: "a".to_owned(), name: name.to_owned() }
    }

    fn names(edits: &Edits, config: &Config) -> Vec<String> {
        edits.applied(config).upstreams["a"].backends.iter().map(|backend| backend.name.clone()).collect()
    }

    #[test]
    fn edits_are_applied_to_what_the_file_says() {
        let file = config("\"10.0.0.1:1\"");
        let edits = Edits::default().with(add("10.0.0.2:1"), &file).unwrap();
        assert_eq!(names(&edits, &file), ["10.0.0.1:1", "10.0.0.2:1"]);
        let edits = edits.with(remove("10.0.0.1:1"), &file).unwrap();
        assert_eq!(names(&edits, &file), ["10.0.0.2:1"]);
        assert_eq!(edits.removed("a/10.0.0.1:1"), Some(("a".to_owned(), "10.0.0.1:1".to_owned())));
        assert_eq!(edits.removed("10.0.0.2:1"), None);
        let refused = [add("10.0.0.2:1"), add("10.0.0.1:1"), remove("10.0.0.2:1")];
        assert!(
            refused.into_iter().all(|edit| matches!(edits.with(edit, &file), Err(Senseless::Conflict(_))))
        );
        let edits = edits.with(forget("10.0.0.1:1"), &file).unwrap();
        assert_eq!(names(&edits, &file), ["10.0.0.1:1", "10.0.0.2:1"]);
        let edits = edits.with(remove("10.0.0.2:1"), &file).unwrap();
        assert_eq!(edits, Edits::default(), "it was added, so nothing is left to say");
        assert!(matches!(edits.with(forget("10.0.0.2:1"), &file), Err(Senseless::Unknown(_))));
        let elsewhere = Edit::Add { upstream: "b".to_owned(), backend: backend("10.0.0.2:1") };
        assert!(matches!(edits.with(elsewhere, &file), Err(Senseless::Unknown(_))));
    }

    #[test]
    fn what_the_file_says_too_is_the_files() {
        let file = config("\"10.0.0.1:1\", \"10.0.0.3:1\"");
        let edits = Edits::default().with(add("10.0.0.2:1"), &file).unwrap();
        let edits = edits.with(remove("10.0.0.1:1"), &file).unwrap();
        assert_eq!(edits.differing(&file), edits);
        let written = config("\"10.0.0.2:1\", \"10.0.0.3:1\"");
        assert_eq!(edits.differing(&written), Edits::default());
    }
}

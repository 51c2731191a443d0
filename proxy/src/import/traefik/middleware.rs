//! Middlewares: what they do to the requests of a route.

use super::{Import, own_name};
use crate::import::draft::Fields;
use crate::import::tree::Tree;

/// Chains inside chains.
const DEPTH_MAX: usize = 8;

/// Who is let in is decided by these; what they guard stays closed.
const ACCESS: [&str; 7] =
    ["basicAuth", "digestAuth", "forwardAuth", "ipAllowList", "ipWhiteList", "plugin", "passTLSClientCert"];

/// Middlewares that are not needed, or have no counterpart, and why.
const OTHERS: &[(&str, bool, &str)] = &[
    ("retry", false, "requests that no backend has seen are tried at the next one"),
    ("grpcWeb", true, "bytes go on as they come"),
    ("compress", true, "responses go on as the backend compressed them"),
    ("contentType", false, "responses go on as they are"),
    ("buffering", true, "nothing is buffered; `limits.request_body_bytes` bounds bodies"),
    ("circuitBreaker", true, "`health` of the upstream finds backends that fail"),
    ("errors", true, "responses go on as they are"),
    ("rateLimit", true, "bounds are those of `[limits]` and `request_rate` of a route"),
    ("inFlightReq", true, "bounds are `maxconn` of a backend and `connections` of a listener"),
    ("redirectRegex", true, "routes redirect by host and path: write `redirect`"),
    ("replacePath", true, "a prefix is replaced, not a whole path"),
    ("replacePathRegex", true, "a prefix is replaced, not a pattern"),
    ("stripPrefixRegex", true, "a prefix is removed, not a pattern"),
];

/// What a browser is told by these keys of `headers`.
const SECURITY: [(&str, &str, &str); 3] = [
    ("frameDeny", "X-Frame-Options", "DENY"),
    ("contentTypeNosniff", "X-Content-Type-Options", "nosniff"),
    ("browserXssFilter", "X-XSS-Protection", "1; mode=block"),
];

/// The same, where the key has the value.
const SECURITY_VALUES: [(&str, &str); 4] = [
    ("customFrameOptionsValue", "X-Frame-Options"),
    ("referrerPolicy", "Referrer-Policy"),
    ("contentSecurityPolicy", "Content-Security-Policy"),
    ("permissionsPolicy", "Permissions-Policy"),
];

/// What all middlewares of a router do together.
#[derive(Default)]
pub(super) struct Effect {
    pub(super) request: Fields,
    pub(super) response: Fields,
    /// In the order of the middlewares.
    pub(super) paths: Vec<PathChange>,
    /// Plain requests go to https.
    pub(super) to_https: bool,
    /// Somebody is kept out who cannot be told here.
    pub(super) is_guarded: bool,
}

pub(super) enum PathChange {
    /// Of which the first that fits goes.
    Strip(Vec<String>),
    Add(String),
}

impl Import<'_, '_> {
    pub(super) fn effect(&mut self, middlewares: &[&str]) -> Effect {
        let mut effect = Effect::default();
        middlewares.iter().for_each(|name| self.apply(name, &mut effect, 0));
        effect
    }

    fn apply(&mut self, name: &str, effect: &mut Effect, depth: usize) {
        let Some(part) =
            self.tree.get(&["http", "middlewares", own_name(name)]).filter(|_| depth < DEPTH_MAX)
        else {
            // It may have kept somebody out.
            effect.is_guarded = true;
            return;
        };
        for (kind, said) in part.entries() {
            let origin = self.origin(said);
            match kind.to_ascii_lowercase().as_str() {
                "chain" => {
                    for name in said.texts(&["middlewares"]) {
                        self.apply(name, effect, depth + 1);
                    }
                }
                "headers" => self.headers(said, effect),
                "redirectscheme" if said.text(&["scheme"]) == Some("https") => {
                    said.take_all();
                    effect.to_https = true;
                }
                "stripprefix" => {
                    let prefixes = said.texts(&["prefixes"]).into_iter().map(str::to_owned).collect();
                    effect.paths.push(PathChange::Strip(prefixes));
                    self.draft.changed(&origin, "backends are not told the prefix in X-Forwarded-Prefix");
                    if let Some(part) = said.get(&["forceSlash"]) {
                        self.draft.not_needed(&self.origin(part), "a path always begins with a slash");
                    }
                }
                "addprefix" => {
                    effect
                        .paths
                        .extend(said.text(&["prefix"]).map(|prefix| PathChange::Add(prefix.to_owned())));
                }
                kind if ACCESS.iter().any(|known| known.eq_ignore_ascii_case(kind)) => {
                    said.take_all();
                    effect.is_guarded = true;
                    self.draft.not_translated(
                        &origin,
                        "who may come in is not decided here: answered 403 for everybody",
                    );
                }
                kind => {
                    said.take_all();
                    match OTHERS.iter().find(|(known, ..)| known.eq_ignore_ascii_case(kind)) {
                        Some((_, false, why)) => self.draft.not_needed(&origin, why),
                        Some((_, true, why)) => self.draft.not_translated(&origin, *why),
                        None => self.draft.not_translated(&origin, "has no counterpart"),
                    }
                }
            }
        }
    }

    fn headers(&mut self, said: &Tree, effect: &mut Effect) {
        let lists =
            [("customRequestHeaders", &mut effect.request), ("customResponseHeaders", &mut effect.response)];
        for (key, fields) in lists {
            let named: Vec<(&str, &Tree)> = said.get(&[key]).into_iter().flat_map(Tree::entries).collect();
            for (name, part) in named {
                let value = said.text(&[key, name]).unwrap_or_default();
                // Without a value it is removed.
                let done = if value.is_empty() { fields.remove(name) } else { fields.set(name, value) };
                done.unwrap_or_else(|why| self.draft.not_translated(&self.origin(part), why));
            }
        }
        for (key, name, value) in SECURITY {
            if said.is_true(&[key]) {
                self.set(said, key, (name, value), effect);
            }
        }
        for (key, name) in SECURITY_VALUES {
            if let Some(value) = said.text(&[key]) {
                self.set(said, key, (name, value), effect);
            }
        }
        if let Some(age) = said.text(&["stsSeconds"]).filter(|age| *age != "0") {
            let flags = [("stsIncludeSubdomains", "; includeSubDomains"), ("stsPreload", "; preload")];
            let flags: String =
                flags.iter().filter(|(key, _)| said.is_true(&[key])).map(|(_, flag)| *flag).collect();
            self.set(
                said,
                "stsSeconds",
                ("Strict-Transport-Security", &format!("max-age={age}{flags}")),
                effect,
            );
        }
        if said.is_true(&["sslRedirect"]) {
            effect.to_https = true;
        }
    }

    fn set(&mut self, said: &Tree, key: &str, (name, value): (&str, &str), effect: &mut Effect) {
        if let Err(why) = effect.response.set(name, value) {
            let origin = self.origin(said.get(&[key]).unwrap_or(said));
            self.draft.not_translated(&origin, why);
        }
    }
}

impl Effect {
    /// The path that backends see in place of `path`, where it is another one. `None` if that cannot be said by a
    /// prefix.
    pub(super) fn replaced(&self, path: &str) -> Option<Option<String>> {
        let mut seen = path.trim_end_matches('/').to_owned();
        for change in &self.paths {
            match change {
                PathChange::Add(prefix) => seen.insert_str(0, prefix.trim_end_matches('/')),
                PathChange::Strip(prefixes) => {
                    let rest =
                        |prefix: &String| seen.strip_prefix(prefix.trim_end_matches('/')).map(str::to_owned);
                    // Below the route's path it would be removed from some requests and not from others.
                    seen = prefixes
                        .iter()
                        .find_map(rest)
                        .filter(|rest| rest.is_empty() || rest.starts_with('/'))?;
                }
            }
        }
        let seen = if seen.is_empty() { "/".to_owned() } else { seen };
        let is_same = seen.trim_end_matches('/') == path.trim_end_matches('/');
        Some((!is_same).then_some(seen))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_are_removed_and_added_in_their_order() {
        let strip = |prefix: &str| PathChange::Strip(vec![prefix.to_owned()]);
        let add = |prefix: &str| PathChange::Add(prefix.to_owned());
        for (path, changes, expected) in [
            ("/api", vec![strip("/api")], Some(Some("/"))),
            ("/api/v1", vec![strip("/api/")], Some(Some("/v1"))),
            ("/api", vec![add("/x")], Some(Some("/x/api"))),
            ("/api", vec![strip("/api"), add("/x")], Some(Some("/x"))),
            ("/", vec![strip("/api")], None),
            ("/apiary", vec![strip("/api")], None),
            ("/", vec![], Some(None)),
        ] {
            let effect = Effect { paths: changes, ..Effect::default() };
            let replaced = effect.replaced(path);
            assert_eq!(replaced.as_ref().map(Option::as_deref), expected, "{path}");
        }
    }
}

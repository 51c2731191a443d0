//! `location`: what paths it takes, and where it leads.

use ringbolt_core::http::Location;

use super::server::{Server, Shared, inherited};
use super::{Import, block};
use crate::config::bounds::REPLY_BODY_BYTES_MAX;
use crate::import::draft::{Fields, Goal, Keys, Route, Said, Upstream, path};
use crate::import::report::Origin;
use crate::import::words::Directive;

/// Where a redirect of a whole server goes that only adds the `s`.
pub(super) const TO_HTTPS: &str = "https://{host}{target}";

impl Import<'_, '_> {
    /// The locations of a server, and what it says for all of itself.
    pub(super) fn locations(&mut self, directive: &Directive, server: &mut Server) {
        let is_tls = server.listens.iter().any(|listen| listen.tls);
        let shared = server.shared.clone();
        for inner in block(directive) {
            match inner.name() {
                "location" => self.location(inner, &shared, server, is_tls),
                "return" => {
                    let goal = self.reply(inner, server, is_tls);
                    server.locations.extend(goal.map(|goal| whole(goal, inner)));
                }
                "if" => self.condition(inner, server),
                "rewrite" if inner.words.get(2).is_some_and(|to| is_https_of_all(to)) => {
                    let goal = Goal::Redirect { to: TO_HTTPS.to_owned(), status: 301 };
                    server.locations.push(whole(goal, inner));
                }
                "rewrite" | "proxy_pass" => self.left_over(inner),
                _ => {}
            }
        }
    }

    fn location(&mut self, directive: &Directive, outer: &Shared, server: &mut Server, is_tls: bool) {
        let origin = directive.origin();
        let Some(path) = self.path(directive) else { return };
        let mut shared = inherited(outer, directive);
        let mut goal: Option<(Goal, Option<String>)> = None;
        let mut rewrite = None;
        for inner in block(directive) {
            match inner.name() {
                "proxy_pass" => goal = self.proxy_pass(inner).or(goal),
                "return" => goal = goal.or_else(|| Some((self.reply(inner, server, is_tls)?, None))),
                "rewrite" if strips(inner, &path) => rewrite = Some("/".to_owned()),
                "location" => self.draft.not_translated(&inner.origin(), "locations inside locations"),
                _ => self.of_servers(inner, &mut shared),
            }
        }
        let closed =
            shared.guard.is_some().then(|| (Goal::Respond { status: 403, body: String::new() }, None));
        let Some((goal, replaced)) = closed.or(goal) else {
            self.draft.not_translated(&origin, "leads to no backend");
            return;
        };
        if let Goal::Upstream(name) = &goal {
            self.apply_tls(name, &shared.upstream_tls);
        }
        let request = if matches!(goal, Goal::Upstream(_)) { shared.request } else { Fields::default() };
        let replace_prefix =
            replaced.or(rewrite).filter(|to| to.trim_end_matches('/') != path.trim_end_matches('/'));
        let response = shared.response;
        let route = Route::new(None, &path, goal, &origin);
        server.locations.push(Route { replace_prefix, request, response, ..route });
    }

    /// The path prefix that a location takes.
    fn path(&mut self, directive: &Directive) -> Option<String> {
        let origin = directive.origin();
        let words: Vec<&str> = directive.words.iter().skip(1).map(String::as_str).collect();
        let (kind, text) = match words[..] {
            [kind, text] => (kind, text),
            [text] => ("", text),
            _ => ("", ""),
        };
        let found = match kind {
            "" | "^~" => path(text),
            "=" => {
                self.draft.changed(&origin, "takes the paths below it too");
                path(text)
            }
            "~" | "~*" => self.path_of_pattern(text, &origin),
            _ => None,
        };
        if found.is_none() {
            self.draft.not_translated(&origin, "only paths, and patterns that begin with one, can be routes");
        } else if matches!(kind, "" | "^~") && !text.ends_with('/') {
            self.draft
                .changed(&origin, format!("takes whole segments: {text} and {text}/x, but not {text}x"));
        }
        found
    }

    /// A pattern that is a path prefix in disguise: `^/socket\.io/`, or the `\.io` of many articles.
    fn path_of_pattern(&mut self, pattern: &str, origin: &Origin) -> Option<String> {
        let plain = pattern.trim_start_matches('^').trim_end_matches('$').trim_end_matches("(.*)");
        let plain = plain.trim_end_matches(".*").replace("\\.", ".").replace("\\/", "/").replace("\\-", "-");
        let is_plain = plain.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte));
        let unanchored = matches!(plain.as_str(), ".io" | ".io/" | "socket.io" | "socket.io/" | "/socket.io");
        if !is_plain {
            return None;
        }
        if unanchored && !pattern.starts_with("^/") {
            self.draft.changed(origin, "taken for /socket.io/, which it is there for");
            return Some("/socket.io/".to_owned());
        }
        if !pattern.starts_with('^') && !plain.starts_with('/') {
            return None;
        }
        self.draft.changed(origin, "a pattern became the path it begins with");
        path(&plain)
    }

    fn proxy_pass(&mut self, directive: &Directive) -> Option<(Goal, Option<String>)> {
        let origin = directive.origin();
        let text = directive.value();
        let (rest, tls) = match (text.strip_prefix("http://"), text.strip_prefix("https://")) {
            (Some(rest), _) => (rest, false),
            (_, Some(rest)) => (rest, true),
            _ => ("", false),
        };
        let (target, uri) = match rest.find('/') {
            Some(at) => (&rest[..at], Some(&rest[at..])),
            None => (rest, None),
        };
        if target.is_empty() || rest.contains('$') {
            self.draft.not_translated(&origin, "leads to an address that is not in the file");
            return None;
        }
        let replaced = match uri.map(path) {
            Some(None) => {
                self.draft.not_translated(&origin, "has a path that no route can put in place");
                return None;
            }
            other => other.flatten(),
        };
        let name = self.target(target, if tls { 443 } else { 80 }, &origin)?;
        let secure = tls.then(Keys::new);
        let upstream = self.draft.upstream(&name)?;
        if tls && upstream.tls.is_none() {
            upstream.tls = secure;
        }
        Some((Goal::Upstream(name), replaced))
    }

    /// The upstream of this name, or one made for this address.
    pub(super) fn target(&mut self, target: &str, port: u16, origin: &Origin) -> Option<String> {
        if self.draft.upstream(target).is_some() {
            return Some(target.to_owned());
        }
        let name = target.replace(['[', ']'], "").replace([':', '.'], "-");
        if self.draft.upstream(&name).is_some() {
            return Some(name);
        }
        let backend = self.resolver.backend(self.draft, (target, port), None, &Keys::new(), origin)?;
        let name = self.draft.free_name(&name);
        let mut upstream = Upstream::new(name.clone(), origin);
        upstream.add(backend);
        self.draft.upstreams.push(upstream);
        Some(name)
    }

    /// How the backends of an upstream behind `https://` are talked to. nginx verifies none unless it is told to.
    fn apply_tls(&mut self, name: &str, said: &Keys) {
        let Some(upstream) = self.draft.upstream(name) else { return };
        let origin = upstream.origin.clone();
        let Some(tls) = upstream.tls.as_mut().filter(|tls| tls.is_empty()) else { return };
        tls.extend(said.iter().map(|(key, said)| (*key, said.clone())));
        let verifies = tls.get("verify").is_some_and(|said| said.value == "true");
        if verifies {
            return;
        }
        tls.remove("ca");
        tls.insert("verify", Said { value: "false".to_owned(), origin: origin.clone() });
        self.draft.changed(
            &origin,
            "its certificates are not verified, as in nginx: better remove `verify = false`",
        );
    }

    /// `return CODE [TEXT or URL]`.
    fn reply(&mut self, directive: &Directive, server: &Server, is_tls: bool) -> Option<Goal> {
        let origin = directive.origin();
        let words: Vec<&str> = directive.words.iter().skip(1).map(String::as_str).collect();
        let (status, text) = match words[..] {
            [url] if url.parse::<u16>().is_err() => (302, url),
            [status] => (status.parse().unwrap_or(0), ""),
            [status, text, ..] => (status.parse().unwrap_or(0), text),
            [] => (0, ""),
        };
        let goal = match status {
            301 | 302 | 303 | 307 | 308 => {
                redirect(text, server, is_tls).map(|to| Goal::Redirect { to, status })
            }
            204 | 205 | 304 => Some(Goal::Respond { status, body: String::new() }),
            200..=599 if text.len() <= REPLY_BODY_BYTES_MAX && !text.contains('$') => {
                Some(Goal::Respond { status, body: text.to_owned() })
            }
            444 => None,
            _ => None,
        };
        if goal.is_none() {
            self.draft.not_translated(&origin, "is no redirect or response that a route can give");
        }
        goal
    }

    /// The `if` that certbot writes, and the one about plain HTTP; no other.
    fn condition(&mut self, directive: &Directive, server: &mut Server) {
        let words = directive.words[1..].join(" ");
        let condition = words.trim_start_matches('(').trim_end_matches(')').replace('"', "");
        let about_scheme = condition.starts_with("$scheme") || condition.starts_with("$host =");
        let https = block(directive).any(|inner| {
            let last = inner.words.iter().find(|word| word.starts_with("https://"));
            inner.name() == "return" && last.is_some_and(|to| is_https_of_all(to))
        });
        if about_scheme && https && !server.locations.iter().any(|location| location.path == "/") {
            let goal = Goal::Redirect { to: TO_HTTPS.to_owned(), status: 301 };
            server.locations.push(whole(goal, directive));
        } else if !(about_scheme && https) {
            self.left_over(directive);
        }
    }

    pub(super) fn request_field(&mut self, directive: &Directive, fields: &mut Fields) {
        let origin = directive.origin();
        let (name, value) = (directive.value(), directive.words.get(2).map_or("", String::as_str));
        let written = [
            "host",
            "upgrade",
            "connection",
            "x-real-ip",
            "x-forwarded-for",
            "x-forwarded-proto",
            "x-forwarded-host",
            "x-forwarded-port",
            "x-forwarded-server",
            "x-forwarded-ssl",
            "x-forwarded-scheme",
            "x-scheme",
        ];
        if written.contains(&name.to_ascii_lowercase().as_str()) {
            let why = "upgrades, the host and what backends learn about the client go on by themselves";
            self.draft.not_needed(&origin, why);
            return;
        }
        let outcome = match value {
            "" => fields.remove(name),
            _ if value.contains('$') => Err("values with variables".to_owned()),
            _ => fields.set(name, value),
        };
        if let Err(why) = outcome {
            self.draft.not_translated(&origin, why);
        }
    }

    pub(super) fn response_field(&mut self, directive: &Directive, fields: &mut Fields) {
        let (name, value) = (directive.value(), directive.words.get(2).map_or("", String::as_str));
        let outcome = if value.contains('$') {
            Err("values with variables".to_owned())
        } else {
            fields.add(name, value)
        };
        if let Err(why) = outcome {
            self.draft.not_translated(&directive.origin(), why);
        }
    }
}

/// All of a server.
fn whole(goal: Goal, directive: &Directive) -> Route {
    Route::new(None, "/", goal, &directive.origin())
}

fn is_https_of_all(to: &str) -> bool {
    let rest = to.strip_prefix("https://").unwrap_or_default();
    ["$host", "$http_host", "$server_name"].iter().any(|host| {
        rest.strip_prefix(host).is_some_and(|rest| matches!(rest, "$request_uri" | "$uri" | "/$1" | "$1"))
    })
}

/// nginx' variables as those of a redirect here.
fn redirect(text: &str, server: &Server, is_tls: bool) -> Option<String> {
    let text = match text.strip_prefix("$scheme://") {
        Some(rest) => format!("{}://{rest}", if is_tls { "https" } else { "http" }),
        None => text.to_owned(),
    };
    let (text, target) = match text.strip_suffix("$request_uri").or_else(|| text.strip_suffix("$uri")) {
        Some(before) => (before.to_owned(), "{target}"),
        None => (text, ""),
    };
    let own = server.names.iter().find(|name| !name.starts_with('*'));
    let text = text.replace("$http_host", "{host}").replace("$host", "{host}");
    let text = text.replace("$server_name", own.map_or("{host}", String::as_str)) + target;
    (!text.contains('$') && Location::parse(&text).is_ok()).then_some(text)
}

/// Whether a rewrite takes the location's path away: `rewrite ^/app/(.*)$ /$1 break`.
fn strips(directive: &Directive, path: &str) -> bool {
    let words: Vec<&str> = directive.words.iter().skip(1).map(String::as_str).collect();
    let [pattern, "/$1", ..] = words[..] else { return false };
    let plain = pattern.trim_start_matches('^').trim_end_matches('$').replace("\\.", ".");
    let rest = plain.strip_prefix(path.trim_end_matches('/'));
    rest.is_some_and(|rest| matches!(rest, "/(.*)" | "/?(.*)" | "/(.+)" | "(.*)"))
}

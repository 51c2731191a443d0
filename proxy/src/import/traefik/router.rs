//! Routers of HTTP: rules become routes, in the order in which Traefik tries them.

use std::net::SocketAddr;

use super::Import;
use super::entry_point::EntryPoint;
use super::middleware::Effect;
use super::rule::{Place, places};
use crate::import::draft::{Goal, Listener, Route};
use crate::import::report::Origin;
use crate::import::tree::Tree;

impl<'t> Import<'_, 't> {
    pub(super) fn routers(&mut self, entry_points: &[EntryPoint<'t>]) {
        let mut routers: Vec<(&str, &Tree)> = self.named(&["http", "routers"]).collect();
        // Traefik tries the highest priority first, which is the length of the rule where none is said.
        let priority = |part: &Tree| {
            let said = part.text(&["priority"]).and_then(|priority| priority.parse().ok());
            said.filter(|priority: &i64| *priority != 0).unwrap_or_else(|| {
                part.text(&["rule"]).map_or(0, |rule| i64::try_from(rule.len()).unwrap_or(i64::MAX))
            })
        };
        routers.sort_by_key(|(_, part)| std::cmp::Reverse(priority(part)));
        for (_, part) in routers {
            self.router(part, entry_points);
        }
        self.tell_what_reaches_further();
    }

    /// A route belongs to no listener here.
    fn tell_what_reaches_further(&mut self) {
        let serves = |listener: &&Listener| listener.serves_http && listener.https_redirect.is_none();
        let all: Vec<SocketAddr> =
            self.draft.listeners.iter().filter(serves).map(|listener| listener.address).collect();
        for (origin, here) in std::mem::take(&mut self.reach) {
            if all.iter().any(|address| !here.contains(address)) {
                self.draft.changed(&origin, "a route holds on all listeners that serve HTTP");
            }
        }
    }

    fn router(&mut self, part: &'t Tree, entry_points: &[EntryPoint<'t>]) {
        let said = part.get(&["rule"]);
        let origin = self.origin(said.unwrap_or(part));
        let places = match places(part.text(&["rule"]).unwrap_or_default()) {
            Ok(places) => places,
            Err(why) => {
                part.take_all();
                return self.draft.not_translated(&origin, why);
            }
        };
        let here = here(part, entry_points);
        let (has_tls, is_guarded) = self.tls_of(part);
        let mut names: Vec<&str> = here.iter().flat_map(|entry| entry.middlewares.iter().copied()).collect();
        names.extend(part.texts(&["middlewares"]));
        let mut effect = self.effect(&names);
        effect.is_guarded |= is_guarded;
        let plain: Vec<&&EntryPoint<'t>> = here.iter().filter(|entry| !entry.tls).collect();
        if effect.to_https && !has_tls && !plain.is_empty() {
            // Nothing is served to plain requests, so there is no route.
            _ = part.get(&["service"]);
            for entry in plain {
                let listener = self.draft.listener(entry.address, &origin);
                (listener.https_redirect, listener.serves_http) = (Some(origin.clone()), true);
            }
            if places.iter().any(|place| place.host.is_some() || place.path != "/") {
                self.draft.changed(&origin, "all plain requests of this listener go to https");
            }
            return;
        }
        for entry in &here {
            self.draft.listener(entry.address, &origin).serves_http = true;
        }
        self.reach.push((origin.clone(), here.iter().map(|entry| entry.address).collect()));
        self.routes(part, &places, &effect, &origin);
    }

    fn routes(&mut self, part: &Tree, places: &[Place], effect: &Effect, origin: &Origin) {
        let goal = if effect.is_guarded {
            _ = part.get(&["service"]);
            Goal::Respond { status: 403, body: String::new() }
        } else if part.text(&["service"]).is_some_and(|service| service.ends_with("@internal")) {
            return self.draft.not_needed(origin, "the status page is on `admin.address`");
        } else {
            let Some(upstream) = self.upstream_of("http", part, origin) else { return };
            Goal::Upstream(upstream)
        };
        for place in places {
            let mut route = Route::new(place.host.clone(), &place.path, goal.clone(), origin);
            if place.is_exact {
                self.draft.changed(origin, "takes the paths below it too");
            }
            if !effect.is_guarded {
                match effect.replaced(&place.path) {
                    Some(replaced) => route.replace_prefix = replaced,
                    None => self
                        .draft
                        .not_translated(origin, "its prefix is removed only where it is the route's path"),
                }
                route.request = effect.request.clone();
            }
            route.response = effect.response.clone();
            self.draft.routes.push(route);
        }
    }

    /// Whether a router is for TLS, and whether it wants certificates of clients that are not looked at here.
    fn tls_of(&mut self, part: &Tree) -> (bool, bool) {
        let Some(tls) = part.get(&["tls"]) else { return (false, false) };
        for key in ["certResolver", "domains"] {
            tls.get(&[key]).inspect(|said| said.take_all());
        }
        let Some(name) = tls.text(&["options"]).map(super::own_name).filter(|name| *name != "default") else {
            return (true, false);
        };
        let options = self.tree.get(&["tls", "options", name]);
        let origin = self.origin(options.unwrap_or(tls));
        self.draft
            .not_translated(&origin, "a listener has one policy for TLS: that of the options `default`");
        let asks = options.is_none_or(|options| options.get(&["clientAuth"]).is_some());
        options.inspect(|options| options.take_all());
        (true, asks)
    }
}

/// The entry points of a router: those it names, or all.
pub(super) fn here<'e, 't>(router: &Tree, all: &'e [EntryPoint<'t>]) -> Vec<&'e EntryPoint<'t>> {
    let named = router.texts(&["entryPoints"]);
    let is_for_tls = router.get(&["tls"]).is_some();
    let is_here = |entry: &&EntryPoint<'_>| {
        if named.is_empty() { entry.tls == is_for_tls || entry.tls } else { named.contains(&entry.name) }
    };
    all.iter().filter(is_here).collect()
}

//! The end of a draft: the order of rules becomes the most specific rule, and what leads nowhere goes.

use std::net::SocketAddr;

use super::{Backend, Draft, Goal, Listener, Route, Said};
use crate::config::bounds::{BACKENDS_MAX, CERTIFICATES_MAX, TRUSTED_PROXIES_MAX};
use crate::config::{Admin, listen_address};
use crate::import::report::{Origin, Report};
use crate::limits::IMPORT_ROUTES_MAX;

impl Draft {
    /// Takes out what cannot stand, and says so.
    ///
    /// # Errors
    /// Nothing is left that could be served.
    pub(in crate::import) fn finish(mut self, file: &str) -> Result<(Self, Report), String> {
        self.complete_upstreams();
        self.drop_empty_upstreams();
        self.order_routes();
        self.complete_listeners();
        self.tell_what_holds_everywhere();
        if self.upstreams.is_empty() {
            return Err(self.refusal(file, "has no server that could be translated"));
        }
        if self.listeners.is_empty() {
            return Err(self.refusal(file, "has no address to listen on that leads anywhere"));
        }
        let backends: usize = self.upstreams.iter().map(|upstream| upstream.backends.len()).sum();
        if backends > BACKENDS_MAX {
            return Err(format!("{file}: has more than {BACKENDS_MAX} servers in all"));
        }
        let report = Report::new(file, std::mem::take(&mut self.remarks));
        Ok((self, report))
    }

    fn refusal(&mut self, file: &str, why: &str) -> String {
        format!("{}\n{file}: {why}", Report::new(file, std::mem::take(&mut self.remarks)))
    }

    /// Backends that are found by name and speak TLS have to prove one name.
    fn complete_upstreams(&mut self) {
        let mut lost: Vec<Origin> = Vec::new();
        for upstream in &mut self.upstreams {
            let Some(tls) = &mut upstream.tls else { continue };
            let proves_nothing = tls.get("verify").is_some_and(|said| said.value == "false");
            if tls.contains_key("server_name") || proves_nothing {
                continue;
            }
            let named = |backend: &Backend| backend.address.parse::<SocketAddr>().is_err();
            let Some(first) = upstream.backends.iter().find(|backend| named(backend)).cloned() else {
                continue;
            };
            let host = |backend: &Backend| backend.address.rsplit_once(':').map(|(host, _)| host.to_owned());
            tls.insert("server_name", Said::text(&host(&first).unwrap_or_default(), &first.origin));
            let others = upstream.backends.extract_if(.., |backend| host(backend) != host(&first));
            lost.extend(others.map(|backend| backend.origin));
        }
        for origin in lost {
            let why =
                "backends of an upstream that speak TLS prove one name: give this one an upstream of its own";
            self.not_translated(&origin, why);
        }
    }

    fn drop_empty_upstreams(&mut self) {
        let (full, empty): (Vec<_>, Vec<_>) = std::mem::take(&mut self.upstreams)
            .into_iter()
            .partition(|upstream| !upstream.backends.is_empty());
        self.upstreams = full;
        for upstream in &empty {
            self.not_translated(&upstream.origin, "none of its servers could be translated");
        }
        let exists = |name: &str| self.upstreams.iter().any(|upstream| upstream.name == name);
        let mut lost: Vec<Origin> = Vec::new();
        self.routes.retain(|route| {
            let stands = !matches!(&route.goal, Goal::Upstream(name) if !exists(name));
            if !stands {
                lost.push(route.origin.clone());
            }
            stands
        });
        for listener in &mut self.listeners {
            for goal in [&mut listener.upstream, &mut listener.tcp_upstream] {
                lost.extend(goal.take_if(|(name, _)| !exists(name)).map(|(_, origin)| origin));
            }
            let gone = listener.sni.extract_if(.., |(_, upstream, _)| !exists(upstream));
            lost.extend(gone.map(|(_, _, origin)| origin));
            listener.sni.dedup_by(|later, first| later.0 == first.0);
        }
        for origin in lost {
            self.not_translated(&origin, "leads to servers that are not there");
        }
    }

    /// Where the first rule that fits is taken in the source, here the most specific one is.
    fn order_routes(&mut self) {
        let mut ordered: Vec<Route> = Vec::new();
        for route in std::mem::take(&mut self.routes) {
            let hides = |earlier: &Route| {
                earlier.is_same_place(&route) || (self.first_rule_wins && earlier.covers(&route))
            };
            if ordered.iter().any(hides) {
                self.not_translated(&route.origin, "an earlier rule takes all of these requests");
                continue;
            }
            // Earlier rules for more hosts and longer paths hold on this host too, whose own rules would hide them.
            let inherited: Vec<Route> = ordered
                .iter()
                .filter(|earlier| self.first_rule_wins && earlier.host != route.host)
                .filter(|earlier| earlier.host_covers(&route) && route.path_covers(earlier))
                .map(|earlier| Route { host: route.host.clone(), ..earlier.clone() })
                .collect();
            for route in inherited.into_iter().chain([route]) {
                if ordered.len() >= IMPORT_ROUTES_MAX {
                    self.not_translated(&route.origin, "there are too many routes");
                } else if !ordered.iter().any(|earlier| earlier.is_same_place(&route)) {
                    ordered.push(route);
                }
            }
        }
        self.routes = ordered;
    }

    fn complete_listeners(&mut self) {
        let admin = Admin::default().address;
        let spare = self.listeners.iter().find_map(|listener| listener.upstream.clone());
        let has_routes = !self.routes.is_empty();
        let mut kept = Vec::new();
        for mut listener in std::mem::take(&mut self.listeners) {
            let origin = listener.origin.clone();
            if listener.upstream.is_none() && !has_routes && listener.https_redirect.is_some() {
                // It redirects everything, but a listener has to lead somewhere.
                listener.upstream.clone_from(&spare);
            }
            if listener.upstream.is_none() && !has_routes {
                listener.serves_http = false;
            }
            if let Err(why) = listener.check(has_routes) {
                self.not_translated(&origin, why);
            } else if listener.address == admin {
                self.not_translated(&origin, "here Ringbolt serves metrics; choose another port for either");
            } else {
                if let Some(origin) = listener.proxy_protocol.take_if(|_| listener.trusted_proxies.is_empty())
                {
                    let why = "name the balancers in front in `trusted_proxies`; headers of others are not believed";
                    self.not_translated(&origin, why);
                }
                if listener.trusted_proxies.len() > TRUSTED_PROXIES_MAX {
                    listener.trusted_proxies.truncate(TRUSTED_PROXIES_MAX);
                    self.not_translated(&origin, "has too many trusted proxies");
                }
                self.complete_tls(&mut listener);
                kept.push(listener);
            }
        }
        self.listeners = kept;
    }

    /// A route belongs to no listener here.
    fn tell_what_holds_everywhere(&mut self) {
        let is_http = |listener: &&Listener| listener.serves_http && listener.https_redirect.is_none();
        let mut rests: Vec<_> = self
            .listeners
            .iter()
            .filter(is_http)
            .map(|listener| listener.upstream.as_ref().map(|(name, _)| name))
            .collect();
        rests.sort_unstable();
        rests.dedup();
        if rests.len() < 2 {
            return;
        }
        let everywhere = self.routes.iter().filter(|route| route.host.is_none());
        for origin in everywhere.map(|route| route.origin.clone()).collect::<Vec<_>>() {
            self.changed(&origin, "a route without a host holds on all listeners");
        }
    }

    fn complete_tls(&mut self, listener: &mut Listener) {
        let Some(tls) = &mut listener.tls else { return };
        if tls.certificates.len() > CERTIFICATES_MAX {
            tls.certificates.truncate(CERTIFICATES_MAX);
            self.remark(
                crate::import::report::Outcome::NotTranslated,
                &listener.origin,
                "has too many certificates: put them into a `folder`",
            );
        }
        match (tls.keys.contains_key("client_auth"), tls.keys.contains_key("client_ca")) {
            (false, true) => _ = tls.keys.remove("client_ca"),
            (true, false) => {
                // Without it the listener would let in whom the source keeps out, so it does not serve at all.
                tls.keys.insert("client_ca", Said::text("missing-client-ca.pem", &listener.origin));
            }
            _ => {}
        }
    }
}

impl Listener {
    fn check(&self, has_routes: bool) -> Result<(), &'static str> {
        if listen_address(&self.address.to_string()).is_err() {
            return Err("is no address to listen on");
        }
        let leads =
            self.upstream.is_some() || self.tcp_upstream.is_some() || (has_routes && self.serves_http);
        if !leads {
            return Err("leads to nothing that could be translated");
        }
        if self.tls.is_some() && !self.serves_http && self.tcp_upstream.is_none() {
            return Err("is for TLS, and what it carries leads to nothing that could be translated");
        }
        let has_certificate =
            |tls: &super::Tls| !tls.certificates.is_empty() || tls.keys.contains_key("folder");
        if !self.tls.as_ref().is_none_or(has_certificate) {
            return Err("is for TLS, and no certificate could be translated");
        }
        Ok(())
    }
}

impl Route {
    fn prefix(&self) -> &str {
        self.path.trim_end_matches('/')
    }

    fn is_same_place(&self, other: &Self) -> bool {
        self.host == other.host && self.prefix() == other.prefix()
    }

    /// Whether all paths of the other are paths of this one too.
    fn path_covers(&self, other: &Self) -> bool {
        other
            .prefix()
            .strip_prefix(self.prefix())
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    fn host_covers(&self, other: &Self) -> bool {
        match (self.host.as_deref(), other.host.as_deref()) {
            (None, _) => true,
            (Some(this), Some(other)) if this == other => true,
            (Some(this), Some(other)) => this.strip_prefix('*').is_some_and(|tail| other.ends_with(tail)),
            (Some(_), None) => false,
        }
    }

    fn covers(&self, other: &Self) -> bool {
        self.host_covers(other) && self.path_covers(other)
    }
}

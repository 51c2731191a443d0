//! Services: load balancers and their servers.
//!
//! tidy: allow sticky, the name of one of Traefik's keys

use super::{Import, duration};
use crate::config::bounds::{TIMEOUT_MAX, WEIGHT};
use crate::import::SID_BINDS;
use crate::import::draft::{Keys, Said, Upstream, host, path};
use crate::import::report::Origin;
use crate::import::tree::{Tree, Value};

impl<'t> Import<'_, 't> {
    pub(super) fn services(&mut self) {
        for kind in ["http", "tcp"] {
            for (name, part) in self.named(&[kind, "services"]) {
                self.service(kind, name, part);
            }
        }
    }

    fn service(&mut self, kind: &'static str, name: &'t str, part: &'t Tree) {
        let origin = self.origin(part);
        let Some(balancer) = part.get(&["loadBalancer"]) else {
            part.take_all();
            self.draft.not_translated(&origin, "only load balancers that have servers become upstreams");
            return;
        };
        let mut upstream = Upstream::new(self.draft.free_name(name), &origin);
        for server in servers(balancer) {
            self.server(server, &mut upstream);
        }
        if let Some(part) = balancer.get(&["sticky"]) {
            part.take_all();
            self.draft.not_needed(&self.origin(part), SID_BINDS);
        }
        if let Some(part) = balancer.get(&["strategy"]) {
            match balancer.text(&["strategy"]) {
                Some("p2c") => {
                    _ = upstream.keys.insert("balance", Said::text("random-two", &self.origin(part)))
                }
                Some("wrr") => {}
                _ => self.draft.not_translated(&self.origin(part), "is no `balance` of an upstream"),
            }
        }
        if let Some(part) = balancer.get(&["passHostHeader"]) {
            let origin = self.origin(part);
            match balancer.is_true(&["passHostHeader"]) {
                true => self.draft.not_needed(&origin, "backends always see the client's host"),
                false => self.draft.not_translated(&origin, "backends always see the client's host"),
            }
        }
        if let Some(part) = balancer.get(&["responseForwarding"]) {
            part.take_all();
            self.draft.not_needed(&self.origin(part), "nothing is buffered: bytes go on as they come");
        }
        self.health(balancer, &mut upstream);
        self.transport(balancer, &mut upstream);
        self.upstreams.insert((kind, name), upstream.name.clone());
        self.draft.upstreams.push(upstream);
    }

    fn server(&mut self, server: &Tree, upstream: &mut Upstream) {
        let said = server.get(&["url"]).or_else(|| server.get(&["address"]));
        let origin = self.origin(said.unwrap_or(server));
        let url = server.text(&["url"]).or_else(|| server.text(&["address"])).unwrap_or_default();
        let (address, port) = match url.split_once("://") {
            Some(("https", rest)) => {
                upstream.tls.get_or_insert_default();
                (rest, 443)
            }
            Some(("http", rest)) => (rest, 80),
            Some(_) => return self.draft.not_translated(&origin, "backends are spoken to in HTTP/1.1"),
            None => (url, 0),
        };
        let mut keys = Keys::new();
        if let Some(part) = server.get(&["weight"]) {
            match server.text(&["weight"]).and_then(|weight| weight.parse::<u32>().ok()) {
                Some(weight) if WEIGHT.contains(&weight) => {
                    keys.insert("weight", Said::number(weight, &self.origin(part)));
                }
                _ => self.draft.not_translated(&self.origin(part), "is no weight"),
            }
        }
        let address = address.strip_suffix('/').unwrap_or(address);
        let backend = self.resolver.backend(self.draft, (address, port), None, &keys, &origin);
        backend.into_iter().for_each(|backend| upstream.add(backend));
    }

    fn health(&mut self, balancer: &Tree, upstream: &mut Upstream) {
        let Some(check) = balancer.get(&["healthCheck"]) else { return };
        let origin = self.origin(check);
        let Some(asked) = check.text(&["path"]).and_then(path) else {
            check.take_all();
            return self.draft.not_translated(&origin, "a check asks for a path without a query");
        };
        upstream.health.insert("check", Said::text("http", &origin));
        upstream.health.insert("path", Said::text(&asked, &origin));
        for key in ["interval", "timeout"] {
            let time = check.text(&[key]).and_then(duration).filter(|time| !time.is_zero());
            if let Some(time) = time {
                upstream.health.insert(key, Said::duration(time.min(TIMEOUT_MAX), &origin));
            }
        }
        if let Some(name) = check.text(&["hostname"]).and_then(host) {
            upstream.health.insert("host", Said::text(&name, &origin));
        }
        if let Some(status) = check.text(&["status"]).filter(|status| is_status(status)) {
            upstream.health.insert("status", Said::text(status, &origin));
        }
    }

    /// How servers with TLS are talked to.
    fn transport(&mut self, balancer: &Tree, upstream: &mut Upstream) {
        let Some(name) = balancer.text(&["serversTransport"]).map(super::own_name) else { return };
        let Some(transport) = self.tree.get(&["http", "serversTransports", name]) else { return };
        let origin = self.origin(transport);
        let Some(tls) = &mut upstream.tls else { return };
        if let Some(name) = transport.text(&["serverName"]).filter(|name| host(name).is_some()) {
            tls.insert("server_name", Said::text(name, &origin));
        }
        if transport.is_true(&["insecureSkipVerify"]) {
            tls.insert("verify", Said { value: "false".to_owned(), origin: origin.clone() });
            let why = "its certificates are not verified, as in Traefik: better remove `verify = false`";
            self.draft.changed(&origin, why);
        } else if let [file] = transport.texts(&["rootCAs"])[..] {
            tls.insert("ca", Said::text(file, &origin));
        }
    }

    /// The upstream of a service that a router names. Says why there is none.
    pub(super) fn upstream_of(
        &mut self,
        kind: &'static str,
        router: &Tree,
        origin: &Origin,
    ) -> Option<String> {
        let name = router.text(&["service"]).map(super::own_name).unwrap_or_default();
        let found =
            self.upstreams.iter().find(|((of, known), _)| *of == kind && known.eq_ignore_ascii_case(name));
        if found.is_none() {
            self.draft.not_translated(origin, "leads to a service that this file has no servers for");
        }
        found.map(|(_, upstream)| upstream.clone())
    }
}

/// A list of servers, or a table of them as labels make it.
fn servers(balancer: &Tree) -> Vec<&Tree> {
    match balancer.get(&["servers"]) {
        None => Vec::new(),
        Some(part) if matches!(part.value, Value::Table(_)) => part.entries().map(|(_, part)| part).collect(),
        Some(part) => part.list().iter().collect(),
    }
}

fn is_status(text: &str) -> bool {
    text.parse().is_ok_and(|status: u16| (100..=599).contains(&status))
}

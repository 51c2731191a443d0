//! Servers become listeners and routes.
//!
//! In nginx a server belongs to its addresses, and among those to its names; here routes hold on all listeners. What is
//! lost by that is said.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::Import;
use super::location::TO_HTTPS;
use super::server::{Listen, Server};
use crate::import::draft::{Fields, Goal, Route};

impl Import<'_, '_> {
    pub(super) fn place_servers(&mut self, servers: Vec<Server>) {
        for server in &servers {
            self.bind(server);
        }
        let defaults = defaults(&servers);
        self.redirects_to_https(&servers);
        let mut any_host_is_taken = false;
        for (index, mut server) in servers.into_iter().enumerate() {
            if server.only_adds_tls() {
                continue;
            }
            let (first, rest): (Vec<Listen>, Vec<Listen>) =
                server.listens.drain(..).partition(|listen| defaults.get(&listen.address) == Some(&index));
            let takes_any_host = !first.is_empty() && rest.is_empty() && !any_host_is_taken;
            any_host_is_taken |= takes_any_host;
            let mut hosts: Vec<Option<String>> = server.names.iter().cloned().map(Some).collect();
            if takes_any_host || (hosts.is_empty() && !first.is_empty()) {
                hosts = vec![None];
            }
            if hosts.is_empty() {
                self.draft.not_translated(&server.origin, "has no name, and another server comes first");
                continue;
            }
            self.place(server, &hosts, &first, !rest.is_empty());
        }
    }

    /// The addresses of a server, and what it says about them.
    fn bind(&mut self, server: &Server) {
        for listen in &server.listens {
            let listener = self.draft.listener(listen.address, &listen.origin);
            if listen.tls {
                listener.tls.get_or_insert_default().merge(server.shared.certificates());
            }
            if listen.proxy_protocol {
                listener.proxy_protocol = Some(listen.origin.clone());
            }
            for proxy in &server.shared.trusted_proxies {
                if !listener.trusted_proxies.iter().any(|known| known.0 == proxy.0) {
                    listener.trusted_proxies.push(proxy.clone());
                }
            }
        }
    }

    /// Addresses where every server sends its clients to TLS.
    fn redirects_to_https(&mut self, servers: &[Server]) {
        for server in servers.iter().filter(|server| server.only_adds_tls()) {
            for listen in &server.listens {
                let listens = |other: &&Server| other.listens.iter().any(|of| of.address == listen.address);
                if servers.iter().filter(listens).all(Server::only_adds_tls) {
                    let origin = server.locations[0].origin.clone();
                    self.draft.listener(listen.address, &listen.origin).https_redirect.get_or_insert(origin);
                } else {
                    let why =
                        "other servers of this address do not: `https_redirect` holds for all of a listener";
                    self.draft.not_translated(&server.origin, why);
                }
            }
            for location in server.locations.iter().skip(1) {
                self.draft.not_translated(&location.origin, "this listener sends everything to https");
            }
        }
    }

    fn place(
        &mut self,
        server: Server,
        hosts: &[Option<String>],
        first: &[Listen],
        is_second_somewhere: bool,
    ) {
        let mut has_rest = false;
        let mut paths: Vec<String> = Vec::new();
        for location in server.locations {
            if paths.contains(&location.path) {
                continue;
            }
            paths.push(location.path.clone());
            has_rest |= location.path == "/";
            if let Some(name) = plain_rest(&location) {
                for listen in first {
                    let listener = self.draft.listener(listen.address, &listen.origin);
                    listener.upstream.get_or_insert((name.clone(), location.origin.clone()));
                }
                if !is_second_somewhere && !first.is_empty() {
                    continue;
                }
            }
            self.routes(&location, hosts);
        }
        if !has_rest && first.is_empty() {
            // Or another server's rules for any host would take them.
            for host in hosts {
                let goal = Goal::Respond { status: 404, body: String::new() };
                self.draft.routes.push(Route::new(host.clone(), "/", goal, &server.origin));
            }
        }
    }

    fn routes(&mut self, location: &Route, hosts: &[Option<String>]) {
        let of = |host: &Option<String>| Route { host: host.clone(), ..location.clone() };
        self.draft.routes.extend(hosts.iter().map(of));
    }
}

/// The upstream of what no other location takes, if nothing else is to be done.
fn plain_rest(location: &Route) -> Option<&String> {
    let Goal::Upstream(name) = &location.goal else { return None };
    let is_plain = location.replace_prefix.is_none()
        && [&location.request, &location.response].map(Fields::is_empty) == [true; 2];
    (location.path == "/" && is_plain).then_some(name)
}

impl Server {
    /// Whether it is there to send clients to the same address behind `https`.
    fn only_adds_tls(&self) -> bool {
        let Some(Route { goal: Goal::Redirect { to, .. }, path, .. }) = self.locations.first() else {
            return false;
        };
        let own = |name: &String| *to == format!("https://{name}{{target}}");
        path == "/"
            && (to == TO_HTTPS || self.names.iter().any(own))
            && !self.listens.iter().any(|listen| listen.tls)
    }
}

/// The server of each address that takes what no name takes, by its index.
fn defaults(servers: &[Server]) -> BTreeMap<SocketAddr, usize> {
    let mut found: BTreeMap<SocketAddr, (usize, bool)> = BTreeMap::new();
    for (index, server) in servers.iter().enumerate() {
        for listen in &server.listens {
            let entry = found.entry(listen.address).or_insert((index, listen.is_default));
            if listen.is_default && !entry.1 {
                *entry = (index, true);
            }
        }
    }
    found.into_iter().map(|(address, (index, _))| (address, index)).collect()
}

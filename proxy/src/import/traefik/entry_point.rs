//! Entry points: where Traefik listens. They stand in its static file, which may be another one.

use std::net::{Ipv4Addr, SocketAddr};

use super::{Import, duration};
use crate::config::Network;
use crate::config::bounds::TIMEOUT_MAX;
use crate::import::addresses::listen_address;
use crate::import::draft::Tls;
use crate::import::report::Origin;
use crate::import::tree::Tree;

/// Where the entry points of nearly all articles listen, and whether they are for TLS.
const CUSTOMARY: [(&str, u16); 2] = [("web", 80), ("websecure", 443)];

const HTTP_PORT: u16 = 80;

#[derive(Debug)]
pub(super) struct EntryPoint<'t> {
    pub(super) name: &'t str,
    pub(super) address: SocketAddr,
    pub(super) tls: bool,
    /// Those of all its routers.
    pub(super) middlewares: Vec<&'t str>,
}

impl<'t> Import<'_, 't> {
    pub(super) fn entry_points(&mut self) -> Vec<EntryPoint<'t>> {
        let mut found = Vec::new();
        for (name, part) in self.named(&["entryPoints"]) {
            found.extend(self.entry_point(name, part));
        }
        if found.is_empty() {
            found = self.customary();
        }
        found
    }

    fn entry_point(&mut self, name: &'t str, part: &'t Tree) -> Option<EntryPoint<'t>> {
        let origin = self.origin(part);
        let text = part.text(&["address"]).unwrap_or_default();
        let address = listen_address(text.strip_suffix("/tcp").unwrap_or(text), 0);
        let Some(address) = address.filter(|address| address.port() != 0) else {
            self.draft.not_translated(&origin, "is no IP address and port for TCP");
            return None;
        };
        let middlewares = part.texts(&["http", "middlewares"]);
        let tls = part.get(&["http", "tls"]).inspect(|tls| tls.take_all()).is_some();
        let tls = tls || self.has_tls_routers(name, address);
        let redirection = part.get(&["http", "redirections", "entryPoint"]);
        let redirects =
            redirection.is_some_and(|to| to.text(&["scheme"]).is_none_or(|scheme| scheme == "https"));
        if let Some(redirection) = redirection.filter(|_| redirects && !tls) {
            redirection.take_all();
            self.draft.listener(address, &origin).https_redirect = Some(self.origin(redirection));
        }
        for key in ["http2", "http3"] {
            if let Some(part) = part.get(&[key]) {
                part.take_all();
                self.draft.changed(&self.origin(part), "clients are spoken to in HTTP/1.1");
            }
        }
        if let Some(idle) = part.get(&["transport", "respondingTimeouts", "idleTimeout"])
            && let Some(time) =
                part.text(&["transport", "respondingTimeouts", "idleTimeout"]).and_then(duration)
            && !time.is_zero()
        {
            self.draft.timeout("keep_alive", time.min(TIMEOUT_MAX), &self.origin(idle));
        }
        for key in ["readTimeout", "writeTimeout"] {
            if let Some(part) = part.get(&["transport", "respondingTimeouts", key]) {
                let why = "each phase has its own in `[timeouts]`, and none ends a WebSocket or a held poll";
                self.draft.not_needed(&self.origin(part), why);
            }
        }
        self.listener(address, tls, &origin);
        self.draft.listener(address, &origin).serves_http = redirects && !tls;
        self.proxies(address, part);
        Some(EntryPoint { name, address, tls, middlewares })
    }

    /// Whose word about clients is believed, and who sends PROXY headers.
    fn proxies(&mut self, address: SocketAddr, part: &Tree) {
        for (key, is_protocol) in [("forwardedHeaders", false), ("proxyProtocol", true)] {
            let Some(said) = part.get(&[key, "trustedIPs"]) else { continue };
            let origin = self.origin(said);
            for network in part.texts(&[key, "trustedIPs"]) {
                if network.parse::<Network>().is_ok() {
                    let listener = self.draft.listener(address, &origin);
                    listener.trusted_proxies.push((network.to_owned(), origin.clone()));
                } else {
                    self.draft.not_translated(&origin, "is no network");
                }
            }
            if is_protocol {
                self.draft.listener(address, &origin).proxy_protocol = Some(origin.clone());
            }
        }
    }

    fn listener(&mut self, address: SocketAddr, tls: bool, origin: &Origin) {
        let listener = self.draft.listener(address, origin);
        // Until a router for HTTP comes here.
        listener.serves_http = false;
        if tls {
            listener.tls.get_or_insert_with(Tls::default);
        }
    }

    /// A router with `tls` that names this entry point, or none, makes it one for TLS.
    fn has_tls_routers(&self, name: &str, address: SocketAddr) -> bool {
        let mut routers = self.named(&["http", "routers"]);
        routers.any(|(_, router)| {
            let named = router.texts(&["entryPoints"]);
            let is_here = if named.is_empty() { address.port() != HTTP_PORT } else { named.contains(&name) };
            is_here && router.get(&["tls"]).is_some()
        })
    }

    /// The entry points that routers name, where the file does not say where they are.
    fn customary(&mut self) -> Vec<EntryPoint<'t>> {
        let routers: Vec<(&str, &Tree)> =
            [["http", "routers"], ["tcp", "routers"]].iter().flat_map(|keys| self.named(keys)).collect();
        let mut names: Vec<(&'t str, Origin)> = Vec::new();
        for (_, router) in &routers {
            let origin = self.origin(router.get(&["entryPoints"]).unwrap_or(router));
            let named = router.texts(&["entryPoints"]);
            let by_default = if router.get(&["tls"]).is_some() { "websecure" } else { "web" };
            for name in if named.is_empty() { vec![by_default] } else { named } {
                if !names.iter().any(|(known, _)| *known == name) {
                    names.push((name, origin.clone()));
                }
            }
        }
        let mut found = Vec::new();
        for (name, origin) in names {
            let Some((_, port)) = CUSTOMARY.iter().find(|(known, _)| *known == name) else {
                let why = "where this entry point listens is not in this file: put `entryPoints` into it";
                self.draft.not_translated(&origin, why);
                continue;
            };
            let address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, *port));
            let tls = self.has_tls_routers(name, address);
            let why = format!(
                "`{name}` is taken to be port {port}; put `entryPoints` into this file to say another"
            );
            self.draft.changed(&origin, why);
            self.listener(address, tls, &origin);
            found.push(EntryPoint { name, address, tls, middlewares: Vec::new() });
        }
        found
    }
}

//! `server`: where it listens, what it is called, and what stands in it for all its locations.

use std::net::{Ipv4Addr, SocketAddr};

use super::{Import, block};
use crate::config::bounds::TRUSTED_PROXIES_MAX;
use crate::import::addresses::listen_address;
use crate::import::draft::{Fields, Keys, Route, Said, Tls, host};
use crate::import::report::Origin;
use crate::import::words::Directive;

/// What is said in `http` or `server` for everything within.
#[derive(Clone, Default)]
pub(super) struct Shared {
    pub(super) request: Fields,
    pub(super) response: Fields,
    pub(super) tls: Tls,
    pub(super) trusted_proxies: Vec<(String, Origin)>,
    /// How backends behind `https://` are talked to.
    pub(super) upstream_tls: Keys,
    /// Who may ask is bounded in a way that cannot be said here.
    pub(super) guard: Option<Origin>,
    /// A certificate whose key has not been read yet.
    certificate: Option<(String, Origin)>,
}

pub(super) struct Server {
    pub(super) origin: Origin,
    pub(super) listens: Vec<Listen>,
    /// Names and wildcards; none where it takes every name.
    pub(super) names: Vec<String>,
    pub(super) locations: Vec<Route>,
    pub(super) shared: Shared,
}

#[derive(Clone)]
pub(super) struct Listen {
    pub(super) address: SocketAddr,
    pub(super) tls: bool,
    pub(super) is_default: bool,
    pub(super) proxy_protocol: bool,
    pub(super) origin: Origin,
}

impl Import<'_, '_> {
    pub(super) fn read_server(&mut self, directive: &Directive, outer: &Shared) -> Server {
        let mut server = Server {
            origin: directive.origin(),
            listens: Vec::new(),
            names: Vec::new(),
            locations: Vec::new(),
            shared: inherited(outer, directive),
        };
        let mut all_tls = false;
        for inner in block(directive) {
            match inner.name() {
                "listen" => server.listens.extend(self.listen(inner)),
                "server_name" => self.server_names(inner, &mut server.names),
                "ssl" => all_tls = inner.value() == "on",
                "location" | "return" | "if" | "rewrite" | "proxy_pass" => {}
                _ => self.of_servers(inner, &mut server.shared),
            }
        }
        if server.listens.is_empty() {
            let address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 80));
            let origin = server.origin.clone();
            let listen = Listen { address, tls: false, is_default: false, proxy_protocol: false, origin };
            server.listens.push(listen);
        }
        server.listens.iter_mut().for_each(|listen| listen.tls |= all_tls);
        self.locations(directive, &mut server);
        server
    }

    /// A directive that means the same in `http` and `server`, and often in `location`.
    pub(super) fn of_servers(&mut self, directive: &Directive, shared: &mut Shared) {
        let origin = directive.origin();
        let value = directive.value();
        match directive.name() {
            "proxy_set_header" => self.request_field(directive, &mut shared.request),
            "add_header" => self.response_field(directive, &mut shared.response),
            "proxy_hide_header" => {
                if let Err(why) = shared.response.remove(value) {
                    self.draft.not_translated(&origin, why);
                }
            }
            "set_real_ip_from" if value.parse::<crate::config::Network>().is_ok() => {
                if shared.trusted_proxies.len() < TRUSTED_PROXIES_MAX {
                    shared.trusted_proxies.push((value.to_owned(), origin));
                }
            }
            // What others do not bound.
            "allow" | "auth_basic" if matches!(value, "all" | "off") => {}
            "allow" | "deny" | "auth_basic" | "auth_basic_user_file" | "auth_request" | "satisfy" => {
                self.draft
                    .not_translated(&origin, "there is no access control: what it guards is answered 403");
                shared.guard = Some(origin);
            }
            "real_ip_header" if matches!(value, "X-Forwarded-For" | "proxy_protocol") => {
                self.draft.not_needed(&origin, "the client is found through `trusted_proxies`");
            }
            name if name.starts_with("ssl_") => self.tls(directive, shared),
            name if name.starts_with("proxy_ssl_") => self.upstream_tls(directive, shared),
            _ if self.of_process(directive) => {}
            _ => self.left_over(directive),
        }
    }

    fn listen(&mut self, directive: &Directive) -> Option<Listen> {
        let origin = directive.origin();
        let Some(address) = listen_address(directive.value(), 80) else {
            self.draft.not_translated(&origin, "is no IP address and port");
            return None;
        };
        let has = |word: &str| directive.words.iter().skip(2).any(|parameter| parameter == word);
        if has("http2") || has("quic") {
            let whole = Origin { text: format!("{} (http2, quic)", origin.text), ..origin.clone() };
            self.draft.changed(&whole, "clients are spoken to in HTTP/1.1");
        }
        Some(Listen {
            address,
            tls: has("ssl"),
            is_default: has("default_server") || has("default"),
            proxy_protocol: has("proxy_protocol"),
            origin,
        })
    }

    fn server_names(&mut self, directive: &Directive, names: &mut Vec<String>) {
        for name in directive.words.iter().skip(1) {
            // `.example.com` is `example.com` and `*.example.com`.
            let both = name.strip_prefix('.').map(|name| [name.to_owned(), format!("*.{name}")]);
            let all = both.map_or_else(|| vec![name.clone()], |both| both.to_vec());
            for name in all {
                match host(&name) {
                    // An invalid name that is used to say "every name".
                    _ if matches!(name.as_str(), "_" | "" | "$hostname" | "localhost") => {}
                    Some(host) => names.push(host),
                    None => {
                        let why = "a host is a name or \"*.\" and a name";
                        self.draft.not_translated(&directive.origin(), why);
                    }
                }
            }
        }
    }

    fn tls(&mut self, directive: &Directive, shared: &mut Shared) {
        let origin = directive.origin();
        let value = directive.value().to_owned();
        let keys = &mut shared.tls.keys;
        match directive.name() {
            "ssl_certificate" => {
                if let Some((certificate, origin)) = shared.certificate.replace((value, origin)) {
                    shared.tls.certificates.push((certificate, None, origin));
                }
            }
            "ssl_certificate_key" => match shared.certificate.take() {
                Some((certificate, origin)) => {
                    shared.tls.certificates.push((certificate, Some(value), origin))
                }
                None => self.draft.not_translated(&origin, "stands before its certificate"),
            },
            "ssl_protocols" => {
                let has = |version: &str| directive.words.iter().any(|word| word == version);
                let older = has("TLSv1") || has("TLSv1.1") || has("SSLv3");
                if older {
                    self.draft.changed(&origin, "TLS 1.2 is the oldest");
                }
                match (older || has("TLSv1.2"), has("TLSv1.3")) {
                    (false, true) => _ = keys.insert("min_version", Said::text("1.3", &origin)),
                    (true, false) => _ = keys.insert("max_version", Said::text("1.2", &origin)),
                    _ => {}
                }
            }
            "ssl_client_certificate" => _ = keys.insert("client_ca", Said::text(&value, &origin)),
            "ssl_verify_client" => match value.as_str() {
                "on" => _ = keys.insert("client_auth", Said::text("required", &origin)),
                "optional" => _ = keys.insert("client_auth", Said::text("optional", &origin)),
                "off" => {}
                _ => self.draft.not_translated(&origin, "a client certificate is required, optional or off"),
            },
            _ => self.left_over(directive),
        }
    }

    fn upstream_tls(&mut self, directive: &Directive, shared: &mut Shared) {
        let origin = directive.origin();
        let value = directive.value();
        let mut insert = |key, said| _ = shared.upstream_tls.insert(key, said);
        match directive.name() {
            "proxy_ssl_verify" => insert("verify", Said { value: (value == "on").to_string(), origin }),
            "proxy_ssl_trusted_certificate" => insert("ca", Said::text(value, &origin)),
            "proxy_ssl_name" if host(value).is_some() => insert("server_name", Said::text(value, &origin)),
            "proxy_ssl_server_name" | "proxy_ssl_session_reuse" | "proxy_ssl_protocols" => {
                self.draft.not_needed(&origin, "names are sent and sessions resumed; TLS 1.2 is the oldest");
            }
            _ => self.draft.not_translated(&origin, "see `tls` of an upstream"),
        }
    }
}

impl Shared {
    /// The certificates, one without a key of its own included.
    pub(super) fn certificates(&self) -> Tls {
        let mut tls = self.tls.clone();
        let rest = self.certificate.clone().map(|(certificate, origin)| (certificate, None, origin));
        tls.certificates.extend(rest);
        tls
    }
}

/// What a block starts with: fields only where it says none of its own, as in nginx.
pub(super) fn inherited(outer: &Shared, directive: &Directive) -> Shared {
    let mut shared = outer.clone();
    let says = |name: &str| block(directive).any(|inner| inner.name() == name);
    if says("proxy_set_header") {
        shared.request = Fields::default();
    }
    if says("add_header") {
        shared.response = Fields::default();
    }
    if says("ssl_certificate") {
        shared.certificate = None;
        shared.tls.certificates.clear();
    }
    shared
}

//! stunnel.conf: global options, and services that open or close TLS.
//!
//! What a service's TLS carries is not known to stunnel. Here HTTP is served as such, so that sessions are bound, and all
//! else goes on as it comes.

use std::net::Ipv4Addr;

use super::addresses::Resolver;
use super::addresses::listen_address;
use super::draft::{Draft, Keys, Said, Upstream, host};
use super::report::Origin;
use super::words::SyntaxError;
use crate::limits::IMPORT_DIRECTIVES_MAX;

const NOT_NEEDED: &[(&[&str], &str)] = &[
    (
        &["setuid", "setgid", "chroot", "pid", "foreground", "syslog", "output", "log"],
        "the service manager runs it and keeps its log",
    ),
    (
        &[
            "debug",
            "options",
            "socket",
            "sessioncachesize",
            "sessioncachetimeout",
            "session",
            "renegotiation",
            "reset",
            "ticketkeysecret",
            "ticketmacsecret",
            "curve",
            "curves",
            "fips",
            "engine",
            "compression",
            "rngseed",
            "eku",
            "securitylevel",
            "verifydepth",
            "verifydepth",
            "retry",
            "logid",
        ],
        "has a safe default or no meaning here",
    ),
    (&["timeoutclose", "timeoutbusy"], "is bounded"),
    (&["timeoutidle"], "no timeout ends a live tunnel; `timeouts.tunnel_idle` does where it is wanted"),
    (&["delay"], "names are looked up while it serves"),
    (&["local", "transparent"], "backends are connected to from the machine's own address"),
    (&["xforwardedfor"], "backends always learn the client's address"),
];

/// `key = value` of a service, in the order of the file.
struct Service {
    origin: Origin,
    options: Vec<(String, String, Origin)>,
}

impl Service {
    fn find(&self, name: &str) -> Option<(&str, &Origin)> {
        let found = self.options.iter().rev().find(|(key, ..)| key == name);
        found.map(|(_, value, origin)| (value.as_str(), origin))
    }

    fn all<'s>(&'s self, name: &'static str) -> impl Iterator<Item = (&'s str, &'s Origin)> {
        let named = self.options.iter().filter(move |(key, ..)| key == name);
        named.map(|(_, value, origin)| (value.as_str(), origin))
    }
}

pub(super) fn translate(text: &str, resolver: &Resolver, draft: &mut Draft) -> Result<(), SyntaxError> {
    let services = services(text)?;
    let (global, own) = services.split_at(1);
    for service in own {
        // What stands before the first service holds for all.
        let mut whole: Vec<(String, String, Origin)> = global[0].options.clone();
        whole.extend(service.options.iter().cloned());
        let whole = Service { origin: service.origin.clone(), options: whole };
        one(&whole, resolver, draft);
    }
    Ok(())
}

/// The options before the first service, then the services.
fn services(text: &str) -> Result<Vec<Service>, SyntaxError> {
    let nowhere = Origin { line: 1, text: String::new() };
    let mut services = vec![Service { origin: nowhere, options: Vec::new() }];
    for (index, line) in text.lines().enumerate() {
        let at = index + 1;
        if at > IMPORT_DIRECTIVES_MAX {
            return Err(SyntaxError { line: at, problem: "more lines than any configuration has" });
        }
        let line = line.trim();
        let origin = Origin::new(at, &[line.to_owned()]);
        if line.is_empty() || line.starts_with([';', '#']) {
            continue;
        }
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            let origin = Origin::new(at, &[format!("[{name}]")]);
            services.push(Service { origin, options: Vec::new() });
            continue;
        }
        let Some((key, value)) = line.split_once('=') else {
            return Err(SyntaxError {
                line: at,
                problem: "is neither a service in brackets nor `option = value`",
            });
        };
        let option = (key.trim().to_ascii_lowercase(), value.trim().to_owned(), origin);
        if let Some(service) = services.last_mut() {
            service.options.push(option);
        }
    }
    Ok(services)
}

fn one(service: &Service, resolver: &Resolver, draft: &mut Draft) {
    leave_out(service, draft);
    let Some((accept, origin)) = service.find("accept") else {
        draft.not_translated(&service.origin, "accepts no connections of its own");
        return;
    };
    let Some(mut address) =
        listen_address(accept, 0).filter(|address| address.port() != 0 || accept.contains(':'))
    else {
        draft.not_translated(origin, "is no IP address and port");
        return;
    };
    let is_client = service.find("client").is_some_and(|(value, _)| value == "yes");
    if is_client && address.ip().is_unspecified() && !accept.contains(':') {
        // In front of a server's TLS stands a program on the same machine.
        address.set_ip(Ipv4Addr::LOCALHOST.into());
        draft.changed(origin, "listens on 127.0.0.1 only, for it is there for programs on this machine");
    }
    let Some(name) = upstream(service, is_client, resolver, draft) else { return };
    let mut tls = super::draft::Tls::default();
    if !is_client {
        certificate(service, &mut tls);
        client_certificates(service, &mut tls.keys, draft);
        versions(service, &mut tls.keys, draft);
    }
    let listener = draft.listener(address, origin);
    listener.upstream.get_or_insert((name.clone(), origin.clone()));
    listener.tcp_upstream.get_or_insert((name, origin.clone()));
    if !is_client {
        listener.tls.get_or_insert_default().merge(tls);
    }
    let why =
        "HTTP is served as HTTP, all else goes on as it comes; where servers speak first leave out \"http\"";
    draft.changed(&service.origin, why);
}

/// Its servers. `None` where there are none; that has been said.
fn upstream(service: &Service, is_client: bool, resolver: &Resolver, draft: &mut Draft) -> Option<String> {
    let name = draft.free_name(service.origin.text.trim_matches(['[', ']']));
    let mut upstream = Upstream::new(name.clone(), &service.origin);
    let failover = service.find("failover").is_some_and(|(value, _)| value == "prio");
    for (connect, origin) in service.all("connect") {
        // A port alone is one of this machine.
        let local = connect.parse::<u16>().map(|port| format!("127.0.0.1:{port}"));
        let target = local.unwrap_or_else(|_| connect.to_owned());
        let mut keys = Keys::new();
        if failover && !upstream.backends.is_empty() {
            keys.insert("backup", Said { value: "true".to_owned(), origin: origin.clone() });
        }
        let backend = resolver.backend(draft, (&target, 0), None, &keys, origin);
        backend.into_iter().for_each(|backend| upstream.add(backend));
    }
    if upstream.backends.is_empty() {
        draft.not_translated(&service.origin, "connects to nothing that could be translated");
        return None;
    }
    if is_client {
        upstream.tls = Some(to_servers(service));
    } else if let Some((_, origin)) = service.all("protocol").find(|(value, _)| *value == "proxy") {
        upstream.keys.insert("proxy_protocol", Said::text("v1", origin));
    }
    draft.upstreams.push(upstream);
    Some(name)
}

/// TLS towards the servers of a `client = yes`; stunnel verifies nobody unless it is told to.
fn to_servers(service: &Service) -> Keys {
    let mut keys = Keys::new();
    let verifies = service.find("verifychain").is_some_and(|(value, _)| value == "yes")
        || service.find("verify").is_some_and(|(value, _)| value.parse::<u8>().is_ok_and(|level| level >= 2));
    match service.find("cafile") {
        Some((file, origin)) if verifies => _ = keys.insert("ca", Said::text(file, origin)),
        _ if verifies => {}
        _ => {
            let said = Said { value: "false".to_owned(), origin: service.origin.clone() };
            keys.insert("verify", said);
        }
    }
    let name = service.find("sni").or_else(|| service.find("checkhost"));
    if let Some((name, origin)) = name.filter(|(name, _)| host(name).is_some() && !name.contains('*')) {
        keys.insert("server_name", Said::text(name, origin));
    }
    keys
}

fn certificate(service: &Service, tls: &mut super::draft::Tls) {
    if let Some((certificate, origin)) = service.find("cert") {
        let key = service.find("key").map(|(key, _)| key.to_owned());
        tls.certificates.push((certificate.to_owned(), key, origin.clone()));
    }
}

fn client_certificates(service: &Service, keys: &mut Keys, draft: &mut Draft) {
    let required = service.find("requirecert").is_some_and(|(value, _)| value == "yes");
    let verified = ["verifychain", "verify", "verifypeer"].iter().find_map(|name| service.find(name));
    let Some((value, origin)) = verified.filter(|(value, _)| !matches!(*value, "0" | "no")) else { return };
    let auth = if value == "1" { "optional" } else { "required" };
    if value == "yes" && !required {
        draft.changed(origin, "clients without a certificate are refused");
    }
    keys.insert("client_auth", Said::text(auth, origin));
    if let Some((file, origin)) = service.find("cafile") {
        keys.insert("client_ca", Said::text(file, origin));
    }
}

fn versions(service: &Service, keys: &mut Keys, draft: &mut Draft) {
    for (option, key) in
        [("sslversionmin", "min_version"), ("sslversionmax", "max_version"), ("sslversion", "")]
    {
        let Some((value, origin)) = service.find(option) else { continue };
        match (value, key) {
            ("TLSv1.3", "min_version") | ("TLSv1.2", "max_version") => {
                keys.insert(key, Said::text(value.trim_start_matches("TLSv"), origin));
            }
            ("TLSv1.2" | "TLSv1.3", "") => {
                let said = Said::text(value.trim_start_matches("TLSv"), origin);
                keys.insert("min_version", said.clone());
                keys.insert("max_version", said);
            }
            ("TLSv1.2" | "TLSv1.3" | "all", _) => {}
            _ => draft.changed(origin, "TLS 1.2 is the oldest"),
        }
    }
}

/// Says what becomes of the options that nothing here reads.
fn leave_out(service: &Service, draft: &mut Draft) {
    const READ: [&str; 17] = [
        "accept",
        "connect",
        "cert",
        "key",
        "client",
        "failover",
        "cafile",
        "verify",
        "verifychain",
        "verifypeer",
        "requirecert",
        "sslversion",
        "sslversionmin",
        "sslversionmax",
        "checkhost",
        "protocol",
        "sni",
    ];
    for (key, value, origin) in &service.options {
        let is_read = READ.contains(&key.as_str()) && !(key == "protocol" && value != "proxy");
        let known = NOT_NEEDED.iter().find(|(names, _)| names.contains(&key.as_str()));
        match known {
            _ if is_read => {}
            Some((_, why)) => draft.not_needed(origin, why),
            None if key == "ciphers" || key == "ciphersuites" => {
                let why = "OpenSSL's names mean nothing here; the defaults are safe, `ciphers` of `[listener.tls]` changes them";
                draft.not_translated(origin, why);
            }
            None => draft.not_translated(origin, "has no counterpart"),
        }
    }
}

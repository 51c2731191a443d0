//! `bind`: addresses, and the TLS on them.

use std::net::{Ipv4Addr, SocketAddr};

use super::Import;
use crate::import::addresses::listen_address;
use crate::import::draft::{Said, Tls};
use crate::import::report::Origin;
use crate::import::words::Line;

/// What one line of `bind` says.
pub(super) struct Bind {
    pub(super) addresses: Vec<SocketAddr>,
    pub(super) tls: Option<Tls>,
    pub(super) proxy_protocol: bool,
    pub(super) origin: Origin,
}

/// Parameters with a value that mean nothing here.
const IDLE_WITH_VALUE: [&str; 16] = [
    "alpn", "npn", "backlog", "maxconn", "name", "id", "process", "thread", "mode", "user", "group", "uid",
    "gid", "level", "shards", "nice",
];

impl Import<'_, '_> {
    pub(super) fn bind(&mut self, line: &Line) -> Option<Bind> {
        let origin = line.origin();
        let mut bind =
            Bind { addresses: Vec::new(), tls: None, proxy_protocol: false, origin: origin.clone() };
        for text in line.word(1).split(',') {
            let text = text.strip_prefix("ipv4@").or_else(|| text.strip_prefix("ipv6@")).unwrap_or(text);
            match listen_address(text, 0).filter(|_| text.contains(':')) {
                Some(address) => bind.addresses.push(address),
                None => self.draft.not_translated(&origin, "is no IP address with one port"),
            }
        }
        let mut words = line.from(2).iter().map(String::as_str);
        while let Some(word) = words.next() {
            match word {
                "ssl" => _ = bind.tls.get_or_insert_default(),
                "accept-proxy" => bind.proxy_protocol = true,
                "v4v6" => {
                    let ports: Vec<u16> = bind.addresses.iter().map(SocketAddr::port).collect();
                    let both = ports.into_iter().map(|port| (Ipv4Addr::UNSPECIFIED, port).into());
                    bind.addresses.extend(both.collect::<Vec<SocketAddr>>());
                }
                "crt" | "ca-file" | "verify" | "ssl-min-ver" | "ssl-max-ver" => {
                    let value = words.next().unwrap_or_default();
                    self.tls_parameter(word, value, bind.tls.get_or_insert_default(), &origin);
                }
                "strict-sni" => {
                    let said = Said { value: "true".to_owned(), origin: origin.clone() };
                    bind.tls.get_or_insert_default().keys.insert("strict", said);
                }
                "ciphers" | "ciphersuites" | "curves" | "ecdhe" | "crt-list" | "crl-file" => {
                    words.next();
                    self.parameter_left_out(word, &origin);
                }
                word if IDLE_WITH_VALUE.contains(&word) => _ = words.next(),
                word if word.starts_with("no-") || word.starts_with("force-") => {}
                "v6only"
                | "transparent"
                | "tfo"
                | "defer-accept"
                | "prefer-client-ciphers"
                | "allow-0rtt" => {}
                _ => self.parameter_left_out(word, &origin),
            }
        }
        (!bind.addresses.is_empty()).then_some(bind)
    }

    pub(super) fn parameter_left_out(&mut self, word: &str, origin: &Origin) {
        let whole = Origin { line: origin.line, text: format!("... {word}") };
        self.draft.not_translated(&whole, "has no counterpart");
    }

    fn tls_parameter(&mut self, name: &str, value: &str, tls: &mut Tls, origin: &Origin) {
        let path =
            |base: &str| if value.starts_with('/') { value.to_owned() } else { format!("{base}{value}") };
        match (name, value) {
            ("crt", _)
                if value.ends_with('/') || !value.rsplit('/').next().unwrap_or_default().contains('.') =>
            {
                let folder = path(&self.certificate_base);
                tls.keys.insert("folder", Said::text(folder.trim_end_matches('/'), origin));
            }
            // The key is in the same file.
            ("crt", _) => tls.certificates.push((path(&self.certificate_base), None, origin.clone())),
            ("ca-file", _) => {
                tls.keys.insert("client_ca", Said::text(&path(&self.issuer_base), origin));
            }
            ("verify", "required" | "optional") => {
                tls.keys.insert("client_auth", Said::text(value, origin));
            }
            ("verify", "none") => {}
            ("ssl-min-ver", "TLSv1.3") => {
                tls.keys.insert("min_version", Said::text("1.3", origin));
            }
            ("ssl-max-ver", "TLSv1.2") => {
                tls.keys.insert("max_version", Said::text("1.2", origin));
            }
            ("ssl-min-ver" | "ssl-max-ver", "TLSv1.2" | "TLSv1.3") => {}
            ("ssl-min-ver", _) => self.draft.changed(origin, "TLS 1.2 is the oldest"),
            _ => self.parameter_left_out(name, origin),
        }
    }
}

//! `upstream`: its servers, and what of its method of balancing is still needed.
//!
//! tidy: allow sticky, the name of an nginx directive

use super::{Import, block, duration};
use crate::config::bounds::WEIGHT;
use crate::import::SID_BINDS;
use crate::import::draft::{Keys, Said, Upstream};
use crate::import::report::Origin;
use crate::import::words::Directive;

/// Port of a server without one.
const HTTP_PORT: u16 = 80;

impl Import<'_, '_> {
    pub(super) fn upstream(&mut self, directive: &Directive) {
        let origin = directive.origin();
        let name = directive.value();
        if self.draft.upstream(name).is_some() {
            self.draft.not_translated(&origin, "there is an upstream of this name already");
            return;
        }
        // Another name than nginx' would not be found by those who use it.
        if self.draft.free_name(name) != name {
            self.draft
                .not_translated(&origin, "has a name with characters that Ringbolt does not take: rename it");
            return;
        }
        let mut upstream = Upstream::new(name.to_owned(), &origin);
        for inner in block(directive) {
            self.of_upstream(inner, &mut upstream);
        }
        self.draft.upstreams.push(upstream);
    }

    fn of_upstream(&mut self, directive: &Directive, upstream: &mut Upstream) {
        let origin = directive.origin();
        let balance = |upstream: &mut Upstream, value| {
            upstream.keys.insert("balance", Said::text(value, &origin));
        };
        match directive.name() {
            "server" => self.server_of_upstream(directive, upstream),
            "ip_hash" | "sticky" => self.draft.not_needed(&origin, SID_BINDS),
            "hash" => self.hash(directive, upstream),
            "least_conn" | "least_time" => balance(upstream, "least-tunnels"),
            "random" => balance(upstream, "random-two"),
            _ => self.left_over(directive),
        }
    }

    fn hash(&mut self, directive: &Directive, upstream: &mut Upstream) {
        let origin = directive.origin();
        let key = directive.value().trim_start_matches('$').trim_matches(['{', '}']);
        let header = key.strip_prefix("http_").map(|name| name.replace('_', "-"));
        match (key, header) {
            (
                "remote_addr" | "binary_remote_addr" | "arg_sid" | "http_x_forwarded_for" | "http_x_real_ip",
                _,
            ) => {
                self.draft.not_needed(&origin, SID_BINDS);
            }
            (_, Some(name)) if crate::config::affinity(&format!("header:{name}")).is_ok() => {
                upstream.keys.insert("affinity", Said::text(&format!("header:{name}"), &origin));
            }
            _ => self.draft.not_translated(&origin, "affinity is by sid, client address, header or cookie"),
        }
    }

    fn server_of_upstream(&mut self, directive: &Directive, upstream: &mut Upstream) {
        let origin = directive.origin();
        let mut keys = Keys::new();
        for parameter in directive.words.iter().skip(2) {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            if !self.parameter(name, value, &mut keys, upstream, &origin) {
                let whole = Origin { line: origin.line, text: format!("server ... {parameter}") };
                self.draft.not_translated(&whole, "has no counterpart");
            }
        }
        let backend = self.resolver.backend(self.draft, (directive.value(), HTTP_PORT), None, &keys, &origin);
        backend.into_iter().for_each(|backend| upstream.add(backend));
    }

    /// A parameter of a server. Whether it was translated.
    fn parameter(
        &mut self,
        name: &str,
        value: &str,
        keys: &mut Keys,
        upstream: &mut Upstream,
        origin: &Origin,
    ) -> bool {
        let number = value.parse::<u32>().ok();
        match (name, number) {
            ("weight", Some(weight)) if WEIGHT.contains(&weight) => {
                keys.insert("weight", Said::number(weight, origin));
            }
            ("max_conns", Some(0)) | ("resolve", _) => {}
            ("max_conns", Some(count)) if count <= *crate::config::bounds::TABLE_ENTRIES.end() => {
                keys.insert("maxconn", Said::number(count, origin));
            }
            ("backup", _) => {
                _ = keys.insert("backup", Said { value: "true".to_owned(), origin: origin.clone() })
            }
            ("down", _) => _ = keys.insert("state", Said::text("maintenance", origin)),
            ("max_fails", Some(0)) => {
                upstream.health.entry("failures").or_insert_with(|| Said::text("off", origin));
            }
            ("max_fails", Some(count)) if count <= 100 => {
                upstream.health.entry("failures").or_insert_with(|| Said::number(count, origin));
            }
            ("fail_timeout", _) => {
                let Some(time) = duration(value).filter(|time| !time.is_zero()) else { return false };
                let time = time.min(crate::config::bounds::TIMEOUT_MAX);
                upstream.health.entry("failure_pause").or_insert_with(|| Said::duration(time, origin));
            }
            _ => return false,
        }
        true
    }
}

//! `stream`: servers of TCP.

use super::server::Shared;
use super::{Import, block};
use crate::import::addresses::listen_address;
use crate::import::words::Directive;

impl Import<'_, '_> {
    pub(super) fn stream(&mut self, all: &[&Directive]) {
        for directive in all.iter().filter(|directive| directive.name() == "upstream") {
            self.upstream(directive);
        }
        for directive in all {
            match directive.name() {
                "upstream" => {}
                "server" => self.stream_server(directive),
                _ => self.left_over(directive),
            }
        }
    }

    fn stream_server(&mut self, directive: &Directive) {
        let find = |name: &str| block(directive).find(|inner| inner.name() == name);
        let (Some(listen), Some(pass)) = (find("listen"), find("proxy_pass")) else {
            self.draft.not_translated(&directive.origin(), "has no address, or leads nowhere");
            return;
        };
        let (origin, goal) = (listen.origin(), pass.origin());
        let mut shared = Shared::default();
        for inner in block(directive) {
            match inner.name() {
                "listen" | "proxy_pass" => {}
                "ssl_preread" => self.draft.not_translated(&inner.origin(), "see `[listener.sni]`"),
                name if name.starts_with("ssl_") => self.of_servers(inner, &mut shared),
                "proxy_timeout" => self.draft.not_needed(
                    &inner.origin(),
                    "no timeout ends a live connection; `timeouts.tunnel_idle` does where it is wanted",
                ),
                "proxy_connect_timeout" => _ = self.of_process(inner),
                _ => self.left_over(inner),
            }
        }
        let has = |word: &str| listen.words.iter().any(|parameter| parameter == word);
        if has("udp") {
            self.draft.not_translated(&origin, "there is no UDP");
            return;
        }
        let tls = has("ssl").then(|| shared.certificates());
        let Some(address) = listen_address(listen.value(), 0).filter(|_| !pass.value().contains('$')) else {
            self.draft.not_translated(&origin, "is no address with a port, or leads to a variable");
            return;
        };
        // A server of stream has its port; the default of 0 says that none was given.
        let Some(name) = self.target(pass.value(), 0, &goal) else { return };
        let listener = self.draft.listener(address, &origin);
        listener.serves_http = false;
        listener.tcp_upstream.get_or_insert((name, goal));
        listener.tls = tls;
    }
}

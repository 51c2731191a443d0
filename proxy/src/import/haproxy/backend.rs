//! `backend`, and the servers of a `listen`.

use super::{Import, Proxy, duration};
use crate::config::bounds::{CHECKS_IN_A_ROW, TABLE_ENTRIES, TIMEOUT_MAX};
use crate::import::SID_BINDS;
use crate::import::draft::{Keys, Said, Upstream, host, path};
use crate::import::report::Origin;
use crate::import::words::Line;

/// Parameters of a server that have a value and mean nothing here.
const IDLE_WITH_VALUE: [&str; 22] = [
    "cookie",
    "downinter",
    "error-limit",
    "id",
    "init-addr",
    "log-proto",
    "max-reuse",
    "minconn",
    "on-error",
    "on-marked-down",
    "on-marked-up",
    "pool-low-conn",
    "pool-max-conn",
    "pool-purge-delay",
    "proto",
    "alpn",
    "resolve-net",
    "resolve-opts",
    "resolve-prefer",
    "resolvers",
    "ws",
    "check-alpn",
];
const IDLE: [&str; 10] = [
    "check",
    "no-check",
    "check-ssl",
    "check-send-proxy",
    "non-stick",
    "no-ssl",
    "no-sslv3",
    "tfo",
    "enabled",
    "no-verifyhost",
];

impl Import<'_, '_> {
    pub(super) fn backend(&mut self, proxy: &Proxy<'_>) {
        if self.draft.upstream(proxy.name).is_some() {
            self.draft.not_translated(&proxy.origin, "there is a backend of this name already");
            return;
        }
        // Another name would not be found by those who use it.
        if self.draft.free_name(proxy.name) != proxy.name {
            self.draft.not_translated(
                &proxy.origin,
                "has a name with characters that Ringbolt does not take: rename it",
            );
            return;
        }
        let mut upstream = Upstream::new(proxy.name.to_owned(), &proxy.origin);
        let inherited = ["balance", "default-server", "cookie"];
        for line in proxy.defaults.iter().filter(|line| inherited.contains(&line.name())) {
            self.of_backend(line, &mut upstream);
        }
        for line in proxy.lines {
            self.of_backend(line, &mut upstream);
        }
        self.health(proxy, &mut upstream);
        self.draft.upstreams.push(upstream);
    }

    fn of_backend(&mut self, line: &Line, upstream: &mut Upstream) {
        let origin = line.origin();
        match line.name() {
            "server" => self.server(line, upstream),
            "default-server" => {
                let mut keys = Keys::new();
                self.parameters(line, 1, &mut keys, upstream);
                if !keys.is_empty() {
                    let why = "weight, maxconn and the like belong to each server: write them there";
                    self.draft.not_translated(&origin, why);
                }
            }
            "balance" => self.balance(line, upstream),
            "cookie" => self.draft.not_needed(&origin, SID_BINDS),
            "timeout" if line.word(1) == "queue" => {
                match duration(line.word(2)).filter(|time| !time.is_zero()) {
                    Some(time) => {
                        upstream.keys.insert("queue_timeout", Said::duration(time.min(TIMEOUT_MAX), &origin));
                    }
                    None => self.draft.not_translated(&origin, "is no time"),
                }
            }
            // Read where they all are together.
            "option" if line.word(1) == "httpchk" => {}
            "timeout" if line.word(1) == "check" => {}
            "mode" | "http-check" => {}
            // Those of a `listen` that belong to its other half, and fields, which belong to routes.
            "bind" | "acl" | "use_backend" | "default_backend" | "redirect" | "http-request"
            | "http-response" => {}
            "maxconn" => {}
            _ if self.of_process(line) => {}
            _ => self.left_over(line),
        }
    }

    fn balance(&mut self, line: &Line, upstream: &mut Upstream) {
        let origin = line.origin();
        let header = line.word(1).strip_prefix("hdr(").and_then(|rest| rest.strip_suffix(')'));
        let mut insert = |key, value: &str| _ = upstream.keys.insert(key, Said::text(value, &origin));
        match line.word(1) {
            "roundrobin" | "static-rr" => insert("balance", "round-robin"),
            "leastconn" => insert("balance", "least-tunnels"),
            "source" => self.draft.not_needed(&origin, SID_BINDS),
            "url_param" if line.word(2) == "sid" => self.draft.not_needed(&origin, SID_BINDS),
            "hash" if matches!(line.word(2), "src" | "url_param(sid)") => {
                self.draft.not_needed(&origin, SID_BINDS);
            }
            word if word.starts_with("random") => insert("balance", "random-two"),
            _ => match header.map(|name| format!("header:{name}")) {
                Some(affinity) if crate::config::affinity(&affinity).is_ok() => insert("affinity", &affinity),
                _ => {
                    self.draft.not_translated(&origin, "affinity is by sid, client address, header or cookie")
                }
            },
        }
    }

    fn server(&mut self, line: &Line, upstream: &mut Upstream) {
        let origin = line.origin();
        let mut keys = Keys::new();
        self.parameters(line, 3, &mut keys, upstream);
        // Port 0: that of the client's connection, which no backend has here.
        let backend =
            self.resolver.backend(self.draft, (line.word(2), 0), Some(line.word(1)), &keys, &origin);
        backend.into_iter().for_each(|backend| upstream.add(backend));
    }

    /// Parameters of a server from the word `at` on.
    fn parameters(&mut self, line: &Line, at: usize, keys: &mut Keys, upstream: &mut Upstream) {
        let origin = line.origin();
        let mut words = line.from(at).iter().map(String::as_str);
        while let Some(word) = words.next() {
            let said = |value: &str| Said { value: value.to_owned(), origin: origin.clone() };
            match word {
                "backup" => _ = keys.insert("backup", said("true")),
                "disabled" => _ = keys.insert("state", said("\"maintenance\"")),
                "ssl" => _ = upstream.tls.get_or_insert_default(),
                "send-proxy" => _ = upstream.keys.insert("proxy_protocol", said("\"v1\"")),
                "send-proxy-v2" => _ = upstream.keys.insert("proxy_protocol", said("\"v2\"")),
                "weight" | "maxconn" | "inter" | "fastinter" | "fall" | "rise" | "maxqueue" => {
                    let value = words.next().unwrap_or_default();
                    if !number(word, value, keys, upstream, &origin) {
                        self.parameter_left_out(&format!("{word} {value}"), &origin);
                    }
                }
                "verify" | "ca-file" | "sni" | "verifyhost" => {
                    let value = words.next().unwrap_or_default();
                    self.server_tls(word, value, upstream, &origin);
                }
                word if IDLE.contains(&word) => {}
                word if IDLE_WITH_VALUE.contains(&word) => _ = words.next(),
                "slowstart" | "source" | "track" | "observe" | "crt" | "port" | "addr" | "namespace"
                | "ciphers" => {
                    words.next();
                    self.parameter_left_out(word, &origin);
                }
                _ => self.parameter_left_out(word, &origin),
            }
        }
    }

    fn server_tls(&mut self, name: &str, value: &str, upstream: &mut Upstream, origin: &Origin) {
        let base = self.issuer_base.clone();
        let tls = upstream.tls.get_or_insert_default();
        match (name, value) {
            ("verify", "none") => {
                tls.remove("ca");
                tls.insert("verify", Said { value: "false".to_owned(), origin: origin.clone() });
                self.draft.changed(
                    origin,
                    "its certificates are not verified, as in HAProxy: better remove `verify = false`",
                );
            }
            ("verify", _) => {}
            ("ca-file", _) if tls.contains_key("verify") => {}
            ("ca-file", file) => {
                let file = if file.starts_with('/') { file.to_owned() } else { base + file };
                tls.insert("ca", Said::text(&file, origin));
            }
            (_, name) => {
                let name = name.strip_prefix("str(").and_then(|rest| rest.strip_suffix(')')).unwrap_or(name);
                if host(name).is_some() && !name.contains('*') {
                    tls.insert("server_name", Said::text(name, origin));
                } else {
                    self.parameter_left_out(&format!("sni {name}"), origin);
                }
            }
        }
    }

    /// What a check asks for, and how often.
    fn health(&mut self, proxy: &Proxy<'_>, upstream: &mut Upstream) {
        let checked = |line: &&Line| {
            matches!(line.name(), "server" | "default-server")
                && line.words.iter().any(|word| word == "check")
        };
        let check = proxy.all().find(checked);
        let http = proxy.last(&["option", "httpchk"]);
        let Some(check) = check else {
            upstream.health.retain(|key, _| !matches!(*key, "interval" | "fast_interval" | "rise" | "fall"));
            if let Some(line) = http {
                self.draft.not_needed(&line.origin(), "no server has `check`");
            }
            return;
        };
        let kind = if http.is_some() { "http" } else { "tcp" };
        upstream.health.insert("check", Said::text(kind, &http.unwrap_or(check).origin()));
        if let Some(line) = http {
            self.http_check(line, proxy, upstream);
        }
        if let Some(line) = proxy.last(&["timeout", "check"])
            && let Some(time) = duration(line.word(2)).filter(|time| !time.is_zero())
        {
            upstream.health.insert("timeout", Said::duration(time.min(TIMEOUT_MAX), &line.origin()));
        }
    }

    fn http_check(&mut self, line: &Line, proxy: &Proxy<'_>, upstream: &mut Upstream) {
        let origin = line.origin();
        // `option httpchk [METHOD] [URI] [VERSION]`
        let uri = [2, 3].map(|at| line.word(at)).into_iter().find(|word| word.starts_with('/'));
        let send = proxy.last(&["http-check", "send"]);
        let after = |line: &'_ Line, word: &str| {
            let at = line.words.iter().position(|known| known == word)?;
            line.words.get(at + 1).cloned()
        };
        let uri = send.and_then(|line| after(line, "uri")).or_else(|| uri.map(str::to_owned));
        if let Some(uri) = uri {
            match path(&uri) {
                Some(path) => _ = upstream.health.insert("path", Said::text(&path, &origin)),
                None => self.draft.not_translated(&origin, "a check asks for a path without a query"),
            }
        }
        if line.words.iter().any(|word| matches!(word.as_str(), "HEAD" | "OPTIONS")) {
            self.draft.changed(&origin, "a check is a GET");
        }
        if let Some(line) = send
            && let Some(name) =
                line.words.windows(3).find(|words| words[0] == "hdr" && words[1].eq_ignore_ascii_case("host"))
            && host(&name[2]).is_some()
        {
            upstream.health.insert("host", Said::text(&name[2], &line.origin()));
        }
        if let Some(line) = proxy.last(&["http-check", "expect"]) {
            let origin = line.origin();
            let valid = |text: &str| {
                let (from, to) = text.split_once('-').unwrap_or((text, text));
                let in_range =
                    |text: &str| text.parse().is_ok_and(|status: u16| (100..=599).contains(&status));
                in_range(from) && in_range(to) && from <= to
            };
            match line.word(2) {
                "status" if valid(line.word(3)) => {
                    upstream.health.insert("status", Said::text(line.word(3), &origin));
                }
                "string" if (1..=1024).contains(&line.word(3).len()) => {
                    upstream.health.insert("body", Said::text(line.word(3), &origin));
                }
                _ => self.draft.not_translated(&origin, "a check wants a status or a text in the body"),
            }
        }
    }
}

/// A parameter that is a number or a time. Whether it was translated.
fn number(name: &str, value: &str, keys: &mut Keys, upstream: &mut Upstream, origin: &Origin) -> bool {
    let number = value.parse::<u32>().ok();
    let time = duration(value).filter(|time| !time.is_zero()).map(|time| time.min(TIMEOUT_MAX));
    let time = time.map(|time| Said::duration(time.max(std::time::Duration::from_millis(1)), origin));
    match (name, number, time) {
        ("weight", Some(0), _) => _ = keys.insert("state", Said::text("drain", origin)),
        ("weight", Some(weight @ 1..=256), _) => _ = keys.insert("weight", Said::number(weight, origin)),
        ("maxconn", Some(0), _) => {}
        ("maxconn", Some(count), _) if TABLE_ENTRIES.contains(&count) => {
            keys.insert("maxconn", Said::number(count, origin));
        }
        ("inter", _, Some(time)) => _ = upstream.health.insert("interval", time),
        ("fastinter", _, Some(time)) => _ = upstream.health.insert("fast_interval", time),
        ("fall", Some(count), _) if CHECKS_IN_A_ROW.contains(&count) => {
            upstream.health.insert("fall", Said::number(count, origin));
        }
        ("rise", Some(count), _) if CHECKS_IN_A_ROW.contains(&count) => {
            upstream.health.insert("rise", Said::number(count, origin));
        }
        _ => return false,
    }
    true
}

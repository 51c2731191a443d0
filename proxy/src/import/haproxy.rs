//! haproxy.cfg: defaults, frontends, backends and listens.

mod acl;
mod backend;
mod bind;
mod frontend;
mod others;

use std::time::Duration;

use super::addresses::Resolver;
use super::draft::{Draft, Said};
use super::report::Origin;
use super::words::{Line, SyntaxError, lines};

/// A timeout longer than this is there to keep WebSockets alive, which no timeout ends here.
const RESPONSE_TIMEOUT_MAX: Duration = Duration::from_secs(3600);

/// What is needed to translate a part.
pub(super) struct Import<'d, 'r> {
    draft: &'d mut Draft,
    resolver: &'r Resolver,
    /// `crt-base` and `ca-base`, with a slash at the end.
    certificate_base: String,
    issuer_base: String,
}

/// A section that serves: `frontend`, `backend` or `listen`.
struct Proxy<'l> {
    kind: &'l str,
    name: &'l str,
    origin: Origin,
    lines: &'l [Line],
    /// Those of the `defaults` that hold for it.
    defaults: &'l [Line],
}

impl Line {
    fn name(&self) -> &str {
        &self.words[0]
    }

    fn word(&self, at: usize) -> &str {
        self.words.get(at).map_or("", String::as_str)
    }

    /// The words from `at` on.
    fn from(&self, at: usize) -> &[String] {
        self.words.get(at..).unwrap_or_default()
    }

    fn origin(&self) -> Origin {
        Origin::new(self.line, &self.words)
    }
}

impl<'l> Proxy<'l> {
    /// Its own lines and those of its defaults, which come first.
    fn all(&self) -> impl DoubleEndedIterator<Item = &'l Line> {
        self.defaults.iter().chain(self.lines)
    }

    /// The last line that begins with these words.
    fn last(&self, words: &[&str]) -> Option<&'l Line> {
        let begins = |line: &&Line| words.iter().enumerate().all(|(at, word)| line.word(at) == *word);
        self.all().rev().find(begins)
    }

    /// HAProxy's own default is TCP.
    fn is_http(&self) -> bool {
        self.last(&["mode"]).is_some_and(|line| line.word(1) == "http")
    }

    fn binds(&self) -> bool {
        self.kind != "backend"
    }

    fn has_servers(&self) -> bool {
        self.kind != "frontend" && self.lines.iter().any(|line| line.name() == "server")
    }
}

const SECTIONS: [&str; 5] = ["global", "defaults", "frontend", "backend", "listen"];
const OTHER_SECTIONS: [&str; 15] = [
    "peers",
    "resolvers",
    "mailers",
    "userlist",
    "cache",
    "program",
    "http-errors",
    "ring",
    "log-forward",
    "fcgi-app",
    "crt-store",
    "traces",
    "log-profile",
    "acme",
    "healthcheck",
];

pub(super) fn translate(text: &str, resolver: &Resolver, draft: &mut Draft) -> Result<(), SyntaxError> {
    let all = lines(text)?;
    draft.first_rule_wins = true;
    let mut import = Import { draft, resolver, certificate_base: String::new(), issuer_base: String::new() };
    let mut proxies: Vec<Proxy<'_>> = Vec::new();
    let mut defaults: &[Line] = &[];
    let is_start = |line: &Line| SECTIONS.contains(&line.name()) || OTHER_SECTIONS.contains(&line.name());
    let mut rest = &all[..];
    while let Some((head, body)) = rest.split_first() {
        let end = body.iter().position(is_start).unwrap_or(body.len());
        let (lines, after) = body.split_at(end);
        rest = after;
        match head.name() {
            "global" => import.global(lines),
            "defaults" => {
                defaults = lines;
                lines.iter().for_each(|line| import.of_defaults(line));
            }
            kind @ ("frontend" | "backend" | "listen") => {
                proxies.push(Proxy { kind, name: head.word(1), origin: head.origin(), lines, defaults });
            }
            _ => import.draft.not_translated(&head.origin(), "a section that has no counterpart"),
        }
    }
    for proxy in proxies.iter().filter(|proxy| proxy.has_servers()) {
        import.backend(proxy);
    }
    for proxy in proxies.iter().filter(|proxy| proxy.binds()) {
        import.frontend(proxy, &proxies);
    }
    Ok(())
}

impl Import<'_, '_> {
    fn global(&mut self, lines: &[Line]) {
        for line in lines {
            let origin = line.origin();
            match line.name() {
                "maxconn" => match line.word(1).parse::<u32>() {
                    Ok(count) if crate::config::bounds::TABLE_ENTRIES.contains(&count) => {
                        self.draft.set("limits", "connections", Said::number(count, &origin));
                    }
                    _ => self.draft.not_translated(&origin, "is no number of connections"),
                },
                "nbthread" => match line.word(1).parse::<u16>() {
                    Ok(count) if (1..=1024).contains(&count) => {
                        self.draft.set("workers", "count", Said::number(count, &origin));
                    }
                    _ => self.draft.not_translated(&origin, "is no number of workers"),
                },
                "crt-base" => self.certificate_base = format!("{}/", line.word(1).trim_end_matches('/')),
                "ca-base" => self.issuer_base = format!("{}/", line.word(1).trim_end_matches('/')),
                _ => self.left_over(line),
            }
        }
    }

    /// What means the same in `defaults` as in what follows is read there; the rest is of the whole process.
    fn of_defaults(&mut self, line: &Line) {
        match line.name() {
            "mode" | "balance" | "default-server" | "cookie" | "http-check" => {}
            "option" if line.word(1) == "httpchk" => {}
            _ if self.of_process(line) => {}
            _ => self.left_over(line),
        }
    }

    /// Timeouts, which hold for the whole process here. Whether it was one.
    fn of_process(&mut self, line: &Line) -> bool {
        if line.name() != "timeout" {
            return false;
        }
        let origin = line.origin();
        let key = match line.word(1) {
            "connect" => "connect",
            "server" => "response",
            "http-request" => "request_head",
            "http-keep-alive" => "keep_alive",
            "client-fin" | "server-fin" => "tunnel_half_closed",
            "check" | "queue" => return false,
            "client" => {
                let why = "each phase has its own: `request_head`, `request_body_idle`, `keep_alive`; none ends a WebSocket";
                self.draft.not_needed(&origin, why);
                return true;
            }
            "tunnel" => {
                let why = "no timeout ends a live tunnel; `timeouts.tunnel_idle` does where it is wanted";
                self.draft.not_needed(&origin, why);
                return true;
            }
            "tarpit" => {
                self.draft.not_needed(&origin, "nobody is held up");
                return true;
            }
            _ => return false,
        };
        match duration(line.word(2)) {
            None => self.draft.not_translated(&origin, "is no time"),
            Some(Duration::ZERO) => self.draft.not_translated(&origin, "has no value 0 here"),
            Some(time) if key == "response" && time > RESPONSE_TIMEOUT_MAX => {
                self.draft.not_needed(&origin, "no timeout ends a WebSocket; for responses 120 s stays");
            }
            Some(time) => self.draft.timeout(key, time, &origin),
        }
        true
    }

    /// A line that nothing above has taken.
    fn left_over(&mut self, line: &Line) {
        let origin = line.origin();
        match others::known(line.name(), line.word(1)) {
            Some((false, why)) => self.draft.not_needed(&origin, why),
            Some((true, why)) => self.draft.not_translated(&origin, why),
            None => self.draft.not_translated(&origin, "has no counterpart"),
        }
    }
}

/// HAProxy's times: `5000` are milliseconds, `5s`, `1m`, `1h`, `1d`, `100us`.
fn duration(text: &str) -> Option<Duration> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let micros: u64 = match unit {
        "us" => 1,
        "" | "ms" => 1_000,
        "s" => 1_000_000,
        "m" => 60_000_000,
        "h" => 3_600_000_000,
        "d" => 86_400_000_000,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(micros).map(Duration::from_micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_haproxy_reads_them() {
        for (text, expected) in [
            ("5000", Some(5_000)),
            ("5s", Some(5_000)),
            ("1h", Some(3_600_000)),
            ("", None),
            ("x", None),
            ("99999999999999999d", None),
        ] {
            assert_eq!(duration(text).map(|time| time.as_millis()), expected, "{text}");
        }
    }
}

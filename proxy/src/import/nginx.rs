//! nginx.conf, a file of its `conf.d`, or what `nginx -T` prints.
//!
//! Two looks: at the upstreams, which may stand behind what uses them, then at the servers. What a directive means is
//! in the files beside this one; here is where each may stand.

mod directives;
mod location;
mod place;
mod server;
mod stream;
mod upstream;

use std::time::Duration;

use self::server::{Server, Shared};
use super::addresses::Resolver;
use super::draft::{Draft, Said};
use super::report::Origin;
use super::words::{Directive, SyntaxError, directives};

/// A timeout longer than this is there to keep WebSockets alive, which no timeout ends here.
const RESPONSE_TIMEOUT_MAX: Duration = Duration::from_secs(3600);

/// What is needed to translate a part.
pub(super) struct Import<'d, 'r> {
    draft: &'d mut Draft,
    resolver: &'r Resolver,
}

pub(super) fn translate(text: &str, resolver: &Resolver, draft: &mut Draft) -> Result<(), SyntaxError> {
    let file = directives(text)?;
    let mut import = Import { draft, resolver };
    // A file of conf.d has what stands in `http`, and `nginx -T` prints such files behind the first one.
    let is_outside = |directive: &&Directive| {
        matches!(directive.name(), "http" | "stream" | "events" | "worker_processes")
    };
    let inside =
        |name: &'static str| file.iter().filter(move |directive| directive.name() == name).flat_map(block);
    let http: Vec<&Directive> =
        inside("http").chain(file.iter().filter(|directive| !is_outside(directive))).collect();
    let stream: Vec<&Directive> = inside("stream").collect();
    inside("events").for_each(|directive| import.left_over(directive));
    for directive in file.iter().filter(|directive| directive.name() == "worker_processes") {
        import.worker_processes(directive);
    }
    import.http(&http);
    import.stream(&stream);
    Ok(())
}

/// What stands in the braces of a directive.
fn block(directive: &Directive) -> impl Iterator<Item = &Directive> {
    directive.block.iter().flatten()
}

impl Directive {
    fn name(&self) -> &str {
        &self.words[0]
    }

    /// Its first value, or nothing.
    fn value(&self) -> &str {
        self.words.get(1).map_or("", String::as_str)
    }

    fn origin(&self) -> Origin {
        Origin::new(self.line, &self.words)
    }
}

impl Import<'_, '_> {
    fn http(&mut self, all: &[&Directive]) {
        for directive in all.iter().filter(|directive| directive.name() == "upstream") {
            self.upstream(directive);
        }
        let mut shared = Shared::default();
        for directive in all {
            match directive.name() {
                "upstream" | "server" => {}
                "map" if matches!(directive.value(), "$http_upgrade" | "${http_upgrade}") => {
                    self.draft.not_needed(&directive.origin(), "upgrades work by themselves");
                }
                _ => self.of_servers(directive, &mut shared),
            }
        }
        let servers = all.iter().filter(|directive| directive.name() == "server");
        let servers: Vec<Server> = servers.map(|directive| self.read_server(directive, &shared)).collect();
        self.place_servers(servers);
    }

    /// A directive that nothing above has taken.
    fn left_over(&mut self, directive: &Directive) {
        let origin = directive.origin();
        match directives::known(directive.name()) {
            Some((false, why)) => self.draft.not_needed(&origin, why),
            Some((true, why)) => self.draft.not_translated(&origin, why),
            None => self.draft.not_translated(&origin, "has no counterpart"),
        }
    }

    fn worker_processes(&mut self, directive: &Directive) {
        let origin = directive.origin();
        let most = crate::config::bounds::WORKERS_MAX as u64;
        match directive.value().parse::<u64>() {
            Ok(count) if (1..=most).contains(&count) => {
                self.draft.set("workers", "count", Said::number(count, &origin));
            }
            _ => self.draft.not_needed(&origin, "there is a worker for each core"),
        }
    }

    /// Directives about time and size, which hold for the whole process. Whether it was one.
    fn of_process(&mut self, directive: &Directive) -> bool {
        let origin = directive.origin();
        let value = directive.value();
        let key = match directive.name() {
            "client_max_body_size" => {
                match size(value) {
                    Some(0) => self.draft.not_needed(&origin, "request bodies have no limit"),
                    Some(bytes) => {
                        self.draft.set("limits", "request_body_bytes", Said::number(bytes, &origin))
                    }
                    None => self.draft.not_translated(&origin, "is no size"),
                }
                return true;
            }
            "client_header_buffer_size" | "large_client_header_buffers" => {
                self.draft
                    .not_needed(&origin, "`limits.request_head_bytes` is 32 KiB and taken only when needed");
                return true;
            }
            "proxy_connect_timeout" => "connect",
            "proxy_read_timeout" => "response",
            "keepalive_timeout" => "keep_alive",
            "client_header_timeout" => "request_head",
            "client_body_timeout" => "request_body_idle",
            _ => return false,
        };
        match duration(value) {
            Some(Duration::ZERO) => self.draft.not_translated(&origin, "has no value 0 here"),
            Some(time) if key == "response" && time > RESPONSE_TIMEOUT_MAX => {
                self.draft.not_needed(&origin, "no timeout ends a WebSocket; for responses 120 s stays");
            }
            Some(time) => self.draft.timeout(key, time, &origin),
            None => self.draft.not_translated(&origin, "is no time"),
        }
        true
    }
}

/// nginx' times: `60`, `60s`, `1m30s`, `500ms`, `1d`.
fn duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut millis: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = rest.split_at(digits);
        let number: u64 = number.parse().ok()?;
        let letters = unit.bytes().take_while(u8::is_ascii_alphabetic).count();
        let factor: u64 = match &unit[..letters] {
            "ms" => 1,
            "" | "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            "w" => 604_800_000,
            "M" => 2_592_000_000,
            "y" => 31_536_000_000,
            _ => return None,
        };
        millis = millis.checked_add(number.checked_mul(factor)?)?;
        rest = unit[letters..].trim_start();
    }
    (!text.is_empty()).then_some(Duration::from_millis(millis))
}

/// nginx' sizes: `512`, `16k`, `10m`, `1g`.
fn size(text: &str) -> Option<u64> {
    let text = text.to_ascii_lowercase();
    let (number, shift) = match text.strip_suffix(['k', 'm', 'g']) {
        Some(number) => (
            number,
            if text.ends_with('k') {
                10
            } else if text.ends_with('m') {
                20
            } else {
                30
            },
        ),
        None => (text.as_str(), 0),
    };
    let bytes = number.parse::<u64>().ok()?.checked_mul(1 << shift)?;
    // What TOML can say.
    i64::try_from(bytes).is_ok().then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_sizes_are_read_as_nginx_reads_them() {
        for (text, expected) in [
            ("60", Some(60_000)),
            ("60s", Some(60_000)),
            ("1m30s", Some(90_000)),
            ("1d", Some(86_400_000)),
            ("500ms", Some(500)),
            ("0", Some(0)),
            ("", None),
            ("x", None),
            ("5x", None),
            ("99999999999999999999", None),
            ("9999999999999999y", None),
        ] {
            assert_eq!(duration(text).map(|time| time.as_millis()), expected, "{text}");
        }
        for (text, expected) in [
            ("512", Some(512)),
            ("16k", Some(16 << 10)),
            ("10M", Some(10 << 20)),
            ("1g", Some(1 << 30)),
            ("m", None),
            ("9223372036854775808", None),
        ] {
            assert_eq!(size(text), expected, "{text}");
        }
    }
}

//! The draft as the text of a configuration file, with the source's line behind what comes from it.

use std::fmt::Write as _;
use std::time::Duration;

use super::{Backend, Draft, Fields, Goal, Keys, Listener, Route, Said, Tls, Upstream};
use crate::import::report::Origin;

/// Column of the comments, where the line is not longer than that.
const COMMENT_COLUMN: usize = 46;

/// A string of TOML.
pub(super) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for char in text.chars() {
        match char {
            '"' | '\\' => out.extend(['\\', char]),
            // Writing to a String does not fail.
            _ if char.is_control() => _ = write!(out, "\\u{:04X}", u32::from(char)),
            _ => out.push(char),
        }
    }
    out.push('"');
    out
}

/// As the configuration file writes durations.
pub(super) fn duration(value: Duration) -> String {
    let millis = value.as_millis();
    for (unit, in_millis) in [("h", 3_600_000), ("m", 60_000), ("s", 1_000)] {
        if millis >= in_millis && millis.is_multiple_of(in_millis) && (unit != "m" || millis >= 5 * in_millis)
        {
            return format!("{}{unit}", millis / in_millis);
        }
    }
    format!("{millis}ms")
}

fn key(name: &str) -> String {
    let bare = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    if !name.is_empty() && name.bytes().all(bare) { name.to_owned() } else { quoted(name) }
}

/// The file under way.
struct Page(String);

impl Page {
    fn line(&mut self, text: &str, origin: Option<&Origin>) {
        self.0.push_str(text);
        if let Some(Origin { line, text: words }) = origin {
            let gap = COMMENT_COLUMN.saturating_sub(text.trim_start_matches('\n').chars().count()).max(1);
            let _ = write!(self.0, "{:gap$}# {line}: {words}", "");
        }
        self.0.push('\n');
    }

    fn said(&mut self, name: &str, said: &Said) {
        self.line(&format!("{name} = {}", said.value), Some(&said.origin));
    }

    fn keys(&mut self, keys: &Keys) {
        keys.iter().for_each(|(name, said)| self.said(name, said));
    }
}

impl Draft {
    /// The configuration file.
    pub(in crate::import) fn write(&self, file: &str) -> String {
        let name: String = file.chars().map(|char| if char.is_control() { '?' } else { char }).collect();
        let mut page = Page(format!(
            "# Made from {name} by `ringbolt import`. Behind each value stands the line it comes from.\n"
        ));
        let mut section = "";
        for ((of, key), said) in &self.settings {
            if *of != section {
                page.line(&format!("\n[{of}]"), None);
                section = of;
            }
            page.said(key, said);
        }
        self.listeners.iter().for_each(|listener| listener.write(&mut page));
        self.routes.iter().for_each(|route| route.write(&mut page));
        self.upstreams.iter().for_each(|upstream| upstream.write(&mut page));
        page.0
    }
}

impl Listener {
    fn write(&self, page: &mut Page) {
        page.line("\n[[listener]]", None);
        page.line(&format!("address = \"{}\"", self.address), Some(&self.origin));
        if let Some((upstream, origin)) = &self.upstream {
            page.line(&format!("upstream = {}", quoted(upstream)), Some(origin));
        }
        if let Some(detect) = self.detect() {
            page.line(&format!("detect = {detect}"), Some(&self.origin));
        }
        if let Some((upstream, origin)) = &self.tcp_upstream {
            page.line(&format!("tcp_upstream = {}", quoted(upstream)), Some(origin));
        }
        if let Some(connections) = &self.connections {
            page.said("connections", connections);
        }
        if let Some(origin) = &self.https_redirect {
            page.line("https_redirect = true", Some(origin));
        }
        if let Some(origin) = &self.proxy_protocol {
            page.line("proxy_protocol = true", Some(origin));
        }
        if !self.trusted_proxies.is_empty() {
            page.line("trusted_proxies = [", None);
            for (network, origin) in &self.trusted_proxies {
                page.line(&format!("  {},", quoted(network)), Some(origin));
            }
            page.line("]", None);
        }
        if !self.sni.is_empty() {
            page.line("[listener.sni]", None);
        }
        for (name, upstream, origin) in &self.sni {
            page.line(&format!("{} = {}", quoted(name), quoted(upstream)), Some(origin));
        }
        if let Some(tls) = &self.tls {
            tls.write(page);
            if let Some(detect) = self.detect_inside() {
                page.line(&format!("detect = {detect}"), Some(&self.origin));
            }
        }
    }

    /// What it serves, where that is not what a listener of its sections serves by itself.
    fn detect(&self) -> Option<String> {
        let tls = self.tls.is_some() || !self.sni.is_empty();
        // With certificates everything is inside TLS.
        let plain = self.tls.is_none();
        let tcp = self.tcp_upstream.is_some();
        let all = [("http", plain && self.serves_http), ("tls", tls), ("tcp", plain && tcp)];
        (tcp || !self.sni.is_empty()).then(|| list(&all))
    }

    /// The same inside TLS.
    fn detect_inside(&self) -> Option<String> {
        self.tcp_upstream.as_ref().map(|_| list(&[("http", self.serves_http), ("tcp", true)]))
    }
}

fn list(names: &[(&str, bool)]) -> String {
    let listed: Vec<String> = names.iter().filter(|(_, on)| *on).map(|(name, _)| quoted(name)).collect();
    format!("[{}]", listed.join(", "))
}

impl Tls {
    fn write(&self, page: &mut Page) {
        page.line("[listener.tls]", None);
        if !self.certificates.is_empty() {
            page.line("certificates = [", None);
            for (certificate, key, origin) in &self.certificates {
                let key = key.as_ref().map(|key| format!(", key = {}", quoted(key)));
                let entry =
                    format!("  {{ certificate = {}{} }},", quoted(certificate), key.unwrap_or_default());
                page.line(&entry, Some(origin));
            }
            page.line("]", None);
        }
        page.keys(&self.keys);
    }
}

impl Route {
    fn write(&self, page: &mut Page) {
        page.line("\n[[route]]", None);
        if let Some(host) = &self.host {
            page.line(&format!("host = {}", quoted(host)), None);
        }
        page.line(&format!("path = {}", quoted(&self.path)), Some(&self.origin));
        match &self.goal {
            Goal::Upstream(name) => page.line(&format!("upstream = {}", quoted(name)), None),
            Goal::Redirect { to, status } => {
                page.line(&format!("redirect = {}", quoted(to)), None);
                page.line(&format!("redirect_status = {status}"), None);
            }
            Goal::Respond { status, body } => {
                page.line(&format!("respond = {{ status = {status}, body = {} }}", quoted(body)), None);
            }
        }
        if let Some(path) = &self.replace_prefix {
            page.line(&format!("replace_prefix = {}", quoted(path)), None);
        }
        self.request.write("request", page);
        self.response.write("response", page);
    }
}

impl Fields {
    fn write(&self, direction: &str, page: &mut Page) {
        let table = |name: &str, entries: Vec<String>, page: &mut Page| {
            if !entries.is_empty() {
                page.line(&format!("{direction}.{name} = {{ {} }}", entries.join(", ")), None);
            }
        };
        let set = self.set.iter().map(|(name, value)| format!("{} = {}", key(name), quoted(value)));
        table("set_headers", set.collect(), page);
        let list =
            |values: &Vec<String>| values.iter().map(|value| quoted(value)).collect::<Vec<_>>().join(", ");
        let add = self.add.iter().map(|(name, values)| format!("{} = [{}]", key(name), list(values)));
        table("add_headers", add.collect(), page);
        if !self.remove.is_empty() {
            page.line(&format!("{direction}.remove_headers = [{}]", list(&self.remove)), None);
        }
    }
}

impl Upstream {
    fn write(&self, page: &mut Page) {
        let name = key(&self.name);
        page.line(&format!("\n[upstream.{name}]"), Some(&self.origin));
        page.keys(&self.keys);
        page.line("backends = [", None);
        for backend in &self.backends {
            page.line(&format!("  {},", backend.written(self.tls.is_some())), Some(&backend.origin));
        }
        page.line("]", None);
        if !self.health.is_empty() {
            page.line(&format!("[upstream.{name}.health]"), None);
            page.keys(&self.health);
        }
        if let Some(tls) = &self.tls {
            page.line(&format!("[upstream.{name}.tls]"), None);
            page.keys(tls);
        }
    }
}

impl Backend {
    fn written(&self, tls: bool) -> String {
        let scheme = if tls { "https://" } else { "" };
        let address = format!("\"{scheme}{}\"", self.address);
        let is_plain = self.keys.is_empty() && self.name == self.address;
        if is_plain {
            return address;
        }
        let mut parts = Vec::new();
        if self.name != self.address {
            parts.push(format!("name = {}", quoted(&self.name)));
        }
        parts.push(format!("address = {address}"));
        parts.extend(self.keys.iter().map(|(key, said)| format!("{key} = {}", said.value)));
        format!("{{ {} }}", parts.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_as_people_say_them() {
        for (millis, expected) in [
            (1, "1ms"),
            (1500, "1500ms"),
            (60_000, "60s"),
            (300_000, "5m"),
            (3_600_000, "1h"),
            (86_400_000, "24h"),
        ] {
            assert_eq!(duration(Duration::from_millis(millis)), expected);
        }
    }

    #[test]
    fn texts_and_keys_cannot_end_early() {
        assert_eq!(quoted("a\"b\\c\n\u{7f}"), r#""a\"b\\c\u000A\u007F""#);
        assert_eq!((key("a-1").as_str(), key("a.b").as_str(), key("").as_str()), ("a-1", "\"a.b\"", "\"\""));
    }
}

//! Labels of a compose file, which Traefik reads from Docker, and the flags it is started with there.

use crate::import::tree::{Tree, Value};

/// What labels and flags say, as a file of Traefik would; `None` if this is no compose file.
pub(super) fn labels(file: &Tree) -> Option<Tree> {
    if file.get(&["http"]).is_some() || file.get(&["entryPoints"]).is_some() {
        return None;
    }
    let containers = file.get(&["services"])?;
    let mut tree = Tree::default();
    for (name, container) in containers.entries() {
        for (flag, line) in assignments(container, "command") {
            if let Some(flag) = flag.strip_prefix("--") {
                let (key, value) = flag.split_once('=').unwrap_or((flag, "true"));
                tree.insert(&key.split('.').collect::<Vec<_>>(), value, line);
            }
        }
        of_container(name, container, &mut tree);
    }
    Some(tree)
}

/// The lines `key=value` of a list, or the entries of a table, of this name.
fn assignments(container: &Tree, name: &str) -> Vec<(String, usize)> {
    let Some(part) = container.get(&[name]) else { return Vec::new() };
    let text = |part: &Tree| match &part.value {
        Value::Text(text) => Some((text.clone(), part.line)),
        _ => None,
    };
    match &part.value {
        Value::Table(_) => {
            let pair = |(key, part)| text(part).map(|(value, line)| (format!("{key}={value}"), line));
            part.entries().filter_map(pair).collect()
        }
        _ => part.list().iter().filter_map(text).collect(),
    }
}

fn of_container(container: &str, part: &Tree, tree: &mut Tree) {
    let labels = assignments(part, "labels");
    let labels: Vec<(Vec<&str>, &str, usize)> = labels
        .iter()
        .filter_map(|(label, line)| {
            let (key, value) = label.strip_prefix("traefik.")?.split_once('=')?;
            Some((key.split('.').collect(), value, *line))
        })
        .collect();
    let is_off = |(key, value, _): &(Vec<&str>, &str, usize)| key == &["enable"] && *value == "false";
    if labels.iter().any(is_off) {
        return;
    }
    let mut servers: Vec<(&str, &str, usize)> = Vec::new();
    for (key, value, line) in &labels {
        let lower: Vec<String> = key.iter().map(|key| key.to_ascii_lowercase()).collect();
        match lower.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["enable"] | ["docker", ..] => {}
            ["http" | "tcp", "services", _, "loadbalancer", "server", "port"] => {
                servers.push((key[0], key[2], *line));
                let url = ["loadBalancer", "servers", container];
                let whole = |last| [&[key[0], "services", key[2]][..], &url, &[last]].concat();
                let scheme = scheme(&labels, key[2]);
                match lower[0].as_str() {
                    "http" => tree.insert(&whole("url"), &format!("{scheme}://{container}:{value}"), *line),
                    _ => tree.insert(&whole("address"), &format!("{container}:{value}"), *line),
                }
            }
            ["http" | "tcp", "services", _, "loadbalancer", "server", "scheme"] => {}
            _ => tree.insert(key, value, *line),
        }
    }
    name_services(&labels, &servers, tree);
}

fn scheme<'l>(labels: &[(Vec<&str>, &'l str, usize)], service: &str) -> &'l str {
    let is_scheme = |key: &[&str]| {
        key.get(2) == Some(&service) && key.last().is_some_and(|last| last.eq_ignore_ascii_case("scheme"))
    };
    labels.iter().find(|(key, ..)| is_scheme(key)).map_or("http", |(_, value, _)| value)
}

/// A router that names no service has the only one of its container.
fn name_services(labels: &[(Vec<&str>, &str, usize)], servers: &[(&str, &str, usize)], tree: &mut Tree) {
    for (key, _, line) in labels {
        let [kind, routers, router, last] = key[..] else { continue };
        let only =
            servers.iter().filter(|(of, ..)| *of == kind).map(|(_, service, _)| *service).collect::<Vec<_>>();
        if let (true, [service]) = (routers == "routers" && last.eq_ignore_ascii_case("rule"), &only[..]) {
            tree.insert(&[kind, "routers", router, "service"], service, *line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::tree::yaml;

    #[test]
    fn labels_and_flags_are_the_tree_of_a_file() {
        let file = "services:\n  proxy:\n    command:\n      - --entrypoints.web.address=:8000\n  chat:\n    labels:\n      \
            - traefik.http.routers.r.rule=Host(`a`)\n      - traefik.http.services.s.loadbalancer.server.port=3000\n  \
            off:\n    labels: {traefik.enable: false, traefik.http.routers.x.rule: Host(`b`)}\n";
        let tree = labels(&yaml(file).unwrap()).unwrap();
        assert_eq!(tree.text(&["entryPoints", "web", "address"]), Some(":8000"));
        assert_eq!(tree.text(&["http", "routers", "r", "service"]), Some("s"));
        let url = ["http", "services", "s", "loadBalancer", "servers", "chat", "url"];
        assert_eq!(tree.text(&url), Some("http://chat:3000"));
        assert!(tree.get(&["http", "routers", "x"]).is_none());
        assert!(labels(&yaml("http:\n  routers: {}\n").unwrap()).is_none());
    }
}

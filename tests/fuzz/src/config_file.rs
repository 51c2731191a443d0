//! Any text becomes a configuration that holds its own promises, or a message an operator can read.

use std::collections::BTreeSet;

use crate::daemon::config::{BACKENDS_MAX, Config, Goal, Protocol, bounds};

pub(crate) fn run(input: &[u8]) {
    // What is not UTF-8 is refused before it is read.
    let Ok(text) = str::from_utf8(input) else { return };
    match Config::parse("ringbolt.toml", text) {
        Ok(config) => accepted(&config),
        Err(refused) => {
            let message = refused.to_string();
            assert!(message.contains("ringbolt.toml"), "names no file: {message:?}");
            let lines = message.lines().filter(|line| line.starts_with("ringbolt.toml:")).count();
            assert!(lines <= bounds::PROBLEMS_SHOWN_MAX + 1, "{lines} problems at once");
        }
    }
}

fn accepted(config: &Config) {
    assert!(!config.listeners.is_empty() && !config.upstreams.is_empty());
    let known = |name: &String| assert!(config.upstreams.contains_key(name), "no upstream {name:?}");
    config.listeners.iter().filter_map(|listener| listener.upstream.as_ref()).for_each(known);
    let goals = config.routes.iter().filter_map(|route| match &route.goal {
        Goal::Upstream(upstream) => Some(upstream),
        Goal::Reply(_) => None,
    });
    goals.for_each(known);
    assert!(config.routes.iter().all(|route| route.path.starts_with('/')));
    for detect in config.listeners.iter().map(|listener| &listener.detect) {
        assert!(!detect.protocols.is_empty(), "a listener that serves nothing");
        assert_eq!(detect.protocols.has(Protocol::Tcp), detect.tcp_upstream.is_some());
        assert_eq!(detect.protocols.has(Protocol::Tls), !detect.sni.is_empty());
        assert!(!detect.protocols.has(Protocol::FlashPolicy) || config.flash_policy.is_some());
        detect.tcp_upstream.iter().chain(detect.sni.iter().map(|(_, upstream)| upstream)).for_each(known);
    }
    let fixed: Vec<_> = config
        .listeners
        .iter()
        .map(|listener| listener.address)
        .filter(|address| address.port() != 0)
        .collect();
    assert_eq!(fixed.iter().collect::<BTreeSet<_>>().len(), fixed.len(), "an address twice");
    let backends: usize = config.upstreams.values().map(|upstream| upstream.backends.len()).sum();
    assert!(backends <= BACKENDS_MAX);
    for upstream in config.upstreams.values() {
        assert!(!upstream.backends.is_empty() || !upstream.sources.is_empty(), "nobody to ask, ever");
        let names: BTreeSet<_> = upstream.backends.iter().map(|backend| &backend.name).collect();
        assert_eq!(names.len(), upstream.backends.len(), "a backend's name twice");
        assert!(upstream.backends.iter().all(|backend| bounds::WEIGHT.contains(&backend.weight)));
    }
    assert!(config.workers.count.is_none_or(|count| (1..=bounds::WORKERS_MAX).contains(&count)));
    assert!(bounds::REQUEST_HEAD_BYTES.contains(&(config.limits.request_head_bytes as u64)));
    assert!(bounds::TABLE_ENTRIES.contains(&config.limits.sids));
}

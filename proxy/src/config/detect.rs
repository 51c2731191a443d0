//! What a listener's connections may speak, and where those go that are not HTTP.

use std::path::PathBuf;

use ringbolt_core::detect::{Protocol, Protocols};
use ringbolt_core::flash_policy::FlashPolicy;

use super::bounds::FLASH_POLICY_ENTRIES_MAX;
use super::read::reference;
use super::section::{Section, text};
use super::{Detect, Policy, value};

const PROTOCOLS: &[(&str, Protocol)] = &[
    ("http", Protocol::Http),
    ("tls", Protocol::Tls),
    ("flash-policy", Protocol::FlashPolicy),
    ("tcp", Protocol::Tcp),
];

/// `detect` and `tcp_upstream` of one listener.
pub(super) fn detect(section: &mut Section<'_>, upstreams: &[&str], has_flash_policy: bool) -> Detect {
    let named = section.read("tcp_upstream", reference(upstreams));
    let given = section.field("detect").is_some();
    let listed = section.read_list("detect", r#"a list such as ["http", "tcp"]"#, PROTOCOLS.len(), |text| {
        value::choice(text, PROTOCOLS)
    });
    let protocols: Protocols = match (given, named.is_some()) {
        (true, _) => listed.into_iter().collect(),
        (false, false) => Protocols::of(Protocol::Http),
        (false, true) => [Protocol::Http, Protocol::Tcp].into_iter().collect(),
    };
    if given && protocols.is_empty() {
        section.problem("detect", r#"serves nothing; write for example `detect = ["http", "tcp"]`"#);
    }
    let tcp_upstream = named.or_else(|| match upstreams {
        [only] if protocols.has(Protocol::Tcp) => Some((*only).to_owned()),
        _ => None,
    });
    for (wrong, name, problem) in [
        (
            protocols.has(Protocol::Tcp) && tcp_upstream.is_none(),
            "tcp_upstream",
            r#"is missing; name the upstream of connections that speak no other protocol of `detect`"#,
        ),
        (
            !protocols.has(Protocol::Tcp) && tcp_upstream.is_some(),
            "tcp_upstream",
            r#"means nothing without "tcp" in `detect`"#,
        ),
        (protocols.has(Protocol::Tls), "detect", r#""tls" is not served yet"#),
        (
            protocols.has(Protocol::FlashPolicy) && !has_flash_policy,
            "detect",
            r#""flash-policy" needs a policy in `[flash_policy]`"#,
        ),
    ] {
        if wrong {
            section.problem(name, problem);
        }
    }
    Detect { protocols, tcp_upstream }
}

/// `[flash_policy]`; `None` where there is none, or a wrong one.
pub(super) fn flash_policy(document: &mut Section<'_>) -> Option<Policy> {
    document.field("flash_policy")?;
    let mut section = document.section("flash_policy");
    let file = section.read("file", text("a path", |path| Ok(PathBuf::from(path))));
    let mut list = |name, expected, check: fn(&str) -> Result<(), _>| {
        section.read_list(name, expected, FLASH_POLICY_ENTRIES_MAX, |text| match check(text) {
            Ok(()) => Ok(text.to_owned()),
            Err(error) => Err(format!("{text:?} {error}")),
        })
    };
    let domains = list("domains", r#"a list such as ["*.example.com"]"#, FlashPolicy::check_domain);
    let ports = list("ports", r#"a list such as ["443", "8000-8100"]"#, FlashPolicy::check_ports);
    let policy = match (file, domains.is_empty(), ports.is_empty()) {
        (Some(file), true, true) => Some(Policy::File(file)),
        (None, false, false) => FlashPolicy::allowing(&domains, &ports).ok().map(Policy::Given),
        (Some(_), ..) => {
            section.problem("file", "is the whole policy: leave out `domains` and `ports`");
            None
        }
        (None, ..) => {
            let problem = r#"write `domains = ["*.example.com"]` and `ports = ["443"]`, or `file`"#;
            section.problem("domains", problem);
            None
        }
    };
    section.finish();
    policy
}

//! What a listener's connections may speak, and where those go that are not HTTP.

use std::path::PathBuf;

use ringbolt_core::detect::{Protocol, Protocols};
use ringbolt_core::flash_policy::FlashPolicy;
use ringbolt_core::route::{Routes, Rule, TargetId};

use super::bounds::{FLASH_POLICY_ENTRIES_MAX, SNI_NAMES_MAX};
use super::problem::Problems;
use super::read::reference;
use super::section::{Section, text};
use super::{Detect, ListenerTls, Policy, value};

const PROTOCOLS: &[(&str, Protocol)] = &[
    ("tls", Protocol::Tls),
    ("http", Protocol::Http),
    ("flash-policy", Protocol::FlashPolicy),
    ("tcp", Protocol::Tcp),
];

/// TLS is opened once.
const PROTOCOLS_INSIDE: &[(&str, Protocol)] = PROTOCOLS.split_at(1).1;

/// What `detect` holds.
const LIST: &str = r#"a list such as ["http", "tcp"]"#;

/// `detect`, `tcp_upstream` and `[listener.sni]` of one listener; completes what may be spoken inside its TLS.
pub(super) fn detect(
    problems: &Problems,
    section: &mut Section<'_>,
    upstreams: &[&str],
    has_flash_policy: bool,
    tls: Option<&mut ListenerTls>,
) -> Detect {
    let has_tls = tls.is_some();
    let sni = sni(problems, section, upstreams);
    let named = section.read("tcp_upstream", reference(upstreams));
    let given = section.field("detect");
    let listed = section.read_list("detect", LIST, PROTOCOLS.len(), |text| value::choice(text, PROTOCOLS));
    let first = if sni.is_empty() && !has_tls { Protocol::Http } else { Protocol::Tls };
    let protocols: Protocols = match (&given, named.is_some()) {
        (Some(_), _) => listed.iter().copied().collect(),
        (None, false) => Protocols::of(first),
        (None, true) => [first, Protocol::Tcp].into_iter().collect(),
    };
    let inside = tls.map(|tls| {
        if tls.inside.is_empty() {
            tls.inside = protocols.without(Protocol::Tls).union(Protocols::of(Protocol::Http));
        }
        tls.inside
    });
    let served = protocols.union(inside.unwrap_or_default());
    let tcp_upstream = named.or_else(|| match upstreams {
        [only] if served.has(Protocol::Tcp) => Some((*only).to_owned()),
        _ => None,
    });
    let detect = Detect { protocols, tcp_upstream, sni };
    match given.map(|field| (field.entries().map(|entries| entries.len()), field)) {
        Some((Some(0), field)) => problems.add(field.at, field.key, format!("is empty; write {LIST}")),
        // What follows from a list with mistakes would be no mistake of its own.
        Some((entries, _)) if entries != Some(listed.len()) => {}
        _ => check(section, &detect, inside, has_flash_policy),
    }
    detect
}

/// `detect` of `[listener.tls]`; empty: nothing is said, or nothing right.
pub(super) fn inside(section: &mut Section<'_>) -> Protocols {
    if section.field("detect").is_some_and(|field| field.entries().is_some_and(|entries| entries.is_empty()))
    {
        section.problem("detect", format!("is empty; write {LIST}"));
    }
    let listed = section
        .read_list("detect", LIST, PROTOCOLS_INSIDE.len(), |text| value::choice(text, PROTOCOLS_INSIDE));
    listed.into_iter().collect()
}

/// Notes what is served without saying how, and what is said and not served.
fn check(section: &Section<'_>, detect: &Detect, inside: Option<Protocols>, has_flash_policy: bool) {
    let has_tls = inside.is_some();
    let served = detect.protocols.union(inside.unwrap_or_default());
    let [tcp, tls, flash_policy] =
        [Protocol::Tcp, Protocol::Tls, Protocol::FlashPolicy].map(|protocol| served.has(protocol));
    if tcp && detect.tcp_upstream.is_none() {
        let problem = "is missing; name the upstream of connections that speak nothing else in `detect`";
        section.problem("tcp_upstream", problem);
    }
    if !tcp && detect.tcp_upstream.is_some() {
        section.problem("tcp_upstream", r#"means nothing without "tcp" in `detect`"#);
    }
    if tls && detect.sni.is_empty() && !has_tls {
        section.problem("detect", r#""tls" needs names in `[listener.sni]`, or `[listener.tls]`"#);
    }
    if has_tls && !tls {
        section.problem("tls", r#"means nothing without "tls" in `detect`"#);
    }
    if !tls && !detect.sni.is_empty() {
        section.problem("sni", r#"means nothing without "tls" in `detect`"#);
    }
    if flash_policy && !has_flash_policy {
        section.problem("detect", r#""flash-policy" needs a policy in `[flash_policy]`"#);
    }
}

/// `[listener.sni]`: names and upstreams.
fn sni(problems: &Problems, section: &mut Section<'_>, upstreams: &[&str]) -> Vec<(Option<String>, String)> {
    let section = section.section("sni");
    let fields = section.fields();
    if fields.len() > SNI_NAMES_MAX {
        section.problem("*", format!("has more than {SNI_NAMES_MAX} names"));
        return Vec::new();
    }
    let mut names = Vec::new();
    let mut rules = Routes::default();
    for (name, field) in fields {
        let note = |problem: String| problems.add(field.at.clone(), field.key.clone(), problem);
        let host = match name {
            "*" => Ok(None),
            name => value::host(name).map(Some),
        };
        let read = host.and_then(|host| Ok((host, reference(upstreams)(field.value)?)));
        let (host, upstream) = match read {
            Ok(read) => read,
            Err(problem) => {
                note(problem);
                continue;
            }
        };
        let rule = Rule { host: host.clone(), path: "/".to_owned(), target: TargetId(0) };
        match rules.add(names.len(), &rule) {
            Ok(()) => names.push((host, upstream)),
            Err(_) => note("is there twice; case and a final dot do not matter".to_owned()),
        }
    }
    names
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

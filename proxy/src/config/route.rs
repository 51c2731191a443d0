//! `[[route]]`: what requests it takes, and what becomes of them.

use std::collections::BTreeMap;

use ringbolt_core::http::{FieldRuleError, FieldRules, Location, PathRewrite, RouteReply};
use ringbolt_core::route::{Routes, Rule, TargetId};
use toml::de::DeValue;

use super::bounds::{FIELD_RULES_MAX, REPLY_BODY_BYTES_MAX};
use super::problem::Problems;
use super::section::{Field, Section, boolean, integer, text, wrong_type};
use super::{Goal, Route, Upstream, sid_tags, value};

/// Statuses of a redirect: those that tell a client to repeat the request elsewhere.
const REDIRECT_STATUSES: [u32; 5] = [301, 302, 303, 307, 308];

/// What may be done with requests, of which one is chosen.
const GOALS: [&str; 3] = ["upstream", "redirect", "respond"];

pub(super) fn routes(
    problems: &Problems,
    sections: Vec<Section<'_>>,
    names: &[&str],
    upstreams: &BTreeMap<String, Upstream>,
) -> Vec<Route> {
    let mut routes: Vec<Route> = Vec::new();
    let mut rules = Routes::default();
    for mut section in sections {
        let at = section.at();
        let host = section.read("host", text("a string", value::host));
        let path = section.read("path", text("a string", value::path)).unwrap_or_else(|| "/".to_owned());
        let goal = goal(&mut section, names);
        if matches!(goal, Goal::Reply(_)) {
            refuse_what_needs_an_upstream(&mut section);
        }
        let affinity = section.read("affinity", text("a string", super::affinity));
        let upstream = match &goal {
            Goal::Upstream(name) => upstreams.get(name),
            Goal::Reply(_) => None,
        };
        let sid_tags = sid_tags::of_route(&mut section, affinity.as_ref(), upstream);
        let rule = Rule { host: host.clone(), path: path.clone(), target: TargetId(0) };
        if let Err(error) = rules.add(routes.len(), &rule) {
            problems.add(at, section.key_of("path"), error.to_string());
        }
        let rewrite = rewrite(&mut section, &path);
        let request = field_rules(problems, section.section("request"));
        let response = field_rules(problems, section.section("response"));
        let request_rate = super::read::rate(&mut section, "request_rate");
        section.finish();
        routes.push(Route { host, path, goal, affinity, sid_tags, rewrite, request, response, request_rate });
    }
    routes
}

fn refuse_what_needs_an_upstream(section: &mut Section<'_>) {
    for name in ["affinity", "sid_tags", "strip_prefix", "replace_prefix", "request"] {
        if section.field(name).is_some() {
            section.problem(name, "means nothing where the route answers by itself");
        }
    }
}

/// What becomes of the requests: exactly one thing.
fn goal(section: &mut Section<'_>, upstreams: &[&str]) -> Goal {
    let given = GOALS.map(|name| section.field(name).is_some());
    if given.iter().filter(|given| **given).count() > 1 {
        section.problem("upstream", "only one of `upstream`, `redirect` and `respond` can be done");
    }
    let status = section.read("redirect_status", |value| {
        let status = integer(301..=308)(value)?;
        let known = REDIRECT_STATUSES.contains(&status);
        known
            .then_some(status)
            .ok_or_else(|| format!("{status} is no redirect; use 301, 302, 303, 307 or 308"))
    });
    let reply = match given {
        [_, true, _] => redirect(section, status.unwrap_or(308)),
        [_, false, true] => respond(section.section("respond")),
        [true, false, false] => {
            let upstream = section.read("upstream", super::read::reference(upstreams));
            return Goal::Upstream(upstream.unwrap_or_default());
        }
        [false, false, false] => {
            let problem = r#"is missing; write for example `upstream = "chat"`, or `redirect` or `respond`"#;
            section.problem("upstream", problem);
            None
        }
    };
    reply.map_or_else(|| Goal::Upstream(String::new()), Goal::Reply)
}

fn redirect(section: &mut Section<'_>, status: u32) -> Option<RouteReply> {
    let location = section.read(
        "redirect",
        text("a string", |text| Location::parse(text).map_err(|error| format!("{text:?} {error}"))),
    )?;
    Some(RouteReply::Redirect { status: u16::try_from(status).ok()?, location })
}

fn respond(mut section: Section<'_>) -> Option<RouteReply> {
    let status = section.read("status", integer(200..=599)).unwrap_or(200);
    let body = section.read("body", text("a string", body)).unwrap_or_default();
    if matches!(status, 204 | 205 | 304) && !body.is_empty() {
        section.problem("body", format!("a response with status {status} has none"));
    }
    let content_type = section.read("content_type", text("a string", content_type));
    section.finish();
    let content_type = content_type.unwrap_or_else(|| "text/plain; charset=utf-8".to_owned()).into();
    Some(RouteReply::Fixed { status: u16::try_from(status).ok()?, content_type, body: body.into() })
}

fn body(text: &str) -> Result<String, String> {
    if text.len() > REPLY_BODY_BYTES_MAX {
        return Err(format!("is longer than {} KiB; serve it from a backend", REPLY_BODY_BYTES_MAX / 1024));
    }
    Ok(text.to_owned())
}

fn content_type(text: &str) -> Result<String, String> {
    // The same rule as for any value that is set.
    let set = FieldRules::default().set("Content-Type", text);
    set.map(|()| text.to_owned()).map_err(|error| error.to_string())
}

/// The path a backend sees instead.
fn rewrite(section: &mut Section<'_>, path: &str) -> Option<PathRewrite> {
    let strip = section.read("strip_prefix", boolean).unwrap_or(false);
    let replacement = section.read("replace_prefix", text("a string", value::path));
    if strip && replacement.is_some() {
        section.problem("strip_prefix", "only one of `strip_prefix` and `replace_prefix` can be done");
    }
    let replacement = replacement.or_else(|| strip.then(|| "/".to_owned()))?;
    Some(PathRewrite::new(path, &replacement))
}

/// `[route.request]` and `[route.response]`.
fn field_rules(problems: &Problems, mut section: Section<'_>) -> FieldRules {
    let mut rules = FieldRules::default();
    let mut left = FIELD_RULES_MAX;
    let remove = "a list of names such as [\"Server\"]";
    let removed = section.read_list("remove_headers", remove, FIELD_RULES_MAX, |name| {
        // Judged here, where the place is known.
        FieldRules::default().remove(name).map(|()| name.to_owned()).map_err(|error| error.to_string())
    });
    for name in removed {
        let _ = rules.remove(&name);
    }
    for (key, apply) in [
        ("set_headers", FieldRules::set as fn(&mut FieldRules, &str, &str) -> Result<(), FieldRuleError>),
        ("add_headers", FieldRules::add),
    ] {
        let Some(field) = section.field(key) else { continue };
        for (name, value) in entries(problems, field, &mut left) {
            let result = match value.value.as_str() {
                Some(text) => apply(&mut rules, name, text).map_err(|error| error.to_string()),
                None => Err(wrong_type(value.value, "a string")),
            };
            if let Err(problem) = result {
                problems.add(value.at, value.key, problem);
            }
        }
    }
    section.finish();
    rules
}

/// Names and values of a table of headers; a value may be a list of them.
fn entries<'t>(problems: &'t Problems, field: Field<'t>, left: &mut usize) -> Vec<(&'t str, Field<'t>)> {
    let at = field.at.clone();
    let expected = r#"a table of headers such as { X-Env = "prod" }"#;
    let Some(section) = Section::of(problems, field, expected) else { return Vec::new() };
    let is_list = |field: &Field<'_>| matches!(field.value, DeValue::Array(_));
    let mut all = Vec::new();
    for (name, field) in section.fields() {
        match field.entries().filter(|_| is_list(&field)) {
            Some(entries) => all.extend(entries.into_iter().map(|entry| (name, entry))),
            None => all.push((name, field)),
        }
    }
    if all.len() > *left {
        problems.add(at, section.key_of("*"), format!("more than {FIELD_RULES_MAX} headers in one table"));
        all.clear();
    }
    *left -= all.len();
    all
}

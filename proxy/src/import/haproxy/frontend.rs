//! `frontend`, and the addresses and rules of a `listen`.

use ringbolt_core::http::Location;

use super::acl::{Acls, Term, Test, acls, condition};
use super::bind::Bind;
use super::{Import, Proxy};
use crate::config::bounds::TABLE_ENTRIES;
use crate::import::draft::{Fields, Goal, Route, Said};
use crate::import::report::Origin;
use crate::import::words::Line;

/// Requests that a rule takes: each of these hosts with each of these paths.
struct Reach {
    hosts: Vec<Option<String>>,
    paths: Vec<String>,
    /// It had to do with an upgrade to WebSocket and nothing else.
    only_upgrade: bool,
}

/// A frontend while it is read.
struct Frontend {
    binds: Vec<Bind>,
    routes: Vec<Route>,
    rest: Option<(String, Origin)>,
    tcp: Option<(String, Origin)>,
    sni: Vec<(String, String, Origin)>,
    https_redirect: Option<Origin>,
    connections: Option<Said>,
    request: Fields,
    response: Fields,
}

impl Import<'_, '_> {
    pub(super) fn frontend(&mut self, proxy: &Proxy<'_>, all: &[Proxy<'_>]) {
        let acls = acls(proxy.lines.iter());
        let is_http = proxy.is_http();
        let mut frontend = Frontend {
            binds: Vec::new(),
            routes: Vec::new(),
            rest: None,
            tcp: None,
            sni: Vec::new(),
            https_redirect: None,
            connections: None,
            request: Fields::default(),
            response: Fields::default(),
        };
        for line in proxy.lines {
            self.of_frontend(line, proxy, &acls, &mut frontend);
        }
        let own = proxy.has_servers().then(|| (proxy.name.to_owned(), proxy.origin.clone()));
        let default = proxy.last(&["default_backend"]);
        let rest = default.map(|line| (line.word(1).to_owned(), line.origin())).or(own);
        if is_http || frontend.rest.is_some() {
            frontend.rest = frontend.rest.or_else(|| rest.clone());
        }
        if !is_http {
            frontend.tcp = rest.or(frontend.tcp);
        }
        if frontend.binds.is_empty() {
            self.draft.not_translated(&proxy.origin, "has no address to listen on");
            return;
        }
        let only_shows = |line: &Line| {
            matches!(line.name(), "stats" | "bind" | "mode" | "log" | "timeout" | "option" | "maxconn")
        };
        if proxy.lines.iter().any(|line| line.name() == "stats") && proxy.lines.iter().all(only_shows) {
            self.draft.not_needed(&proxy.origin, "metrics are on `admin.address`");
            return;
        }
        self.fields_of_backends(&mut frontend, all);
        self.listen(proxy, frontend, is_http);
    }

    fn of_frontend(&mut self, line: &Line, proxy: &Proxy<'_>, acls: &Acls, frontend: &mut Frontend) {
        let origin = line.origin();
        match line.name() {
            "bind" => frontend.binds.extend(self.bind(line)),
            "use_backend" => self.use_backend(line, acls, frontend),
            "redirect" => self.redirect(line, 1, acls, frontend),
            "http-request" if line.word(1) == "redirect" => self.redirect(line, 2, acls, frontend),
            "http-request"
                if matches!(line.word(1), "deny" | "reject" | "auth" | "tarpit" | "silent-drop") =>
            {
                self.deny(line, acls, frontend);
            }
            "block" => self.deny(line, acls, frontend),
            "http-request" | "http-response" => {
                let Frontend { request, response, .. } = frontend;
                self.field(line, acls, request, response);
            }
            "maxconn" => match line.word(1).parse::<u32>() {
                Ok(count) if TABLE_ENTRIES.contains(&count) => {
                    frontend.connections = Some(Said::number(count, &origin));
                }
                _ => self.draft.not_translated(&origin, "is no number of connections"),
            },
            "acl" | "default_backend" | "mode" => {}
            // Those of a `listen` have been read with its servers.
            _ if proxy.has_servers() => {}
            _ if self.of_process(line) => {}
            _ => self.left_over(line),
        }
    }

    fn use_backend(&mut self, line: &Line, acls: &Acls, frontend: &mut Frontend) {
        let origin = line.origin();
        let name = line.word(1).to_owned();
        let Some(alternatives) = condition(line.from(2), acls) else {
            self.draft.not_translated(&origin, "its condition is none that a route can have");
            return;
        };
        for terms in alternatives {
            match &terms[..] {
                [(false, tests)] if tests == &[Test::Http] => {
                    frontend.rest = Some((name.clone(), origin.clone()));
                }
                [(false, tests)] if tests == &[Test::FlashPolicy] => {
                    self.draft.not_translated(
                        &origin,
                        "let Ringbolt answer it: `[flash_policy]`, and \"flash-policy\" in `detect`",
                    );
                }
                [(false, tests)] if tests.iter().all(|test| matches!(test, Test::ServerName(_))) => {
                    let names = tests.iter().filter_map(|test| match test {
                        Test::ServerName(name) => {
                            Some((name.clone(), line.word(1).to_owned(), origin.clone()))
                        }
                        _ => None,
                    });
                    frontend.sni.extend(names);
                }
                _ => {
                    let Some(reach) = self.reach(&terms, &origin) else { continue };
                    self.routes(reach, &Goal::Upstream(name.clone()), &origin, frontend);
                }
            }
        }
    }

    fn routes(&mut self, reach: Reach, goal: &Goal, origin: &Origin, frontend: &mut Frontend) {
        if reach.only_upgrade {
            self.draft.changed(
                origin,
                "taken for /socket.io/: a route has no condition on Upgrade, and needs none",
            );
        }
        for host in &reach.hosts {
            for path in &reach.paths {
                frontend.routes.push(Route::new(host.clone(), path, goal.clone(), origin));
            }
        }
    }

    /// The requests that meet all terms, as far as a route can tell.
    fn reach(&mut self, terms: &[Term], origin: &Origin) -> Option<Reach> {
        let mut hosts: Option<Vec<Option<String>>> = None;
        let mut paths: Option<Vec<String>> = None;
        let mut upgrade = false;
        for (negated, tests) in terms {
            let found =
                |test: fn(&Test) -> Option<String>| tests.iter().map(test).collect::<Option<Vec<String>>>();
            let path = found(|test| if let Test::Path(path) = test { Some(path.clone()) } else { None });
            let host = found(|test| if let Test::Host(host) = test { Some(host.clone()) } else { None });
            let is_upgrade = tests.iter().all(|test| *test == Test::Upgrade);
            match (negated, path, host) {
                (false, Some(found), _) if paths.is_none() => paths = Some(found),
                (false, _, Some(found)) if hosts.is_none() => {
                    hosts = Some(found.into_iter().map(Some).collect());
                }
                (false, ..) if is_upgrade => upgrade = true,
                (false, ..) if tests == &[Test::Always] => {}
                _ => {
                    self.draft
                        .not_translated(origin, "its condition is none that a route can have: host, path");
                    return None;
                }
            }
        }
        let only_upgrade = upgrade && paths.is_none();
        let everywhere = if only_upgrade { "/socket.io/" } else { "/" };
        Some(Reach {
            hosts: hosts.unwrap_or_else(|| vec![None]),
            paths: paths.unwrap_or_else(|| vec![everywhere.to_owned()]),
            only_upgrade,
        })
    }

    /// `redirect scheme https`, `redirect location URL`, `redirect prefix URL`, from the word `at` on.
    fn redirect(&mut self, line: &Line, at: usize, acls: &Acls, frontend: &mut Frontend) {
        let origin = line.origin();
        let words = line.from(at);
        let start = words.iter().position(|word| word == "if" || word == "unless").unwrap_or(words.len());
        let code =
            words[..start].windows(2).find(|pair| pair[0] == "code").and_then(|pair| pair[1].parse().ok());
        let status: u16 = code.unwrap_or(302);
        let (kind, value) = (line.word(at), line.word(at + 1));
        let Some(alternatives) = condition(&words[start..], acls) else {
            self.draft.not_translated(&origin, "its condition is none that a route can have");
            return;
        };
        let not_tls = |terms: &Vec<Term>| matches!(&terms[..], [(true, tests)] if tests == &[Test::Tls]);
        if kind == "scheme"
            && value == "https"
            && alternatives.iter().all(|terms| terms.is_empty() || not_tls(terms))
        {
            frontend.https_redirect = Some(origin);
            return;
        }
        let to = match kind {
            "location" => value.to_owned(),
            "prefix" => format!("{}{{target}}", value.trim_end_matches('/')),
            _ => String::new(),
        };
        let is_status = matches!(status, 301 | 302 | 303 | 307 | 308);
        if !is_status || to.contains('%') || Location::parse(&to).is_err() {
            self.draft.not_translated(&origin, "is no redirect that a route can give");
            return;
        }
        for terms in alternatives {
            let Some(reach) = self.reach(&terms, &origin) else { continue };
            self.routes(reach, &Goal::Redirect { to: to.clone(), status }, &origin, frontend);
        }
    }

    /// `http-request deny`. Rather too much is refused than too little: terms that a route cannot have are left out,
    /// as long as a host or a path is left.
    fn deny(&mut self, line: &Line, acls: &Acls, frontend: &mut Frontend) {
        let origin = line.origin();
        let start = line.words.iter().position(|word| word == "if" || word == "unless");
        let words = start.map_or(&[][..], |start| line.from(start));
        let is_place = |(negated, tests): &Term| {
            !negated && tests.iter().all(|test| matches!(test, Test::Path(_) | Test::Host(_)))
        };
        let mut refused = false;
        for mut terms in condition(words, acls).unwrap_or_default() {
            terms.retain(is_place);
            if !terms.is_empty()
                && let Some(reach) = self.reach(&terms, &origin)
            {
                self.routes(reach, &Goal::Respond { status: 403, body: String::new() }, &origin, frontend);
                refused = true;
            }
        }
        let why = if refused {
            "all of these hosts and paths are answered 403"
        } else {
            "there is no access control"
        };
        self.draft.not_translated(&origin, why);
    }

    /// `http-request` and `http-response` that set, add or remove a field.
    fn field(&mut self, line: &Line, acls: &Acls, request: &mut Fields, response: &mut Fields) {
        let origin = line.origin();
        let is_request = line.name() == "http-request";
        let (action, name, value) = (line.word(1), line.word(2), line.word(3));
        let takes_value = matches!(action, "set-header" | "add-header");
        if !takes_value && action != "del-header" {
            self.left_over(line);
            return;
        }
        let lower = name.to_ascii_lowercase();
        if is_request
            && (lower.starts_with("x-forwarded-")
                || matches!(lower.as_str(), "x-real-ip" | "forwarded" | "host" | "x-client-ip"))
        {
            self.draft.not_needed(&origin, "what backends learn about the client goes on by itself");
            return;
        }
        let fields = if is_request { request } else { response };
        let always = condition(line.from(if takes_value { 4 } else { 3 }), acls) == Some(vec![Vec::new()]);
        let outcome = match action {
            _ if !always => Err("fields are set for all requests of a route".to_owned()),
            _ if value.contains('%') => Err("values with variables".to_owned()),
            "set-header" => fields.set(name, value),
            "add-header" => fields.add(name, value),
            _ => fields.remove(name),
        };
        if let Err(why) = outcome {
            self.draft.not_translated(&origin, why);
        }
    }

    /// Fields that backends set: they belong to the routes that lead there.
    fn fields_of_backends(&mut self, frontend: &mut Frontend, all: &[Proxy<'_>]) {
        let mut of = |name: &str, request: &mut Fields, response: &mut Fields| {
            let Some(proxy) = all.iter().find(|proxy| proxy.kind == "backend" && proxy.name == name) else {
                return;
            };
            let acls = acls(proxy.lines.iter());
            for line in
                proxy.lines.iter().filter(|line| matches!(line.name(), "http-request" | "http-response"))
            {
                self.field(line, &acls, request, response);
            }
        };
        for route in &mut frontend.routes {
            route.response = frontend.response.clone();
            if let Goal::Upstream(name) = &route.goal {
                route.request = frontend.request.clone();
                of(name, &mut route.request, &mut route.response);
            }
        }
        let (mut request, mut response) = (frontend.request.clone(), frontend.response.clone());
        let Some((name, origin)) = frontend.rest.clone() else { return };
        of(&name, &mut request, &mut response);
        if !(request.is_empty() && response.is_empty()) {
            let route = Route::new(None, "/", Goal::Upstream(name), &origin);
            frontend.routes.push(Route { request, response, ..route });
        }
    }

    fn listen(&mut self, proxy: &Proxy<'_>, frontend: Frontend, is_http: bool) {
        for bind in &frontend.binds {
            for address in &bind.addresses {
                let listener = self.draft.listener(*address, &bind.origin);
                if listener.upstream.is_some() || listener.tcp_upstream.is_some() {
                    self.draft.not_translated(&bind.origin, "another section listens here");
                    continue;
                }
                listener.upstream.clone_from(&frontend.rest);
                listener.tcp_upstream.clone_from(&frontend.tcp);
                listener.serves_http = is_http || frontend.rest.is_some();
                listener.sni.clone_from(&frontend.sni);
                listener.connections.clone_from(&frontend.connections);
                listener.proxy_protocol = bind.proxy_protocol.then(|| bind.origin.clone());
                match &bind.tls {
                    Some(tls) => listener.tls.get_or_insert_default().merge(tls.clone()),
                    None => listener.https_redirect.clone_from(&frontend.https_redirect),
                }
            }
        }
        if !is_http && frontend.rest.is_none() && !frontend.routes.is_empty() {
            self.draft.not_translated(&proxy.origin, "in TCP there is no host and no path");
            return;
        }
        self.draft.routes.extend(frontend.routes);
    }
}

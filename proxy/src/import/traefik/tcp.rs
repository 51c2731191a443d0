//! Routers of TCP: TLS that is passed on by its server name, or opened here, and plain connections.

use super::Import;
use super::entry_point::EntryPoint;
use super::router::here;
use super::rule::places;
use crate::import::draft::Tls;
use crate::import::tree::Tree;

impl<'t> Import<'_, 't> {
    pub(super) fn tcp_routers(&mut self, entry_points: &[EntryPoint<'t>]) {
        for (_, part) in self.named(&["tcp", "routers"]).collect::<Vec<_>>() {
            self.tcp_router(part, entry_points);
        }
    }

    fn tcp_router(&mut self, part: &'t Tree, entry_points: &[EntryPoint<'t>]) {
        let origin = self.origin(part.get(&["rule"]).unwrap_or(part));
        let places = match places(part.text(&["rule"]).unwrap_or_default()) {
            Ok(places) if places.iter().all(|place| place.path == "/") => places,
            Ok(_) => return self.draft.not_translated(&origin, "a connection has no path"),
            Err(why) => return self.draft.not_translated(&origin, why),
        };
        if let Some(middlewares) = part.get(&["middlewares"]) {
            middlewares.take_all();
            return self
                .draft
                .not_translated(&origin, "middlewares of TCP decide who is let in, which is not done here");
        }
        let Some(upstream) = self.upstream_of("tcp", part, &origin) else { return };
        let is_passed = part.is_true(&["tls", "passthrough"]);
        let is_opened = part.get(&["tls"]).is_some() && !is_passed;
        for entry in here(part, entry_points) {
            for place in &places {
                let name = place.host.clone();
                if name.is_some() && !is_passed {
                    let why =
                        "TLS that is opened here leads to one upstream for TCP, whatever its server name";
                    self.draft.changed(&origin, why);
                }
                let listener = self.draft.listener(entry.address, &origin);
                match is_passed {
                    true => {
                        listener.sni.push((
                            name.unwrap_or_else(|| "*".to_owned()),
                            upstream.clone(),
                            origin.clone(),
                        ));
                    }
                    false => _ = listener.tcp_upstream.get_or_insert((upstream.clone(), origin.clone())),
                }
                if is_opened {
                    listener.tls.get_or_insert_with(Tls::default);
                }
            }
        }
    }
}

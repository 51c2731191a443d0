//! What the chat backends share: the lines said, whichever backend heard them.
//!
//! Rooms of a Socket.IO server end at its process. A real deployment joins its servers with an
//! adapter (Redis, say); here the servers live in one process and a broadcast channel does it.

use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;

/// Lines a slow backend may lag behind before it misses the oldest.
const LINES_QUEUED_MAX: usize = 256;
/// Longest line passed on, in characters. The rest is cut.
const TEXT_CHARS_MAX: usize = 500;
/// Longest guest name passed on, in characters. The rest is cut.
const NAME_CHARS_MAX: usize = 24;

/// One line of chat, as every page receives it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Line {
    name: String,
    backend: &'static str,
    text: String,
}

/// Who connects, as the page sends it with its Socket.IO CONNECT packet.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Guest {
    #[serde(default)]
    name: String,
}

/// First event a page receives: where its session landed, among which backends.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Welcome {
    pub(crate) backend: &'static str,
    pub(crate) backends: &'static [&'static str],
}

/// The chat all backends take part in. Clones are the same chat.
#[derive(Clone, Debug)]
pub(crate) struct Chat {
    backends: &'static [&'static str],
    lines: broadcast::Sender<Line>,
}

impl Chat {
    /// A silent chat between these backends.
    pub(crate) fn new(backends: &'static [&'static str]) -> Self {
        Self { backends, lines: broadcast::Sender::new(LINES_QUEUED_MAX) }
    }

    /// The names of all backends, in the order they are shown.
    pub(crate) fn backends(&self) -> &'static [&'static str] {
        self.backends
    }

    /// Everything said on any backend from now on.
    pub(crate) fn listen(&self) -> broadcast::Receiver<Line> {
        self.lines.subscribe()
    }

    /// Passes a line to all backends. Blank lines are dropped, long ones cut.
    pub(crate) fn say(&self, backend: &'static str, guest: &Guest, text: &str) {
        let text = cut(text, TEXT_CHARS_MAX);
        if text.is_empty() {
            return;
        }
        let name = match cut(&guest.name, NAME_CHARS_MAX) {
            name if name.is_empty() => "guest".to_owned(),
            name => name,
        };
        // Nobody listening is no error: the line was said to an empty room.
        let _heard_by = self.lines.send(Line { name, backend, text });
    }
}

fn cut(text: &str, chars_max: usize) -> String {
    text.trim().chars().take(chars_max).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(name: &str, text: &str) -> Option<Line> {
        let chat = Chat::new(&["north"]);
        let mut lines = chat.listen();
        chat.say("north", &Guest { name: name.to_owned() }, text);
        lines.try_recv().ok()
    }

    #[test]
    fn a_line_reaches_a_listener_with_its_origin() {
        let line = said("Ada", " hello ").unwrap();
        assert_eq!(line, Line { name: "Ada".into(), backend: "north", text: "hello".into() });
    }

    #[test]
    fn blank_lines_are_dropped_and_long_ones_cut_between_characters() {
        assert_eq!(said("Ada", "  \n"), None);
        let line = said(&"é".repeat(100), &"ß".repeat(1_000)).unwrap();
        assert_eq!(line.name.chars().count(), NAME_CHARS_MAX);
        assert_eq!(line.text.chars().count(), TEXT_CHARS_MAX);
    }

    #[test]
    fn a_nameless_guest_gets_a_name() {
        assert_eq!(said("", "hello").unwrap().name, "guest");
    }
}

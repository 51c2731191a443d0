//! Rule: one word for one thing, in names and in prose.
//!
//! A file that must use a refused word, because it is somebody else's name for somebody else's
//! thing, says so in a comment: `tidy: allow WORD, REASON`.

use super::text::is_generated;
use super::{File, Violation, source};

/// Words refused in names and in prose, and the word to use.
const REFUSED: [(&str, &str); 4] = [
    ("stickiness", "affinity"),
    ("sticky", "affinity"),
    ("graceful", "drain, or what happens in plain words"),
    ("cluster", "upstream, or the group of machines in plain words"),
];

/// Words refused as a part of a name in the daemon's source. In prose they have a plain meaning.
const REFUSED_IN_NAMES: [(&str, &str); 2] = [("peer", "client or upstream"), ("node", "backend or entry")];

/// Names of the standard library and of system calls.
const FOREIGN_NAMES: [&str; 4] = ["peer_addr", "peer_name", "getpeername", "is_peer_closed"];

const DAEMON: &str = "proxy/src/";
const DECISIONS: &str = "proxy/core/";
const ALLOW: &str = "tidy: allow ";

/// Applies the rule to one file.
pub(super) fn check(file: &File) -> Vec<Violation> {
    let is_rust = file.path.ends_with(".rs");
    let is_prose = file.path.ends_with(".md");
    if is_generated(&file.path) || !(is_rust || is_prose) {
        return Vec::new();
    }
    let allowed = |word: &str| {
        let mark = format!("{ALLOW}{word}, ");
        file.text.contains(&mark)
    };
    let in_daemon = file.path.starts_with(DAEMON) || file.path.starts_with(DECISIONS);
    let mut found = Vec::new();
    for (index, line) in lines(file, is_rust).iter().enumerate() {
        let mut report = |word: &str, better: &str| {
            if !allowed(word) {
                found.push(Violation::new(&file.path, index + 1, format!("`{word}`: say {better}")));
            }
        };
        let all = format!("{} {}", line.code, line.comment).to_lowercase();
        if !all.contains(ALLOW) {
            for (word, better) in REFUSED.iter().filter(|(word, _)| all.contains(word)) {
                report(word, better);
            }
        }
        if is_rust && in_daemon {
            for (word, better) in REFUSED_IN_NAMES.iter().filter(|(word, _)| names_part(&line.code, word)) {
                report(word, better);
            }
        }
    }
    found
}

fn lines(file: &File, is_rust: bool) -> Vec<source::Line> {
    if is_rust {
        return source::split(&file.text);
    }
    let prose = |line: &str| source::Line { code: String::new(), comment: line.to_owned() };
    file.text.lines().map(prose).collect()
}

/// Whether a name in this code has `word` as one of its parts: `the_word`, `TheWord`.
fn names_part(code: &str, word: &str) -> bool {
    code.split(|c: char| !c.is_alphanumeric() && c != '_')
        .filter(|name| !FOREIGN_NAMES.contains(name))
        .flat_map(parts)
        .any(|part| part == word || part.strip_suffix('s') == Some(word))
}

/// The parts of a name in snake or camel case, in small letters.
fn parts(name: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    for c in name.chars() {
        if c == '_' || c.is_uppercase() {
            parts.push(String::new());
        }
        if c != '_'
            && let Some(part) = parts.last_mut()
        {
            part.extend(c.to_lowercase());
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn violations(path: &str, text: &str) -> Vec<String> {
        let file = File { path: path.to_owned(), text: text.to_owned() };
        check(&file).into_iter().map(|violation| violation.to_string()).collect()
    }

    #[test]
    fn a_refused_word_is_found_in_prose_and_names() {
        assert_eq!(violations("a.md", "Sticky sessions\n"), ["a.md:1: `sticky`: say affinity"]);
        assert_eq!(violations("a.rs", "struct ClusterMap;\n").len(), 1);
        assert_eq!(violations("a.rs", "// a graceful end\n").len(), 1);
    }

    #[test]
    fn a_file_may_allow_a_word_with_a_reason() {
        let text = "<!-- tidy: allow sticky, the name of an nginx directive -->\n`sticky learn`\n";
        assert_eq!(violations("a.md", text), [""; 0]);
        assert_eq!(violations("a.md", "tidy: allow sticky\nsticky\n").len(), 1, "a reason is owed");
    }

    #[test]
    fn parts_of_names_are_refused_in_the_daemon_only() {
        for code in ["let peer = 1;", "struct PeerState;", "fn next_node() {}", "let peers = 2;"] {
            assert_eq!(violations("proxy/src/a.rs", code).len(), 1, "{code}");
            assert_eq!(violations("tests/harness/src/a.rs", code), [""; 0], "{code}");
        }
        for code in ["s.peer_addr()", "set_nodelay(true)", "// node closes after 5 s", "f(\"node\")"] {
            assert_eq!(violations("proxy/src/a.rs", code), [""; 0], "{code}");
        }
    }
}

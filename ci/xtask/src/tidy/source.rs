//! Rust source split into what the compiler reads and what people read.
//!
//! Rules must not mistake a word in a text for code, nor code for prose. This is not a parser: it
//! knows comments, texts and characters, and nothing else of the language.

/// One line of source. Texts and characters are in neither part.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) code: String,
    pub(super) comment: String,
}

/// Where the reader stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Code,
    /// In `/* */`, which nest.
    Block(usize),
    /// In `"..."`.
    Text,
    /// In `r##"..."##`, with this many `#`.
    RawText(usize),
}

/// Splits a file, line by line.
pub(super) fn split(source: &str) -> Vec<Line> {
    let mut state = State::Code;
    source
        .lines()
        .map(|line| {
            let mut out = Line::default();
            let chars: Vec<char> = line.chars().collect();
            let mut at = 0;
            while at < chars.len() {
                (state, at) = step(state, &chars, at, &mut out);
            }
            out
        })
        .collect()
}

/// Reads the piece at `at` and returns the state and position after it. Always moves on.
fn step(state: State, chars: &[char], at: usize, out: &mut Line) -> (State, usize) {
    let next = chars.get(at + 1).copied();
    match state {
        State::Code => step_code(chars, at, out),
        State::Block(depth) => match (chars[at], next) {
            ('*', Some('/')) if depth == 1 => (State::Code, at + 2),
            ('*', Some('/')) => (State::Block(depth - 1), at + 2),
            ('/', Some('*')) => (State::Block(depth + 1), at + 2),
            (other, _) => {
                out.comment.push(other);
                (state, at + 1)
            }
        },
        State::Text => match chars[at] {
            '\\' => (state, at + 2),
            '"' => (State::Code, at + 1),
            _ => (state, at + 1),
        },
        State::RawText(hashes) => {
            let closed = chars[at] == '"' && count_hashes(chars, at + 1) >= hashes;
            if closed { (State::Code, at + 1 + hashes) } else { (state, at + 1) }
        }
    }
}

fn step_code(chars: &[char], at: usize, out: &mut Line) -> (State, usize) {
    let next = chars.get(at + 1).copied();
    match chars[at] {
        '/' if next == Some('/') => {
            out.comment.extend(&chars[at + 2..]);
            (State::Code, chars.len())
        }
        '/' if next == Some('*') => (State::Block(1), at + 2),
        '"' => (State::Text, at + 1),
        'r' if starts_raw_text(chars, at) => {
            let hashes = count_hashes(chars, at + 1);
            (State::RawText(hashes), at + 2 + hashes)
        }
        '\'' => (State::Code, after_quote(chars, at)),
        other => {
            out.code.push(other);
            (State::Code, at + 1)
        }
    }
}

/// `r"` or `r#"`, and not the end of a name. A `b` or `c` before it is part of the text's start.
fn starts_raw_text(chars: &[char], at: usize) -> bool {
    let hashes = count_hashes(chars, at + 1);
    let opens = chars.get(at + 1 + hashes) == Some(&'"');
    let before = at.checked_sub(1).map(|index| chars[index]);
    opens && !before.is_some_and(|c| (c.is_alphanumeric() && !matches!(c, 'b' | 'c')) || c == '_')
}

fn count_hashes(chars: &[char], from: usize) -> usize {
    chars.iter().skip(from).take_while(|c| **c == '#').count()
}

/// Position after a character such as `'"'` or `'\n'`, or after the quote of a lifetime.
fn after_quote(chars: &[char], at: usize) -> usize {
    if chars.get(at + 1) == Some(&'\\') {
        // The escaped character may itself be a quote, so the search starts behind it.
        let close = chars.iter().skip(at + 3).position(|c| *c == '\'');
        return close.map_or(chars.len(), |offset| at + 3 + offset + 1);
    }
    if chars.get(at + 2) == Some(&'\'') { at + 3 } else { at + 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(source: &str) -> String {
        split(source).into_iter().map(|line| line.code).collect::<Vec<_>>().join("\n")
    }

    fn comments(source: &str) -> String {
        split(source).into_iter().map(|line| line.comment).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn comments_are_told_from_code() {
        assert_eq!(code("let a = 1; // unsafe"), "let a = 1; ");
        assert_eq!(comments("let a = 1; // unsafe"), " unsafe");
        assert_eq!(code("a /* b /* c */ d */ e"), "a  e");
        assert_eq!(comments("/* one\ntwo */ code"), " one\ntwo ");
    }

    #[test]
    fn texts_are_in_neither_part() {
        for source in
            [r#"f("unsafe \" // x")"#, r##"f(r#"unsafe " // x"#)"##, r#"f(b"unsafe")"#, "f(\"unsafe\n x\")"]
        {
            assert!(!code(source).contains("unsafe"), "{source}");
            assert_eq!(comments(source).trim(), "", "{source}");
            assert!(code(source).starts_with('f') && code(source).ends_with(')'), "{source}");
        }
    }

    #[test]
    fn a_quote_character_opens_no_text_and_a_lifetime_no_character() {
        assert_eq!(code(r#"f('"'); g('\''); h::<'a>() // x"#), "f(); g(); h::<a>() ");
        assert_eq!(code(r"f('\u{7f}'); g"), "f(); g");
        assert_eq!(code(r#"f('\n','"'); g"#), "f(,); g");
    }

    #[test]
    fn a_name_that_ends_in_r_opens_no_raw_text() {
        assert_eq!(code(r##"for"x" y"##), "for y");
        assert_eq!(code(r##"let r#type = 1;"##), "let r#type = 1;");
    }
}

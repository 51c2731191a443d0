//! The words of the files that are imported: quotes, escapes, comments, blocks.
//!
//! Knows no directive. Never panics, whatever the bytes; too long and too deep is an error with its line.

use crate::limits::{IMPORT_DEPTH_MAX, IMPORT_DIRECTIVES_MAX};

/// A directive of nginx: words, and what stands in braces behind them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Directive {
    /// Of its first word, from 1.
    pub(super) line: usize,
    /// At least one.
    pub(super) words: Vec<String>,
    pub(super) block: Option<Vec<Directive>>,
}

/// A line of words, as in HAProxy's file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Line {
    /// From 1.
    pub(super) line: usize,
    /// At least one.
    pub(super) words: Vec<String>,
}

/// Why a file cannot be read at all.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct SyntaxError {
    pub(super) line: usize,
    pub(super) problem: &'static str,
}

const TOO_MANY: &str = "more directives than any configuration has";
const TOO_DEEP: &str = "blocks inside blocks without end";
const NO_QUOTE: &str = "a text begins here and its closing quote is missing";

enum Token {
    Word(String),
    End,
    Open,
    Close,
}

/// The characters of a file, with the number of the current line.
struct Cursor<'t> {
    rest: std::iter::Peekable<std::str::Chars<'t>>,
    line: usize,
}

impl Cursor<'_> {
    fn next(&mut self) -> Option<char> {
        let next = self.rest.next()?;
        self.line += usize::from(next == '\n');
        Some(next)
    }

    fn skip_line(&mut self) {
        while self.rest.next_if(|char| *char != '\n').is_some() {}
    }

    /// The rest of a text whose opening quote has been read.
    fn quoted(&mut self, quote: char, word: &mut String, escapes: bool) -> Result<(), SyntaxError> {
        let line = self.line;
        while let Some(char) = self.next() {
            match char {
                '\\' if escapes => word.extend(self.next()),
                _ if char == quote => return Ok(()),
                _ => word.push(char),
            }
        }
        Err(SyntaxError { line, problem: NO_QUOTE })
    }
}

/// Reads a file of nginx' form.
///
/// # Errors
/// A quote or a brace is missing, or there is too much of it.
pub(super) fn directives(text: &str) -> Result<Vec<Directive>, SyntaxError> {
    let mut cursor = Cursor { rest: text.chars().peekable(), line: 1 };
    let mut open: Vec<Directive> = Vec::new();
    let mut level: Vec<Directive> = Vec::new();
    let mut outer: Vec<Vec<Directive>> = Vec::new();
    let mut words: Vec<String> = Vec::new();
    let mut line = 1;
    let mut count = 0;
    while let Some(token) = token(&mut cursor)? {
        let at = cursor.line;
        let wrong = |problem| Err(SyntaxError { line: at, problem });
        match token {
            Token::Word(word) => {
                if words.is_empty() {
                    line = at - word.matches('\n').count();
                }
                words.push(word);
            }
            Token::End if words.is_empty() => {}
            Token::End => level.push(Directive { line, words: std::mem::take(&mut words), block: None }),
            Token::Open if words.is_empty() => return wrong("a block without a name"),
            Token::Open => {
                if outer.len() >= IMPORT_DEPTH_MAX {
                    return wrong(TOO_DEEP);
                }
                open.push(Directive { line, words: std::mem::take(&mut words), block: None });
                outer.push(std::mem::take(&mut level));
            }
            Token::Close => {
                let (Some(mut block), Some(before), true) = (open.pop(), outer.pop(), words.is_empty())
                else {
                    return wrong("a closing brace in a place where none can be; is a semicolon missing?");
                };
                block.block = Some(std::mem::replace(&mut level, before));
                level.push(block);
            }
        }
        count += 1;
        if count > IMPORT_DIRECTIVES_MAX {
            return wrong(TOO_MANY);
        }
    }
    match (open.pop(), words.is_empty()) {
        (Some(block), _) => Err(SyntaxError { line: block.line, problem: "a block that is not closed" }),
        (None, false) => Err(SyntaxError { line, problem: "a directive without its semicolon" }),
        (None, true) => Ok(level),
    }
}

fn token(cursor: &mut Cursor<'_>) -> Result<Option<Token>, SyntaxError> {
    while let Some(char) = cursor.next() {
        return Ok(Some(match char {
            '#' => {
                cursor.skip_line();
                continue;
            }
            ';' => Token::End,
            '{' => Token::Open,
            '}' => Token::Close,
            _ if char.is_whitespace() => continue,
            _ => Token::Word(nginx_word(cursor, char)?),
        }));
    }
    Ok(None)
}

/// A word that begins with `first`. A quote counts at its start only; `${name}` belongs to it.
fn nginx_word(cursor: &mut Cursor<'_>, first: char) -> Result<String, SyntaxError> {
    let mut word = String::new();
    if matches!(first, '"' | '\'') {
        cursor.quoted(first, &mut word, true)?;
        return Ok(word);
    }
    let mut in_variable = false;
    let mut char = first;
    loop {
        if char == '\\' {
            // Kept: it belongs to a regular expression.
            word.push(char);
            word.extend(cursor.next());
        } else {
            word.push(char);
        }
        let Some(next) = cursor.rest.peek().copied() else { break };
        in_variable = (in_variable && next != '}') || (char == '$' && next == '{');
        let closes_variable = next == '}' && word.rfind("${") > word.rfind('}');
        let ends = next.is_whitespace() || matches!(next, ';' | '{' | '}');
        if ends && !in_variable && !closes_variable {
            break;
        }
        char = next;
        cursor.next();
    }
    Ok(word)
}

/// Reads a file of HAProxy's form: a directive on each line.
///
/// # Errors
/// A quote is missing, or there is too much of it.
pub(super) fn lines(text: &str) -> Result<Vec<Line>, SyntaxError> {
    let mut cursor = Cursor { rest: text.chars().peekable(), line: 1 };
    let mut lines = Vec::new();
    let mut words: Vec<String> = Vec::new();
    let mut word: Option<String> = None;
    let mut line = 1;
    loop {
        let next = cursor.rest.peek().copied();
        if word.is_none() && words.is_empty() {
            line = cursor.line;
        }
        match next {
            None | Some('\n' | ' ' | '\t' | '\r') => {
                words.extend(word.take());
                if matches!(next, None | Some('\n')) && !words.is_empty() {
                    lines.push(Line { line, words: std::mem::take(&mut words) });
                }
                if lines.len() > IMPORT_DIRECTIVES_MAX {
                    return Err(SyntaxError { line, problem: TOO_MANY });
                }
                if cursor.next().is_none() {
                    return Ok(lines);
                }
            }
            Some('#') => cursor.skip_line(),
            Some(quote @ ('"' | '\'')) => {
                cursor.next();
                cursor.quoted(quote, word.get_or_insert_default(), quote == '"')?;
            }
            Some('\\') => {
                cursor.next();
                word.get_or_insert_default().extend(cursor.next());
            }
            Some(char) => {
                cursor.next();
                word.get_or_insert_default().push(char);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(directives: &[Directive]) -> String {
        directives
            .iter()
            .map(|directive| {
                let block = directive.block.as_ref().map(|block| format!("{{{}}}", shown(block)));
                format!("{}:{}{};", directive.line, directive.words.join("|"), block.unwrap_or_default())
            })
            .collect()
    }

    #[test]
    fn blocks_quotes_and_variables_are_read_as_nginx_reads_them() {
        for (text, expected) in [
            ("a b;\nc;", "1:a|b;2:c;"),
            ("# x\na 'b ; c' \"d\\\"e\"; # y", "2:a|b ; c|d\"e;"),
            ("http {\n server { listen 80; }\n}", "1:http{2:server{2:listen|80;};};"),
            ("a ${b}c{d e;}", "1:a|${b}c{1:d|e;};"),
            ("location ~* \\.io { x; }", "1:location|~*|\\.io{1:x;};"),
            ("a\n  b\n  c;", "1:a|b|c;"),
            ("", ""),
        ] {
            assert_eq!(shown(&directives(text).unwrap()), expected, "{text}");
        }
    }

    #[test]
    fn what_is_not_closed_is_an_error_with_its_line() {
        for (text, line) in
            [("a;\nb {\n c;\n", 2), ("a;\n}", 2), ("a;\nb 'c", 2), ("\nb", 2), ("{", 1), ("a }", 1)]
        {
            assert_eq!(directives(text).unwrap_err().line, line, "{text}");
        }
        let deep = "a {".repeat(IMPORT_DEPTH_MAX + 1);
        assert_eq!(directives(&deep).unwrap_err().problem, TOO_DEEP);
        assert_eq!(directives(&"a;".repeat(IMPORT_DIRECTIVES_MAX)).unwrap_err().problem, TOO_MANY);
        assert_eq!(lines(&"a\n".repeat(IMPORT_DIRECTIVES_MAX + 1)).unwrap_err().problem, TOO_MANY);
    }

    #[test]
    fn lines_are_read_as_haproxy_reads_them() {
        for (text, expected) in [
            ("a b\n\n  c # d\n", "1:a|b 3:c"),
            ("a 'b c' \"d\\\"e\" f\\ g", "1:a|b c|d\"e|f g"),
            ("acl x hdr(host) -i a'b'c", "1:acl|x|hdr(host)|-i|abc"),
            ("a ''\n", "1:a|"),
        ] {
            let lines = lines(text).unwrap();
            let lines: Vec<String> =
                lines.iter().map(|line| format!("{}:{}", line.line, line.words.join("|"))).collect();
            assert_eq!(lines.join(" "), expected, "{text}");
        }
        assert_eq!(lines("a\nb 'c\n").unwrap_err(), SyntaxError { line: 2, problem: NO_QUOTE });
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[a;{}$'\"\\\\# \n]{0,60}") {
            for directive in directives(&text).unwrap_or_default() {
                prop_assert!(!directive.words.is_empty());
                prop_assert!(directive.line <= text.matches('\n').count() + 1);
            }
            for line in lines(&text).unwrap_or_default() {
                prop_assert!(!line.words.is_empty());
            }
        }
    }
}

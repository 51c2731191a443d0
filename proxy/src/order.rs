//! Gives an order to the running process over its admin socket, for the commands of an operator.

use std::io::{self, Read as _};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde_json::{Map, Value};

use crate::cli::{Ask, Print};

/// A process that takes longer to answer is stuck: a reload takes it milliseconds, and is given up after 10 s; an
/// upgrade takes as long as the new process takes to start, and is given up after half a minute.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(45);

/// Bytes of an answer that are read: a configuration file has up to 4 MiB, which JSON may make twice as long.
const ANSWER_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// What the process answered.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) text: String,
}

/// Sends an order to the process. In HTTP/1.0, where the end of the connection is that of the answer.
///
/// # Errors
/// Nobody answers there, or not in HTTP.
pub(crate) fn give(ask: &Ask<'_>) -> io::Result<Answer> {
    let Ask { socket, method, path, body, .. } = ask;
    let stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    // A body that nobody reads would be answered with a reset.
    let body = body.as_ref().filter(|body| !body.is_null()).map(ToString::to_string).unwrap_or_default();
    exchange(stream, method, path, &body)
}

/// Sends a request to the process and reads the answer.
///
/// # Errors
/// As [`give`].
pub(crate) fn exchange(
    mut stream: impl io::Read + io::Write,
    method: &str,
    path: &str,
    body: &str,
) -> io::Result<Answer> {
    let length = body.len();
    let fields = format!("Host: ringbolt\r\nContent-Type: application/json\r\nContent-Length: {length}");
    write!(stream, "{method} {path} HTTP/1.0\r\n{fields}\r\n\r\n{body}")?;
    let mut answer = String::new();
    stream.take(ANSWER_BYTES_MAX).read_to_string(&mut answer)?;
    parse(&answer).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "what answers is no ringbolt"))
}

impl Answer {
    /// The answer in the form that was asked for.
    pub(crate) fn shown(&self, print: Print) -> String {
        let value = serde_json::from_str(&self.text).ok().filter(|_| print == Print::Table);
        match value {
            Some(Value::Array(rows)) => table(&rows),
            Some(Value::Object(fields)) => object(fields),
            _ => self.text.clone(),
        }
    }
}

/// The tables in it, each with an empty line behind it, and then its other fields, a line each.
fn object(fields: Map<String, Value>) -> String {
    let (tables, fields): (Vec<_>, Vec<_>) = fields.into_iter().partition(|(_, value)| value.is_array());
    let width = fields.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let tables = tables.iter().filter_map(|(_, rows)| rows.as_array()).map(|rows| table(rows));
    let tables = tables.filter(|table| !table.is_empty()).map(|table| table + "\n");
    let fields = fields.iter().map(|(name, value)| format!("{name:width$}  {}\n", cell(value)));
    tables.chain(fields).collect()
}

/// What a backend or a session is, then how it stands: in the order people read them.
const COLUMNS: [&str; 17] = [
    "digest",
    "upstream",
    "name",
    "backend",
    "address",
    "state",
    "weight",
    "transport",
    "sessions",
    "upgrading",
    "requests_in_progress",
    "age_seconds",
    "expires_seconds",
    "load",
    "backup",
    "ordered",
    "origin",
];

/// Objects with the same names, a line each, below the names.
fn table(rows: &[Value]) -> String {
    let Some(first) = rows.first().and_then(Value::as_object) else { return String::new() };
    let mut names: Vec<&String> = first.keys().collect();
    names.sort_by_key(|name| COLUMNS.iter().position(|column| column == name));
    let mut lines = vec![names.iter().map(|name| name.to_uppercase()).collect::<Vec<_>>()];
    lines.extend(rows.iter().map(|row| names.iter().map(|name| cell(&row[name.as_str()])).collect()));
    let width = |column: usize| lines.iter().map(|line: &Vec<String>| line[column].len()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..names.len()).map(width).collect();
    let line = |cells: &Vec<String>| {
        let padded: String =
            cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}  ")).collect();
        padded.trim_end().to_owned() + "\n"
    };
    lines.iter().map(line).collect()
}

fn cell(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) | Value::Null => "-".to_owned(),
        other => other.to_string(),
    }
}

fn parse(answer: &str) -> Option<Answer> {
    let (head, text) = answer.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()?;
    Some(Answer { status, text: text.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_its_status_and_its_text() {
        let answer = parse("HTTP/1.0 422 Unprocessable Entity\r\nx: y\r\n\r\na.toml:1: no\n");
        assert_eq!(answer, Some(Answer { status: 422, text: "a.toml:1: no\n".to_owned() }));
        assert_eq!(parse("SSH-2.0"), None);
        assert_eq!(parse(""), None);
    }

    #[test]
    fn answers_are_tables_for_people_and_text_for_programs() {
        let text = r#"[{"name":"a","up":true},{"name":"long","up":false}]"#.to_owned();
        let answer = Answer { status: 200, text };
        assert_eq!(answer.shown(Print::Table), "UP   NAME\nyes  a\n-    long\n");
        assert_eq!(answer.shown(Print::Text), answer.text);
        let answer = Answer { status: 200, text: r#"{"pid":5,"phase":"ready"}"#.to_owned() };
        assert_eq!(answer.shown(Print::Table), "phase  ready\npid    5\n");
        let text = r#"{"some":[{"load":1,"name":"a"}],"none":[],"left_out":null}"#.to_owned();
        let answer = Answer { status: 200, text };
        assert_eq!(answer.shown(Print::Table), "NAME  LOAD\na     1\n\nleft_out  -\n");
        assert_eq!(Answer { status: 200, text: "done\n".to_owned() }.shown(Print::Table), "done\n");
    }
}

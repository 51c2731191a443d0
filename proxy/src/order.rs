//! Gives an order to the running process over its admin socket, for the commands of an operator.

use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// A process that takes longer to answer is stuck: a reload takes it milliseconds, and is given up after 10 s; an
/// upgrade takes as long as the new process takes to start, and is given up after half a minute.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(45);

/// Bytes of an answer that are read: a refused configuration shows 25 problems of a few lines.
const ANSWER_BYTES_MAX: u64 = 1024 * 1024;

/// What the process answered.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) text: String,
}

/// Sends `POST path` to the process at `socket`. In HTTP/1.0, where the end of the connection is that of the answer.
///
/// # Errors
/// Nobody answers there, or not in HTTP.
pub(crate) fn post(socket: &Path, path: &str) -> io::Result<Answer> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    write!(stream, "POST {path} HTTP/1.0\r\nHost: ringbolt\r\nContent-Length: 0\r\n\r\n")?;
    let mut answer = String::new();
    stream.take(ANSWER_BYTES_MAX).read_to_string(&mut answer)?;
    parse(&answer).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "what answers is no ringbolt"))
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
}

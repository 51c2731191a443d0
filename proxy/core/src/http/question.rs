//! A request of our own to a backend, in the place of one that is to be forwarded.

use super::fields::write_field;
use super::request::RequestHead;
use super::rewrite::PathRewrite;
use super::rules::FieldRules;

/// Appends a GET of the path of `head`, with another query, as the route sends it to its backends.
///
/// Of the client's fields only the host is passed on: the question is ours, and must not be refused for where the
/// client comes from.
pub fn write_question(
    head: &RequestHead,
    query: &[u8],
    rewrite: Option<&PathRewrite>,
    rules: Option<&FieldRules>,
    out: &mut Vec<u8>,
) {
    out.extend_from_slice(b"GET ");
    match rewrite {
        Some(rewrite) => rewrite.write(head.path(), out),
        None => out.extend_from_slice(head.path()),
    }
    out.push(b'?');
    out.extend_from_slice(query);
    out.extend_from_slice(b" HTTP/1.1\r\n");
    write_field(b"Host", head.authority(), out);
    if let Some(rules) = rules {
        out.extend_from_slice(rules.lines());
    }
    out.extend_from_slice(b"Via: 1.1 ringbolt\r\n\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::HeadLimits;

    #[test]
    fn a_question_goes_where_the_request_would_and_says_nothing_of_its_client() {
        let limits = HeadLimits { head_bytes_max: 4096, target_bytes_max: 1024, fields_max: 16 };
        let mut head = RequestHead::default();
        let asked = b"POST /a/socket.io/?EIO=4&sid=x HTTP/1.1\r\nHost: a.example:80\r\nOrigin: http://b\r\nCookie: c=d\r\nContent-Length: 3\r\n\r\n";
        head.parse(asked, &limits).unwrap().unwrap();
        let mut rules = FieldRules::default();
        rules.set("X-Key", "secret").unwrap();
        let mut out = Vec::new();
        write_question(&head, b"q=1", Some(&PathRewrite::new("/a", "")), Some(&rules), &mut out);
        let expected = "GET /socket.io/?q=1 HTTP/1.1\r\nHost: a.example:80\r\nX-Key: secret\r\nVia: 1.1 ringbolt\r\n\r\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}

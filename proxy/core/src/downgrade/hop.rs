//! Which hop it was, as far as it has left its name.
//!
//! Via names hops and the version in which each got the message (RFC 9110 section 7.6.3). Most balancers leave
//! that out and add fields of their own instead.

use crate::http::{RequestHead, ResponseHead, Version};
use crate::limits::HOP_BYTES_MAX;

/// Fields that products add to requests, and who does so. The most telling first.
const MARKS: [(&[u8], &str); 11] = [
    (b"cf-ray", "Cloudflare"),
    (b"x-amzn-trace-id", "an AWS load balancer"),
    (b"x-amz-cf-id", "Amazon CloudFront"),
    (b"x-cloud-trace-context", "a Google load balancer"),
    (b"x-azure-ref", "Azure Front Door"),
    (b"x-arr-log-id", "IIS with Application Request Routing"),
    (b"x-envoy-external-address", "Envoy"),
    (b"x-envoy-expected-rq-timeout-ms", "Envoy"),
    (b"x-varnish", "Varnish"),
    (b"x-forwarded-server", "Apache httpd"),
    (b"x-real-ip", "a proxy that sets X-Real-IP, as nginx is often told to"),
];

/// The hop in front of us that is next to us. `None`: it has left no trace.
#[must_use]
pub fn hop_in_front(head: &RequestHead) -> Option<Box<str>> {
    if let Some(last) = head.last_via().and_then(|via| via.rsplit(|&byte| byte == b',').next()) {
        let name = printable(last);
        let got = last.trim_ascii_start();
        // What it got is what the hop before it sent.
        let older =
            head.version() == Version::Http10 && (got.starts_with(b"1.0") || got.starts_with(b"HTTP/1.0"));
        let words = if older { "; HTTP/1.0 came to it already" } else { "" };
        return (!name.is_empty()).then(|| format!("Via: {name}{words}").into());
    }
    let known = MARKS.iter().find(|(field, _)| head.field(field).is_some()).map(|(_, who)| *who);
    let forwards = || head.field(b"x-forwarded-for").map(|_| "a proxy that sets X-Forwarded-For");
    known.or_else(forwards).map(Box::from)
}

/// Who answered behind us, by its own word. `None`: it says nothing.
#[must_use]
pub fn hop_behind(head: &ResponseHead) -> Option<Box<str>> {
    let named = |field: &[u8], words| {
        let name = printable(head.field(field)?);
        (!name.is_empty()).then(|| format!("{words}: {name}").into())
    };
    named(b"via", "Via").or_else(|| named(b"server", "Server"))
}

/// The part of a value that fits a line and can do nothing to whoever reads it.
fn printable(value: &[u8]) -> String {
    let value = value.trim_ascii();
    let plain = |byte: &u8| if matches!(byte, b' '..=b'~') { char::from(*byte) } else { '?' };
    value.iter().take(HOP_BYTES_MAX).map(plain).collect()
}

//! What a backend is told about a client's certificate.

use std::fmt::Write as _;

use aws_lc_rs::digest::{SHA256, digest};
use rustls::pki_types::CertificateDer;
use x509_parser::objects::{oid_registry, oid2abbrev};
use x509_parser::x509::X509Name;

use super::certificate::parse;

/// The fields that say who the client has proved to be, as lines of a head; `None` is a client that was
/// asked and has no certificate. The certificate was verified before.
pub(super) fn fields(certificate: Option<&CertificateDer<'_>>) -> Box<[u8]> {
    let mut lines = String::new();
    match certificate {
        None => lines.push_str("X-Client-Cert-Verified: NONE\r\n"),
        Some(certificate) => {
            let subject = parse(certificate).map_or(String::new(), |parsed| subject(parsed.subject()));
            lines.push_str("X-Client-Cert-Verified: SUCCESS\r\nX-Client-Cert-Subject: ");
            lines.push_str(&subject);
            lines.push_str("\r\nX-Client-Cert-Fingerprint: ");
            for byte in digest(&SHA256, certificate).as_ref() {
                // Writing to a String does not fail.
                let _ = write!(lines, "{byte:02x}");
            }
            lines.push_str("\r\n");
        }
    }
    lines.into_bytes().into()
}

/// A name as nginx and HAProxy write it (RFC 4514): `CN=a,O=b`, the most specific part first. What could
/// be mistaken for structure is escaped, of a name and of a head.
pub(super) fn subject(name: &X509Name<'_>) -> String {
    let mut parts = Vec::new();
    for relative in name.iter() {
        let attributes: Vec<String> = relative
            .iter()
            .map(|attribute| {
                let kind = oid2abbrev(attribute.attr_type(), oid_registry())
                    .map_or_else(|_| attribute.attr_type().to_id_string(), str::to_owned);
                format!("{kind}={}", escaped(attribute.as_str().unwrap_or("#")))
            })
            .collect();
        parts.push(attributes.join("+"));
    }
    parts.reverse();
    parts.join(",")
}

fn escaped(value: &str) -> String {
    let mut escaped = String::with_capacity(value.len());
    for (index, byte) in value.bytes().enumerate() {
        let at_edge = index == 0 || index + 1 == value.len();
        match byte {
            b',' | b'+' | b'"' | b'\\' | b'<' | b'>' | b';' | b'=' => {
                escaped.push('\\');
                escaped.push(char::from(byte));
            }
            b' ' if at_edge => escaped.push_str("\\20"),
            b'#' if index == 0 => escaped.push_str("\\#"),
            b' '..=b'~' => escaped.push(char::from(byte)),
            _ => {
                // Writing to a String does not fail.
                let _ = write!(escaped, "\\{byte:02X}");
            }
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_cannot_end_its_line_or_pretend_another_name() {
        assert_eq!(escaped("ann, CN=root"), "ann\\, CN\\=root");
        assert_eq!(escaped("a\r\nX-Admin: 1"), "a\\0D\\0AX-Admin: 1");
        assert_eq!(escaped(" \u{e9} "), "\\20\\C3\\A9\\20");
    }
}

//! The field names that mean something to a proxy.
//!
//! A name is looked up once, when its head is parsed; every later decision is a match on the result.
//! What the decision is stands where it is taken, not here.

/// What a field is to us.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Name {
    AcceptEncoding,
    /// Any `X-Client-Cert-*`.
    ClientCertificate,
    Connection,
    ContentLength,
    Cookie,
    Expect,
    Forwarded,
    ForwardedFor,
    ForwardedHost,
    ForwardedProto,
    /// Any other `X-Forwarded-*`.
    ForwardedOther,
    Host,
    /// Meant for the next hop only, and of no use to us.
    HopByHop,
    RealIp,
    RequestId,
    TransferEncoding,
    Upgrade,
    Via,
    WebSocketAccept,
    WebSocketKey,
    /// A name of ours spelt with underscores. Servers that map both spellings to one variable (CGI,
    /// WSGI) would take it for the real one.
    Alias,
    /// Nothing to us: passed on.
    Other,
}

/// What begins the names of whole families of fields.
const PREFIXES: [(&[u8], Name); 2] =
    [(b"x-forwarded-", Name::ForwardedOther), (b"x-client-cert-", Name::ClientCertificate)];

/// How a known name is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Spelling {
    Own,
    /// With `_` in the place of a `-`.
    Underscored,
}

impl Name {
    /// What the field called `name`, in any case, is to us.
    pub(super) fn of(name: &[u8]) -> Self {
        let candidates: &[(&[u8], Self)] = match name.len() {
            2 => &[(b"te", Self::HopByHop)],
            3 => &[(b"via", Self::Via)],
            4 => &[(b"host", Self::Host)],
            6 => &[(b"cookie", Self::Cookie), (b"expect", Self::Expect)],
            7 => &[(b"upgrade", Self::Upgrade)],
            9 => &[(b"forwarded", Self::Forwarded), (b"x-real-ip", Self::RealIp)],
            10 => &[(b"connection", Self::Connection), (b"keep-alive", Self::HopByHop)],
            12 => &[(b"x-request-id", Self::RequestId)],
            14 => &[(b"content-length", Self::ContentLength), (b"http2-settings", Self::HopByHop)],
            15 => &[(b"accept-encoding", Self::AcceptEncoding), (b"x-forwarded-for", Self::ForwardedFor)],
            16 => &[(b"x-forwarded-host", Self::ForwardedHost), (b"proxy-connection", Self::HopByHop)],
            17 => &[
                (b"transfer-encoding", Self::TransferEncoding),
                (b"x-forwarded-proto", Self::ForwardedProto),
                (b"sec-websocket-key", Self::WebSocketKey),
            ],
            18 => &[(b"proxy-authenticate", Self::HopByHop)],
            19 => &[(b"proxy-authorization", Self::HopByHop)],
            20 => &[(b"sec-websocket-accept", Self::WebSocketAccept)],
            _ => &[],
        };
        let known = candidates.iter().find_map(|&(known, found)| Some((found, spelling(name, known)?)));
        match known.or_else(|| Self::of_family(name)) {
            // Whatever another of that family is, its underscored spelling is not it.
            Some((Self::ForwardedOther | Self::ClientCertificate, _)) if name.contains(&b'_') => Self::Alias,
            Some((found, Spelling::Own)) => found,
            Some((_, Spelling::Underscored)) => Self::Alias,
            None => Self::Other,
        }
    }

    /// A bit of its own, for a set of names.
    pub(super) fn bit(self) -> u32 {
        1 << self as u32
    }

    /// A Connection option of this name must not remove the field, for it is what a trusted proxy says
    /// about its client. Fields that are written anew, as Host and framing are, cannot be removed anyway.
    pub(super) fn outlives_connection(self) -> bool {
        matches!(
            self,
            Self::ClientCertificate
                | Self::ForwardedHost
                | Self::ForwardedProto
                | Self::ForwardedOther
                | Self::RequestId
                | Self::Via
        )
    }

    /// What a field is to us by the beginning of its name.
    fn of_family(name: &[u8]) -> Option<(Self, Spelling)> {
        PREFIXES
            .iter()
            .find_map(|&(prefix, family)| Some((family, spelling(name.get(..prefix.len())?, prefix)?)))
    }
}

/// How `name`, in any case, is written, if it is `known`. Nearly all others differ in their first byte.
fn spelling(name: &[u8], known: &[u8]) -> Option<Spelling> {
    let mut found = Spelling::Own;
    if name.len() != known.len() {
        return None;
    }
    for (byte, wanted) in name.iter().zip(known) {
        match (byte.to_ascii_lowercase(), wanted) {
            (byte, &wanted) if byte == wanted => {}
            (b'_', b'-') => found = Spelling::Underscored,
            _ => return None,
        }
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_in_any_case() {
        assert_eq!(Name::of(b"HOST"), Name::Host);
        assert_eq!(Name::of(b"Content-length"), Name::ContentLength);
        assert_eq!(Name::of(b"X-Forwarded-Port"), Name::ForwardedOther);
        assert_eq!(Name::of(b"X-Forwarded"), Name::Other);
        assert_eq!(Name::of(b"X-Client-Cert-Subject"), Name::ClientCertificate);
        assert_eq!(Name::of(b"X-CLIENT_Cert-Verified"), Name::Alias);
        assert_eq!(Name::of(b"hosts"), Name::Other);
        assert_eq!(Name::of(b""), Name::Other);
    }

    #[test]
    fn rule_09_underscore_spellings_are_aliases() {
        for alias in [
            "X_Forwarded_For",
            "x_forwarded-for",
            "X_REAL_IP",
            "X_Request_ID",
            "Content_Length",
            "transfer_encoding",
            "X-Forwarded-Client_Cert",
        ] {
            assert_eq!(Name::of(alias.as_bytes()), Name::Alias, "{alias}");
        }
        assert_eq!(Name::of(b"x_forwarded_anything_however_long_it_may_be"), Name::Alias);
        for plain in ["_", "x_request_ids", "sec_websocket_accepts", "sec_websocket_accept_and_more"] {
            assert_eq!(Name::of(plain.as_bytes()), Name::Other, "{plain}");
        }
    }
}

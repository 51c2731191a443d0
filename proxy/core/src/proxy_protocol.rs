//! The PROXY protocol: who a proxy in front has on its other side, said in bytes before all others.
//!
//! Version 1 is one line of text, version 2 is binary ("The PROXY protocol", haproxy.org, sections 2.1 and
//! 2.2). A header is read however its bytes are split, and refused with the first byte that no header has,
//! so that a client which sends none is not waited for. Knows nothing of who may send one.

mod v1;
mod v2;

#[cfg(test)]
mod tests;

use std::net::{IpAddr, SocketAddr};

pub use self::v1::SIGNATURE as V1_SIGNATURE;
pub use self::v2::SIGNATURE as V2_SIGNATURE;

/// What a header says about the connection behind it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ProxyHeader {
    /// Nothing: the proxy speaks for itself (a health check), or what it has is no TCP connection.
    Local,
    /// The client's connection to the proxy.
    Proxied(Addresses),
}

/// The two ends of a connection. Addresses mapped to IPv6 are given as the IPv4 addresses they are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Addresses {
    pub source: SocketAddr,
    pub destination: SocketAddr,
}

/// Bytes that are no header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BadProxyHeader {
    pub reason: &'static str,
}

/// The version of a header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ProxyVersion {
    V1,
    V2,
}

impl ProxyVersion {
    /// The header of a connection that is nobody's but the sender's own, such as a health check.
    #[must_use]
    pub fn local_header(self) -> &'static [u8] {
        match self {
            Self::V1 => b"PROXY UNKNOWN\r\n",
            Self::V2 => v2::LOCAL_HEADER,
        }
    }
}

impl BadProxyHeader {
    const NO_SIGNATURE: Self = Self { reason: "no PROXY header" };
    const TOO_LONG: Self = Self { reason: "PROXY header is too long" };
    const LINE: Self = Self { reason: "malformed PROXY line" };
    const VERSION: Self = Self { reason: "unknown version or command in a PROXY header" };
    const FAMILY: Self = Self { reason: "unknown family or transport in a PROXY header" };
    const LENGTH: Self = Self { reason: "PROXY header is too short for its addresses" };
}

impl ProxyHeader {
    /// Reads the header at the start of `input` and its length; `None` if it is incomplete.
    ///
    /// # Errors
    /// [`BadProxyHeader`] if no more bytes can make it one.
    pub fn parse(input: &[u8]) -> Result<Option<(Self, usize)>, BadProxyHeader> {
        match input.first() {
            None => Ok(None),
            Some(&first) if first == V1_SIGNATURE[0] => v1::parse(input),
            Some(_) => v2::parse(input),
        }
    }
}

impl Addresses {
    fn new(source: SocketAddr, destination: SocketAddr) -> Self {
        let canonical = |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
        Self { source: canonical(source), destination: canonical(destination) }
    }

    /// Appends the header that says this to `out`.
    ///
    /// Where only one of the two is an IPv4 address it is written mapped to IPv6: a header has one family.
    pub fn write(&self, version: ProxyVersion, out: &mut Vec<u8>) {
        match version {
            ProxyVersion::V1 => v1::write(self, out),
            ProxyVersion::V2 => v2::write(self, out),
        }
    }

    /// The addresses in one family.
    fn in_one_family(&self) -> (IpAddr, IpAddr) {
        match (self.source.ip().to_canonical(), self.destination.ip().to_canonical()) {
            (IpAddr::V4(source), destination @ IpAddr::V6(_)) => {
                (source.to_ipv6_mapped().into(), destination)
            }
            (source @ IpAddr::V6(_), IpAddr::V4(destination)) => {
                (source, destination.to_ipv6_mapped().into())
            }
            same => same,
        }
    }
}

/// Whether `input` begins like `signature`: `None` if it is too short to tell.
fn begins_with(input: &[u8], signature: &[u8]) -> Result<Option<()>, BadProxyHeader> {
    let known = input.len().min(signature.len());
    if input[..known] != signature[..known] {
        return Err(BadProxyHeader::NO_SIGNATURE);
    }
    Ok((known == signature.len()).then_some(()))
}

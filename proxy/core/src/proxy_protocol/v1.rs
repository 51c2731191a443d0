//! Version 1: `PROXY TCP4 192.0.2.7 198.51.100.1 56324 443` and CRLF.

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use memchr::memchr;

use super::{Addresses, BadProxyHeader, ProxyHeader, begins_with};
use crate::limits::PROXY_LINE_BYTES_MAX;

/// What every header of this version begins with.
pub const SIGNATURE: &[u8] = b"PROXY ";

pub(super) fn parse(input: &[u8]) -> Result<Option<(ProxyHeader, usize)>, BadProxyHeader> {
    if begins_with(input, SIGNATURE)?.is_none() {
        return Ok(None);
    }
    let shown = &input[..input.len().min(PROXY_LINE_BYTES_MAX)];
    let Some(end) = memchr(b'\n', shown) else {
        return if shown.len() == PROXY_LINE_BYTES_MAX { Err(BadProxyHeader::TOO_LONG) } else { Ok(None) };
    };
    let line = shown[SIGNATURE.len()..end].strip_suffix(b"\r").ok_or(BadProxyHeader::LINE)?;
    let line = str::from_utf8(line).map_err(|_| BadProxyHeader::LINE)?;
    let header = read(line).ok_or(BadProxyHeader::LINE)?;
    Ok(Some((header, end + 1)))
}

/// Reads what stands between signature and line end. The fields are separated by exactly one space.
fn read(line: &str) -> Option<ProxyHeader> {
    // What follows UNKNOWN is to be ignored.
    if line == "UNKNOWN" || line.starts_with("UNKNOWN ") {
        return Some(ProxyHeader::Local);
    }
    let mut parts = line.split(' ');
    let mut next = || parts.next();
    let family = next()?;
    let (source, destination, source_port, destination_port) =
        (next()?, next()?, port(next()?)?, port(next()?)?);
    if next().is_some() {
        return None;
    }
    let ip = |text: &str| -> Option<IpAddr> {
        match family {
            "TCP4" => text.parse::<Ipv4Addr>().ok().map(IpAddr::from),
            "TCP6" => text.parse::<Ipv6Addr>().ok().map(IpAddr::from),
            _ => None,
        }
    };
    Some(ProxyHeader::Proxied(Addresses::new(
        SocketAddr::new(ip(source)?, source_port),
        SocketAddr::new(ip(destination)?, destination_port),
    )))
}

/// A port as it is to be written: no sign and no leading zero.
fn port(text: &str) -> Option<u16> {
    let canonical = text == "0" || text.starts_with(|first: char| matches!(first, '1'..='9'));
    text.parse().ok().filter(|_| canonical)
}

pub(super) fn write(addresses: &Addresses, out: &mut Vec<u8>) {
    let (source, destination) = addresses.in_one_family();
    let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
    let ports = (addresses.source.port(), addresses.destination.port());
    // Writing to memory cannot fail.
    let _ = write!(out, "PROXY {family} {source} {destination} {} {}\r\n", ports.0, ports.1);
}

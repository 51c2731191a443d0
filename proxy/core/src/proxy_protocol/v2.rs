//! Version 2: a signature, four bytes of meaning and length, addresses, and extensions, which are skipped.
//!
//! A checksum extension is not checked: TCP has its own, and nothing else in a header is believed.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Addresses, BadProxyHeader, ProxyHeader, begins_with};
use crate::limits::PROXY_HEADER_BYTES_MAX;

/// What every header of this version begins with. No line of HTTP does, and no TLS record.
pub const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Signature, LOCAL, no family, no addresses.
pub(super) const LOCAL_HEADER: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";

/// Signature, version and command, family and transport, length.
const FIXED_BYTES: usize = 16;

const LOCAL: u8 = 0x20;
const PROXY: u8 = 0x21;

const UNSPECIFIED: u8 = 0x00;
const TCP4: u8 = 0x11;
const TCP6: u8 = 0x21;
const UNIX_STREAM: u8 = 0x31;

pub(super) fn parse(input: &[u8]) -> Result<Option<(ProxyHeader, usize)>, BadProxyHeader> {
    if begins_with(input, SIGNATURE)?.is_none() {
        return Ok(None);
    }
    let Some(&command) = input.get(12) else { return Ok(None) };
    if !matches!(command, LOCAL | PROXY) {
        return Err(BadProxyHeader::VERSION);
    }
    let Some(&family) = input.get(13) else { return Ok(None) };
    // A LOCAL header's family says nothing, and is not looked at.
    if command == PROXY && !matches!(family, UNSPECIFIED | TCP4 | TCP6 | UNIX_STREAM) {
        return Err(BadProxyHeader::FAMILY);
    }
    let Some(&[high, low]) = input.get(14..FIXED_BYTES) else { return Ok(None) };
    let length = FIXED_BYTES + usize::from(u16::from_be_bytes([high, low]));
    if length > PROXY_HEADER_BYTES_MAX {
        return Err(BadProxyHeader::TOO_LONG);
    }
    let address_bytes = match (command, family) {
        (PROXY, TCP4) => 12,
        (PROXY, TCP6) => 36,
        _ => 0,
    };
    if length - FIXED_BYTES < address_bytes {
        return Err(BadProxyHeader::LENGTH);
    }
    let Some(block) = input.get(FIXED_BYTES..length) else { return Ok(None) };
    let header = read(&block[..address_bytes]).map_or(ProxyHeader::Local, ProxyHeader::Proxied);
    Ok(Some((header, length)))
}

/// Reads an address block of IPv4 or IPv6 by its length.
fn read(block: &[u8]) -> Option<Addresses> {
    let (ips, ports) = block.split_at_checked(block.len().checked_sub(4)?)?;
    let (source, destination) = ips.split_at(ips.len() / 2);
    let port = |at: usize| Some(u16::from_be_bytes([*ports.get(at)?, *ports.get(at + 1)?]));
    let address = |ip: &[u8], port: u16| match ip.len() {
        4 => Some(SocketAddr::from((Ipv4Addr::from(<[u8; 4]>::try_from(ip).ok()?), port))),
        _ => Some(SocketAddr::from((Ipv6Addr::from(<[u8; 16]>::try_from(ip).ok()?), port))),
    };
    Some(Addresses::new(address(source, port(0)?)?, address(destination, port(2)?)?))
}

pub(super) fn write(addresses: &Addresses, out: &mut Vec<u8>) {
    out.extend_from_slice(SIGNATURE);
    match addresses.in_one_family() {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            out.extend_from_slice(&[PROXY, TCP4, 0, 12]);
            out.extend_from_slice(&source.octets());
            out.extend_from_slice(&destination.octets());
        }
        (source, destination) => {
            let octets = |ip| match ip {
                IpAddr::V4(ip) => Ipv4Addr::to_ipv6_mapped(&ip).octets(),
                IpAddr::V6(ip) => ip.octets(),
            };
            out.extend_from_slice(&[PROXY, TCP6, 0, 36]);
            out.extend_from_slice(&octets(source));
            out.extend_from_slice(&octets(destination));
        }
    }
    out.extend_from_slice(&addresses.source.port().to_be_bytes());
    out.extend_from_slice(&addresses.destination.port().to_be_bytes());
}

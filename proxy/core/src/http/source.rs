//! Who a request comes from: the address behind proxies whose word is believed.
//!
//! Every proxy appends the address that connected to it to X-Forwarded-For, so the list reads from the
//! least to the most believable. It is read from its end: an address is believed if a trusted proxy
//! appended it, so the first one that is not itself trusted is the client. What stands before it, the
//! client may have written.

use std::net::{IpAddr, SocketAddr};

use super::fields::trim;
use super::name::Name;
use super::request::RequestHead;
use crate::network::{Network, any_contains};

/// Who a request comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Source {
    /// The client's address, as far as it can be believed. IPv4 where it is mapped to IPv6.
    pub client: IpAddr,
    /// The connection comes from a trusted proxy, so what it says about its client is believed.
    pub trusted: bool,
}

impl Source {
    /// The source of a request on a connection from `connection`.
    ///
    /// Without trusted networks this looks at nothing else. An element that is no address ends the search:
    /// the client is then the last proxy that could be read.
    #[must_use]
    pub fn of(head: &RequestHead, connection: IpAddr, trusted: &[Network]) -> Self {
        let connection = connection.to_canonical();
        if !any_contains(trusted, connection) {
            return Self { client: connection, trusted: false };
        }
        let mut client = connection;
        let lines = head.fields.values(Name::ForwardedFor).rev();
        for element in lines.flat_map(|line| line.rsplit(|&byte| byte == b',')).map(trim) {
            if element.is_empty() {
                continue;
            }
            let Some(address) = address_of(element) else { break };
            client = address;
            if !any_contains(trusted, client) {
                break;
            }
        }
        Self { client, trusted: true }
    }
}

/// The address of one element, which some proxies write with brackets or with a port.
fn address_of(element: &[u8]) -> Option<IpAddr> {
    let text = str::from_utf8(element).ok()?;
    let bare = || text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text).parse();
    let address: Option<IpAddr> = bare().ok().or_else(|| Some(text.parse::<SocketAddr>().ok()?.ip()));
    address.map(|address| address.to_canonical())
}

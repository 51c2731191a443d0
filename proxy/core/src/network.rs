//! Networks in CIDR notation, and whether an address is in one of a list.
//!
//! An IPv4 address that a dual-stack socket shows as `::ffff:a.b.c.d` counts as the IPv4 address it is, so
//! no IPv6 network, not even `::/0`, holds it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// All addresses that share their first bits (RFC 4632, RFC 4291 section 2.3).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Network {
    /// Its bits behind the prefix are 0.
    address: IpAddr,
    prefix_bits: u8,
}

/// A text that is no network.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NetworkError {
    /// It is neither an address nor an address, `/` and a number of bits.
    Malformed(String),
    /// There are bits behind the prefix, so it is not clear what was meant.
    HostBits(String, Network),
}

impl Network {
    /// The network of `address` with this many fixed bits, at most 32 or 128.
    #[must_use]
    pub fn of(address: IpAddr, prefix_bits: u8) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => {
                let prefix_bits = prefix_bits.min(32);
                let mask = u32::MAX.checked_shl(32 - u32::from(prefix_bits)).unwrap_or(0);
                let address = Ipv4Addr::from_bits(address.to_bits() & mask).into();
                Self { address, prefix_bits }
            }
            IpAddr::V6(address) => {
                let prefix_bits = prefix_bits.min(128);
                let mask = u128::MAX.checked_shl(128 - u32::from(prefix_bits)).unwrap_or(0);
                let address = Ipv6Addr::from_bits(address.to_bits() & mask).into();
                Self { address, prefix_bits }
            }
        }
    }

    /// Whether `address` is in it.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        Self::of(address, self.prefix_bits) == *self
    }
}

/// Whether any of `networks` contains `address`.
#[must_use]
pub fn any_contains(networks: &[Network], address: IpAddr) -> bool {
    networks.iter().any(|network| network.contains(address))
}

impl FromStr for Network {
    type Err = NetworkError;

    /// Reads `10.0.0.0/8`, `fd00::/8` or a single address.
    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let malformed = || NetworkError::Malformed(text.to_owned());
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| malformed())?;
        let bits_max = if address.is_ipv4() { 32 } else { 128 };
        let prefix_bits = match bits {
            None => bits_max,
            Some(bits) if bits.starts_with('0') && bits != "0" => return Err(malformed()),
            Some(bits) if bits.bytes().all(|byte| byte.is_ascii_digit()) => {
                bits.parse::<u8>().ok().filter(|bits| *bits <= bits_max).ok_or_else(malformed)?
            }
            Some(_) => return Err(malformed()),
        };
        // A mapped address is an IPv4 address, and bits of its prefix would mean something else.
        if address.to_canonical() != address {
            return Err(malformed());
        }
        let network = Self::of(address, prefix_bits);
        if network.address == address {
            Ok(network)
        } else {
            Err(NetworkError::HostBits(text.to_owned(), network))
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.address, self.prefix_bits)
    }
}

impl fmt::Display for NetworkError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(text) => write!(
                formatter,
                "{text:?} is no network: write for example \"10.0.0.0/8\", \"fd00::/8\" or one address"
            ),
            Self::HostBits(text, network) => {
                write!(formatter, "{text:?} has bits behind its prefix; did you mean \"{network}\"?")
            }
        }
    }
}

impl std::error::Error for NetworkError {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn network(text: &str) -> Network {
        text.parse().unwrap()
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn ends_of_a_network_are_in_it_and_their_neighbours_are_not() {
        for (text, inside, outside) in [
            ("10.0.0.0/8", ["10.0.0.0", "10.255.255.255"], ["9.255.255.255", "11.0.0.0"]),
            ("192.0.2.7", ["192.0.2.7", "::ffff:192.0.2.7"], ["192.0.2.6", "192.0.2.8"]),
            ("0.0.0.0/0", ["0.0.0.0", "::ffff:255.255.255.255"], ["::", "::1"]),
            ("fd00::/8", ["fd00::", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"], ["fcff::", "fe00::"]),
            ("2001:db8::/65", ["2001:db8::", "2001:db8::7fff:0:0:1"], ["2001:db8::8000:0:0:0", "2001:db9::"]),
            ("::/0", ["::", "ffff::"], ["127.0.0.1", "::ffff:127.0.0.1"]),
        ] {
            for address in inside.map(address) {
                assert!(network(text).contains(address), "{address} in {text}");
            }
            for address in outside.map(address) {
                assert!(!network(text).contains(address), "{address} not in {text}");
            }
        }
    }

    #[test]
    fn a_text_that_is_no_network_is_refused_with_what_to_write() {
        for text in [
            "",
            "/",
            "10.0.0.0/",
            "10.0.0.0/33",
            "10.0.0.0/08",
            "10.0.0.0/+8",
            "10.0.0/8",
            "a",
            "::/129",
            "10.0.0.0/8/8",
            " 10.0.0.0/8",
            "::ffff:10.0.0.0/104",
            "fe80::1%eth0",
            "10.0.0.0/300",
        ] {
            let malformed = Err(NetworkError::Malformed(text.to_owned()));
            assert_eq!(text.parse::<Network>(), malformed, "{text}");
        }
        let told = "10.1.2.3/8".parse::<Network>().unwrap_err().to_string();
        assert_eq!(told, "\"10.1.2.3/8\" has bits behind its prefix; did you mean \"10.0.0.0/8\"?");
        assert!("x".parse::<Network>().unwrap_err().to_string().contains("10.0.0.0/8"));
    }

    proptest! {
        #[test]
        fn an_address_is_in_its_networks_and_leaves_with_any_bit_of_the_prefix(
            address: IpAddr, bits in 0_u8..=128, flipped in 0_u32..128,
        ) {
            let address = address.to_canonical();
            let width = if address.is_ipv4() { 32 } else { 128 };
            let bits = bits % (width + 1);
            let network = Network::of(address, bits);
            prop_assert!(network.contains(address));
            prop_assert_eq!(network.to_string().parse::<Network>(), Ok(network));
            let flipped = flipped % u32::from(width);
            let other = match address {
                IpAddr::V4(address) => IpAddr::V4((address.to_bits() ^ (1 << (31 - flipped))).into()),
                IpAddr::V6(address) => IpAddr::V6((address.to_bits() ^ (1 << (127 - flipped))).into()),
            };
            // The flipped bit may make a mapped address, which is another family.
            prop_assume!(other.to_canonical() == other);
            prop_assert_eq!(network.contains(other), flipped >= u32::from(bits));
        }

        #[test]
        fn no_text_panics(text in "[0-9a-f:./ ]{0,50}") {
            let _ = text.parse::<Network>();
        }
    }
}

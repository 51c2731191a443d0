//! What each client address has open and how fast it asks for more.
//!
//! An IPv4 address is one client; of an IPv6 address the first 64 bits are, because whoever has one of them
//! has them all. The table never grows: a client's hash leads to a few slots, of which it takes one that is
//! not in use. Where all are in use the client is let through unseen: an attacker with that many addresses
//! would otherwise lock everybody else out, and the bounds over all clients hold for it too.

use std::hash::Hasher as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use siphasher::sip::SipHasher13;

use crate::limits::CLIENT_SLOTS_PER_GROUP;
use crate::rate::Rate;

#[cfg(test)]
mod tests;

/// Who counts as one client.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct ClientKey {
    prefix: u64,
    v6: bool,
}

impl From<IpAddr> for ClientKey {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self { prefix: address.to_bits().into(), v6: false },
            IpAddr::V6(address) => {
                let [a, b, c, d, e, f, g, h, ..] = address.octets();
                Self { prefix: u64::from_be_bytes([a, b, c, d, e, f, g, h]), v6: true }
            }
        }
    }
}

/// An address of the client: the one it was made from, or the first of its network.
impl From<ClientKey> for IpAddr {
    fn from(client: ClientKey) -> Self {
        match u32::try_from(client.prefix) {
            Ok(bits) if !client.v6 => Self::from(Ipv4Addr::from_bits(bits)),
            _ => Self::from(Ipv6Addr::from_bits(u128::from(client.prefix) << 64)),
        }
    }
}

/// Leads to a client's place. Keyed, so that nobody outside can choose addresses that collide.
#[derive(Clone, Copy)]
pub struct ClientHasher(SipHasher13);

impl ClientHasher {
    /// A hasher with this secret key, which must be random.
    #[must_use]
    pub fn new(key: [u8; 16]) -> Self {
        Self(SipHasher13::new_with_key(&key))
    }

    #[must_use]
    pub fn place(&self, client: ClientKey) -> Place {
        let mut hasher = self.0;
        hasher.write_u64(client.prefix);
        hasher.write_u8(client.v6.into());
        Place { client, hash: hasher.finish() }
    }
}

impl std::fmt::Debug for ClientHasher {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("ClientHasher")
    }
}

/// A client and where it is looked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    client: ClientKey,
    hash: u64,
}

impl Place {
    /// Whose it is.
    #[must_use]
    pub const fn client(self) -> ClientKey {
        self.client
    }

    /// The shard of `shard_count` that holds the client.
    #[must_use]
    pub fn shard(self, shard_count: usize) -> usize {
        scaled(self.hash, shard_count)
    }
}

/// An even share of `0..count` by `hash`, without a division.
fn scaled(hash: u64, count: usize) -> usize {
    let (_, scaled) = hash.carrying_mul(count as u64, 0);
    usize::try_from(scaled).unwrap_or(0)
}

/// Bounds of one client.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct ClientBounds {
    /// Connections open at once.
    pub connections: Option<u32>,
    /// New connections.
    pub connection_rate: Option<Rate>,
    /// New Engine.IO sessions.
    pub session_rate: Option<Rate>,
    /// What is beyond a bound is let through, and counts.
    pub dry_run: bool,
}

/// The bound that was reached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Exceeded {
    Connections,
    ConnectionRate,
    SessionRate,
}

/// What became of one more connection or session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It is within all bounds.
    Within,
    /// It is beyond this one.
    Beyond(Exceeded),
    /// The table has no room for its client: no bound applies.
    Unseen,
}

/// One client's use. All zero: free.
#[derive(Clone, Copy, Default, Debug)]
struct Slot {
    client: ClientKey,
    connections: u32,
    connection_rate: u64,
    session_rate: u64,
}

impl Slot {
    /// Forgetting it would change nothing.
    fn is_free(&self, now: u64) -> bool {
        self.connections == 0 && self.connection_rate <= now && self.session_rate <= now
    }
}

/// One shard of the table.
#[derive(Debug)]
pub struct ClientTable {
    slots: Box<[Slot]>,
}

impl ClientTable {
    /// A table for about `clients` clients at once.
    #[must_use]
    pub fn new(clients: usize) -> Self {
        let groups = clients.div_ceil(CLIENT_SLOTS_PER_GROUP).max(1);
        Self { slots: vec![Slot::default(); groups * CLIENT_SLOTS_PER_GROUP].into() }
    }

    /// One more connection of a client at `now`. [`ClientTable::leave`] must follow where it is counted:
    /// where the verdict is [`Verdict::Within`], and with a dry run [`Verdict::Beyond`].
    pub fn enter(&mut self, place: Place, bounds: &ClientBounds, now: u64) -> Verdict {
        let Some(slot) = self.slot(place, now) else { return Verdict::Unseen };
        let mut verdict = Verdict::Within;
        if let Some(rate) = bounds.connection_rate {
            match rate.admit(slot.connection_rate, now) {
                Some(next) => slot.connection_rate = next,
                None => verdict = Verdict::Beyond(Exceeded::ConnectionRate),
            }
        }
        if bounds.connections.is_some_and(|most| slot.connections >= most) {
            verdict = Verdict::Beyond(Exceeded::Connections);
        }
        if verdict == Verdict::Within || bounds.dry_run {
            slot.connections = slot.connections.saturating_add(1);
        }
        verdict
    }

    /// A connection that was counted has ended.
    pub fn leave(&mut self, place: Place, now: u64) {
        if let Some(slot) = self.slot(place, now) {
            slot.connections = slot.connections.saturating_sub(1);
        }
    }

    /// One more Engine.IO session of a client at `now`.
    pub fn open_session(&mut self, place: Place, bounds: &ClientBounds, now: u64) -> Verdict {
        let Some(rate) = bounds.session_rate else { return Verdict::Within };
        let Some(slot) = self.slot(place, now) else { return Verdict::Unseen };
        match rate.admit(slot.session_rate, now) {
            Some(next) => {
                slot.session_rate = next;
                Verdict::Within
            }
            None => Verdict::Beyond(Exceeded::SessionRate),
        }
    }

    /// The client's slot, or one for it; `None` if its group has none.
    fn slot(&mut self, place: Place, now: u64) -> Option<&mut Slot> {
        // The shard has used the high bits.
        let groups = self.slots.len() / CLIENT_SLOTS_PER_GROUP;
        let start = scaled(place.hash.rotate_left(32), groups) * CLIENT_SLOTS_PER_GROUP;
        let group = &mut self.slots[start..start + CLIENT_SLOTS_PER_GROUP];
        let own = group.iter().position(|slot| slot.client == place.client && !slot.is_free(now));
        let at = own.or_else(|| group.iter().position(|slot| slot.is_free(now)))?;
        let slot = &mut group[at];
        if own.is_none() {
            *slot = Slot { client: place.client, ..Slot::default() };
        }
        Some(slot)
    }
}

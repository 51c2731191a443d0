//! What shows only in several sessions of one source: the address that connects to us, a hop's or a client's own.

use std::net::IpAddr;
use std::time::Duration;

use crate::affinity::key_of_address;
use crate::limits::{
    POLL_CUT_EARLY, POLL_CUT_LATE, POLL_CUT_STEP, POLL_CUTS, POLLING_SESSIONS, POLLING_TIME,
    STRANGE_AT_START, STRANGE_TIME, STRANGE_UPGRADES,
};

/// What is known of one source. Moments are durations since a start that all of them share.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Source {
    /// Sessions in a row that were offered websocket, since one upgraded, and when the first was.
    polling: u16,
    polling_since: Duration,
    /// The time after which polls are cut, and how many more were cut then than at other times.
    cut_seconds: u16,
    cuts: u8,
    /// Upgrades with unknown sids, and when the first of them came.
    strange: u8,
    strange_since: Duration,
}

impl Source {
    /// A session began by polling that was offered websocket. `true`: sessions of this source never upgrade.
    pub fn offered(&mut self, now: Duration) -> bool {
        if self.polling == 0 {
            self.polling_since = now;
        }
        self.polling = self.polling.saturating_add(1);
        self.polling > POLLING_SESSIONS && now.saturating_sub(self.polling_since) >= POLLING_TIME
    }

    /// A session upgraded.
    pub fn upgraded(&mut self) {
        self.polling = 0;
    }

    /// The source closed on a poll that had been held for this long. Its number of seconds, if polls of this source
    /// mostly end after it.
    ///
    /// Clients go away at any moment; a timeout is the same each time. So the times vote: one more for the same,
    /// one less for another.
    pub fn cut(&mut self, held: Duration) -> Option<u16> {
        match round_seconds(held) {
            Some(seconds) if seconds == self.cut_seconds => self.cuts = self.cuts.saturating_add(1),
            Some(seconds) if self.cuts == 0 => (self.cut_seconds, self.cuts) = (seconds, 1),
            Some(_) | None => {
                self.cuts = self.cuts.saturating_sub(1);
                return None;
            }
        }
        (self.cuts >= POLL_CUTS).then_some(self.cut_seconds)
    }

    /// An upgrade came with a sid that is unknown. `true`: that is no exception.
    ///
    /// Sids go unknown when they are old. Clients upgrade new ones.
    pub fn strange(&mut self, now: Duration) -> bool {
        if now < STRANGE_AT_START {
            return false;
        }
        if now.saturating_sub(self.strange_since) > STRANGE_TIME {
            (self.strange, self.strange_since) = (0, now);
        }
        self.strange = self.strange.saturating_add(1);
        self.strange >= STRANGE_UPGRADES
    }
}

/// The timeout that ended a poll which was held for `held`, if one did.
fn round_seconds(held: Duration) -> Option<u16> {
    let seconds = (held + POLL_CUT_EARLY).as_secs();
    let late = (held + POLL_CUT_EARLY).saturating_sub(Duration::from_secs(seconds));
    let is_round =
        seconds > 0 && seconds.is_multiple_of(POLL_CUT_STEP) && late <= POLL_CUT_EARLY + POLL_CUT_LATE;
    u16::try_from(seconds).ok().filter(|_| is_round)
}

/// What is known of many sources, in a memory that does not grow.
#[derive(Debug)]
pub struct Sources(Box<[Option<(IpAddr, Source)>]>);

impl Sources {
    /// For as many sources as `slots`.
    #[must_use]
    pub fn new(slots: usize) -> Self {
        Self((0..slots).map(|_| None).collect())
    }

    /// What is known of this source; it takes the slot of another one, if they share it.
    pub fn of(&mut self, address: IpAddr) -> &mut Source {
        let slot = usize::try_from(key_of_address(address) % self.0.len() as u64).unwrap_or(0);
        let known = self.0[slot].take().filter(|(whose, _)| *whose == address);
        &mut self.0[slot].insert(known.unwrap_or((address, Source::default()))).1
    }
}

//! What was recognised, where and how often, in a table that does not grow.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use super::Downgrade;
use crate::limits::{FINDING_LOG_INTERVAL, FINDING_SHOWN, FINDINGS_MAX};

/// On whose side it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Place {
    /// In front of us: the address that connects to us.
    Front(IpAddr),
    /// Behind us: the name of a backend.
    Behind(Box<str>),
}

/// One thing seen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sighting {
    pub downgrade: Downgrade,
    pub place: Place,
    /// Who did it, as far as it shows.
    pub hop: Option<Box<str>>,
    /// After how many seconds, of [`Downgrade::PollsCut`].
    pub seconds: Option<u16>,
}

/// What was seen in one place. Moments are durations since a start that all findings share.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// As it was last seen.
    pub sighting: Sighting,
    pub count: u64,
    pub first: Duration,
    pub last: Duration,
    /// When the last line of the log was due, and how often it was seen since.
    logged: Duration,
    unlogged: u64,
}

/// A line of the log is due.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Due {
    /// What was seen since the last one, this time included.
    pub count: u64,
}

/// Everything that was recognised lately.
#[derive(Default, Debug)]
pub struct Findings(Vec<Finding>);

impl Findings {
    /// Notes what was seen. Returns whether it is time for a line of the log about it.
    pub fn note(&mut self, sighting: Sighting, now: Duration) -> Option<Due> {
        let (what, place) = (sighting.downgrade, &sighting.place);
        let known =
            self.0.iter_mut().find(|one| one.sighting.downgrade == what && one.sighting.place == *place);
        let Some(finding) = known else {
            self.make_room(now)?;
            self.0.push(Finding { sighting, count: 1, first: now, last: now, logged: now, unlogged: 0 });
            return Some(Due { count: 1 });
        };
        finding.count += 1;
        finding.unlogged += 1;
        finding.last = now;
        finding.sighting = Sighting { hop: sighting.hop.or(finding.sighting.hop.take()), ..sighting };
        if now.saturating_sub(finding.logged) < FINDING_LOG_INTERVAL {
            return None;
        }
        finding.logged = now;
        Some(Due { count: std::mem::take(&mut finding.unlogged) })
    }

    /// What was seen in the last [`FINDING_SHOWN`], the latest first.
    #[must_use]
    pub fn shown(&self, now: Duration) -> Vec<Finding> {
        let is_current = |finding: &&Finding| now.saturating_sub(finding.last) < FINDING_SHOWN;
        let mut shown: Vec<Finding> = self.0.iter().filter(is_current).cloned().collect();
        shown.sort_by_key(|finding| std::cmp::Reverse(finding.last));
        shown
    }

    /// Lets the oldest go if the table is full. `None`: all of them are recent.
    fn make_room(&mut self, now: Duration) -> Option<()> {
        if self.0.len() < FINDINGS_MAX {
            return Some(());
        }
        let (oldest, finding) = self.0.iter().enumerate().min_by_key(|(_, finding)| finding.last)?;
        // Else strangers who come with ever new addresses would write a line each.
        if now.saturating_sub(finding.last) < FINDING_LOG_INTERVAL {
            return None;
        }
        self.0.swap_remove(oldest);
        Some(())
    }
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Front(address) => address.fmt(formatter),
            Self::Behind(backend) => formatter.write_str(backend),
        }
    }
}

//! The Date field's value, written once a second.

use std::cell::Cell;
use std::io::Write as _;
use std::time::{Duration, Instant, SystemTime};

use httpdate::HttpDate;

/// Length of every date in the form of RFC 9110 section 5.6.7.
pub(crate) const DATE_BYTES: usize = 29;

/// The date of now and how long it is that.
#[derive(Debug)]
pub(crate) struct DateCache(Cell<Option<(Instant, [u8; DATE_BYTES])>>);

impl DateCache {
    pub(crate) const fn new() -> Self {
        Self(Cell::new(None))
    }

    /// The date at `now`, as a Date field has it.
    pub(crate) fn get(&self, now: Instant) -> [u8; DATE_BYTES] {
        match self.0.get() {
            Some((until, date)) if now < until => date,
            _ => {
                let clock = SystemTime::now();
                let date = text(clock);
                let past = clock.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().subsec_nanos();
                let until = now + Duration::from_secs(1) - Duration::from_nanos(past.into());
                self.0.set(Some((until, date)));
                date
            }
        }
    }
}

fn text(time: SystemTime) -> [u8; DATE_BYTES] {
    let mut date = [b' '; DATE_BYTES];
    // Fits for every year that has four digits.
    let _ = write!(&mut date[..], "{}", HttpDate::from(time));
    date
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_written_as_the_rfc_wants_it() {
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        assert_eq!(text(time), *b"Sun, 06 Nov 1994 08:49:37 GMT");
    }

    #[test]
    fn a_date_is_renewed_with_its_second_and_not_before() {
        let cache = DateCache::new();
        let now = Instant::now();
        let first = cache.get(now);
        let (until, _) = cache.0.get().unwrap();
        assert!(until > now && until <= now + Duration::from_secs(1));
        cache.0.set(Some((until, [b'x'; DATE_BYTES])));
        assert_eq!(cache.get(until - Duration::from_nanos(1)), [b'x'; DATE_BYTES]);
        assert_eq!(cache.get(until)[DATE_BYTES - 4..], first[DATE_BYTES - 4..]);
    }
}

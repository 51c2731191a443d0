//! Wall-clock time for lines, asked for once a second.

use std::cell::Cell;
use std::time::{Duration, Instant};

use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};

/// `2026-11-21T20:16:36.123Z`, RFC 3339 in UTC.
pub(super) type Stamp = [u8; 24];

/// The second it is, and when it began.
#[derive(Debug)]
pub(super) struct Clock(Cell<Option<(Instant, Stamp)>>);

impl Clock {
    pub(super) const fn new() -> Self {
        Self(Cell::new(None))
    }

    /// What it is o'clock at `now`, which does not go back.
    pub(super) fn stamp(&self, now: Instant) -> Stamp {
        let second = Duration::from_secs(1);
        let current = self.0.get().filter(|(began, _)| now.saturating_duration_since(*began) < second);
        let (began, mut stamp) = current.unwrap_or_else(|| {
            let fresh = read(now);
            self.0.set(Some(fresh));
            fresh
        });
        let millis = now.saturating_duration_since(began).subsec_millis();
        for (place, unit) in [(20, 100), (21, 10), (22, 1)] {
            stamp[place] = b'0' + u8::try_from(millis / unit % 10).unwrap_or(0);
        }
        stamp
    }
}

/// Reads the system's clock: the present second, and when it began.
fn read(now: Instant) -> (Instant, Stamp) {
    let mut text = String::with_capacity(32);
    // Writing to a String does not fail.
    let _ = SystemTime.format_time(&mut Writer::new(&mut text));
    let mut stamp = *b"0000-00-00T00:00:00.000Z";
    // `2026-11-21T20:16:36.123456Z`
    let parts = text.get(..20).zip(text.get(20..26).and_then(|micros| micros.parse().ok()));
    let Some((second, micros)) = parts else { return (now, stamp) };
    stamp[..20].copy_from_slice(second.as_bytes());
    (now.checked_sub(Duration::from_micros(micros)).unwrap_or(now), stamp)
}

/// The same as `21/Nov/2026:20:16:36 +0000`, as the combined form has it.
pub(super) fn write_combined(stamp: &Stamp, line: &mut Vec<u8>) {
    const MONTHS: &[u8; 36] = b"JanFebMarAprMayJunJulAugSepOctNovDec";
    let month = usize::from(stamp[5] - b'0') * 10 + usize::from(stamp[6] - b'0');
    let name = &MONTHS[(month.clamp(1, 12) - 1) * 3..][..3];
    for part in [&stamp[8..10], b"/", name, b"/", &stamp[..4], b":", &stamp[11..19], b" +0000"] {
        line.extend_from_slice(part);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn milliseconds_follow_the_instant_within_a_second() {
        let clock = Clock::new();
        let now = Instant::now();
        let first = clock.stamp(now);
        assert!(first[..2] == *b"20" && first[10] == b'T' && first[23] == b'Z', "{}", first.escape_ascii());
        let (began, kept) = clock.0.get().unwrap();
        let stamp = clock.stamp(began + Duration::from_millis(987));
        assert_eq!((&stamp[..19], &stamp[19..]), (&kept[..19], b".987Z".as_slice()));
        let second = clock.stamp(began + Duration::from_secs(1));
        assert!(second[19..] == *b".000Z" || second >= first, "the clock was read again");
    }

    #[test]
    fn the_combined_form_has_the_same_second() {
        let mut line = Vec::new();
        write_combined(b"2026-11-21T20:16:36.123Z", &mut line);
        assert_eq!(line, b"21/Nov/2026:20:16:36 +0000");
    }
}

//! A reproducible stream of bytes, so that both ends of a long body can be checked without keeping it.

/// An endless stream of bytes that repeat with no power of two, so that a piece in the wrong place shows.
#[derive(Clone, Debug, Default)]
pub struct Pattern {
    position: u64,
}

/// A prime, so that no buffer size is a multiple.
const PERIOD: usize = 251;

/// Many periods, to be copied and compared in large pieces: who moves much is not to be the slowest of all.
static PERIODS: [u8; 64 * PERIOD] = periods();

const fn periods() -> [u8; 64 * PERIOD] {
    let mut bytes = [0; 64 * PERIOD];
    let mut at = 1;
    while at < bytes.len() {
        bytes[at] = if at.is_multiple_of(PERIOD) { 0 } else { bytes[at - 1] + 1 };
        at += 1;
    }
    bytes
}

impl Pattern {
    /// The stream from this position on.
    #[must_use]
    pub fn at(position: u64) -> Self {
        Self { position }
    }

    /// Fills `buffer` with the next bytes.
    pub fn fill(&mut self, buffer: &mut [u8]) {
        let mut rest = buffer;
        while !rest.is_empty() {
            let (now, later) = rest.split_at_mut(rest.len().min(PERIODS.len() - PERIOD));
            now.copy_from_slice(self.next(now.len()));
            rest = later;
        }
    }

    /// Checks that `bytes` are the next ones.
    ///
    /// # Panics
    /// If they are not.
    pub fn check(&mut self, bytes: &[u8]) {
        let start = self.position;
        for piece in bytes.chunks(PERIODS.len() - PERIOD) {
            let from = self.position;
            let expected = self.next(piece.len());
            if piece != expected {
                let differs = piece.iter().zip(expected).position(|(got, wanted)| got != wanted);
                let at = from - start + differs.expect("they differ") as u64;
                panic!("the piece of {} bytes from {start} on differs at its byte {at}", bytes.len());
            }
        }
    }

    /// The next bytes, a period less than there are at most.
    fn next(&mut self, length: usize) -> &'static [u8] {
        let start = usize::try_from(self.position % PERIOD as u64).expect("below the period");
        self.position += length as u64;
        &PERIODS[start..start + length]
    }

    /// How many bytes have gone.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position
    }
}

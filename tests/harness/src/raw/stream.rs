//! A reproducible stream of bytes, so that both ends of a long body can be checked without keeping it.

/// An endless stream of bytes that repeat with no power of two, so that a piece in the wrong place shows.
#[derive(Clone, Debug, Default)]
pub struct Pattern {
    position: u64,
}

/// A prime, so that no buffer size is a multiple.
const PERIOD: u64 = 251;

impl Pattern {
    /// The stream from this position on.
    #[must_use]
    pub fn at(position: u64) -> Self {
        Self { position }
    }

    /// Fills `buffer` with the next bytes.
    pub fn fill(&mut self, buffer: &mut [u8]) {
        for byte in buffer {
            *byte = u8::try_from(self.position % PERIOD).expect("the period is below 256");
            self.position += 1;
        }
    }

    /// Checks that `bytes` are the next ones.
    ///
    /// # Panics
    /// If they are not.
    pub fn check(&mut self, bytes: &[u8]) {
        let mut expected = vec![0; bytes.len()];
        let start = self.position;
        self.fill(&mut expected);
        let differs = bytes.iter().zip(&expected).position(|(got, wanted)| got != wanted);
        assert_eq!(differs, None, "the piece of {} bytes from {start} on differs there", bytes.len());
    }

    /// How many bytes have gone.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position
    }
}

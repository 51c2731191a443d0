//! Bytes that tell where they belong: each id has a stream of its own, so a byte that went astray is seen.

/// The stream of one id: xorshift64*.
#[derive(Clone, Debug)]
pub(crate) struct Pattern {
    state: u64,
    /// Bytes of the last word that were not taken yet.
    word: [u8; 8],
    left: usize,
}

impl Pattern {
    pub(crate) fn new(id: u64) -> Self {
        Self { state: id.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1, word: [0; 8], left: 0 }
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        self.state.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `limit`.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        (self.next() >> 16) % limit
    }

    fn byte(&mut self) -> u8 {
        if self.left == 0 {
            self.word = self.next().to_be_bytes();
            self.left = 8;
        }
        self.left -= 1;
        self.word[self.left]
    }

    /// The next `length` bytes.
    pub(crate) fn take(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.byte()).collect()
    }

    /// Panics unless `bytes` are the next ones.
    #[track_caller]
    pub(crate) fn expect(&mut self, bytes: &[u8], whose: &str) {
        let wrong = bytes.iter().position(|byte| *byte != self.byte());
        assert_eq!(wrong, None, "{whose}: a byte that is not its own");
    }
}

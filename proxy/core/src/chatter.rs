//! Whether a direction chats: small messages, several a second.
//!
//! For such a direction the kernel is asked to receive by itself, which costs memory while it lasts and a few
//! calls to begin and end. So it takes several messages to begin, fewer to go on, and a direction that turned
//! out not to suit is left alone for a while.

use crate::limits::{
    CHAT_MESSAGE_BYTES_MAX, CHAT_MESSAGES_PER_SECOND, CHAT_MESSAGES_PER_SECOND_MIN, CHAT_PAUSE_SECONDS,
};

/// The recent messages of one direction. Times are seconds of the caller's clock, which may wrap around.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Chatter {
    /// The second that is counted; in the future during a pause.
    second: u16,
    messages: u8,
    /// Messages of the second before.
    before: u8,
}

impl Chatter {
    /// Notes a message of this many bytes.
    pub fn add(&mut self, bytes: usize, now_s: u16) {
        if self.is_paused(now_s) {
            return;
        }
        if bytes > CHAT_MESSAGE_BYTES_MAX {
            return self.pause(now_s);
        }
        self.turn(now_s);
        self.messages = self.messages.saturating_add(1);
    }

    /// Enough messages in this second or the last.
    #[must_use]
    pub fn chats(&self) -> bool {
        self.messages.max(self.before) >= CHAT_MESSAGES_PER_SECOND
    }

    /// Too few messages in the last whole second to go on.
    pub fn is_quiet(&mut self, now_s: u16) -> bool {
        if self.is_paused(now_s) {
            return true;
        }
        self.turn(now_s);
        self.before < CHAT_MESSAGES_PER_SECOND_MIN && self.messages < CHAT_MESSAGES_PER_SECOND_MIN
    }

    /// The direction does not suit: it does not chat for the next seconds.
    pub fn pause(&mut self, now_s: u16) {
        *self = Self { second: now_s.wrapping_add(CHAT_PAUSE_SECONDS), messages: 0, before: 0 };
    }

    fn is_paused(&self, now_s: u16) -> bool {
        let left = self.second.wrapping_sub(now_s);
        left != 0 && left <= CHAT_PAUSE_SECONDS
    }

    fn turn(&mut self, now_s: u16) {
        match now_s.wrapping_sub(self.second) {
            0 => {}
            passed => {
                let before = if passed == 1 { self.messages } else { 0 };
                *self = Self { second: now_s, messages: 0, before };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn chatter(messages: u8, bytes: usize, now_s: u16) -> Chatter {
        let mut chatter = Chatter::default();
        (0..messages).for_each(|_| chatter.add(bytes, now_s));
        chatter
    }

    #[test]
    fn small_messages_within_a_second_are_a_chat() {
        assert!(!chatter(CHAT_MESSAGES_PER_SECOND - 1, 64, 7).chats());
        assert!(chatter(CHAT_MESSAGES_PER_SECOND, 64, 7).chats());
        let mut slow = Chatter::default();
        (100..200).for_each(|now_s| slow.add(64, now_s));
        assert!(!slow.chats(), "one a second");
    }

    #[test]
    fn silence_ends_it_and_a_few_messages_keep_it() {
        let mut busy = chatter(100, 64, 7);
        assert!(!busy.is_quiet(7) && !busy.is_quiet(8), "the last whole second had many");
        assert!(busy.is_quiet(9));
        let mut slow = chatter(100, 64, 7);
        for now_s in 8..20 {
            (0..CHAT_MESSAGES_PER_SECOND_MIN).for_each(|_| slow.add(64, now_s));
            assert!(!slow.is_quiet(now_s), "{now_s}");
        }
    }

    #[test]
    fn a_long_message_pauses_it() {
        let mut chatter = chatter(100, 64, 7);
        chatter.add(CHAT_MESSAGE_BYTES_MAX + 1, 7);
        assert!(!chatter.chats() && chatter.is_quiet(7));
        (0..100).for_each(|_| chatter.add(64, 7 + CHAT_PAUSE_SECONDS - 1));
        assert!(!chatter.chats(), "still paused");
        (0..100).for_each(|_| chatter.add(64, 7 + CHAT_PAUSE_SECONDS));
        assert!(chatter.chats());
    }

    proptest! {
        #[test]
        fn a_steady_chat_never_ends(from_s: u16, per_second in CHAT_MESSAGES_PER_SECOND..200) {
            let mut chatter = Chatter::default();
            chatter.turn(from_s);
            for passed in 0..100 {
                let now_s = from_s.wrapping_add(passed);
                (0..per_second).for_each(|_| chatter.add(64, now_s));
                prop_assert!(chatter.chats() && !chatter.is_quiet(now_s));
            }
        }
    }
}

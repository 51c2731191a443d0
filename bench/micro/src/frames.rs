//! Following the WebSocket frames that a tunnel carries to its client.

use std::hint::black_box;

use ringbolt_core::frames::Frames;

use crate::Work;

/// A message of 64 bytes in a frame of its own, as it is received.
pub(crate) fn follow(units: u64) -> Work {
    let mut message = vec![0x82, 62];
    message.resize(64, b'x');
    Box::new(move || {
        let mut frames = Frames::BEGINNING;
        for _ in 0..units {
            frames.follow(black_box(&message));
            black_box(&mut frames);
        }
    })
}

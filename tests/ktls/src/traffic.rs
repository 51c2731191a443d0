//! Bytes that tell where they belong, and connections over the loopback.

use std::net::{TcpListener, TcpStream};
use std::time::Duration;

/// Longer than anything takes on an emulated processor.
const PATIENCE: Duration = Duration::from_secs(60);

/// `length` bytes without a period a record or buffer has.
pub(crate) fn bytes(length: usize, seed: u32) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2_654_435_761) | 1;
    let step = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()[1]
    };
    std::iter::repeat_with(step).take(length).collect()
}

/// Two ends of a connection, the one that connected first. A read or write that hangs fails.
pub(crate) fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let client = TcpStream::connect(listener.local_addr().expect("it has an address")).expect("it listens");
    let (server, _) = listener.accept().expect("the client is there");
    for end in [&client, &server] {
        end.set_nodelay(true).expect("a TCP socket");
        end.set_read_timeout(Some(PATIENCE)).expect("a time");
        end.set_write_timeout(Some(PATIENCE)).expect("a time");
    }
    (client, server)
}

/// The number an error of the system has.
pub(crate) fn errno<T: std::fmt::Debug>(result: std::io::Result<T>) -> i32 {
    result.expect_err("it fails").raw_os_error().expect("by the system")
}

//! Own memory of registered sources, measured in a process of its own so that nothing else allocates.
//!
//! Fails when a source costs more than its table entry: two of them are most of an idle tunnel.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use ringbolt_reactor::{EngineChoice, NoSink, Reactor, SinkToken, SourceId, yield_now};
use rustix::event::{EventfdFlags, eventfd};

const SOURCES: u32 = 8_000;
/// Registered in one turn, so that the turn's buffers, which are no source's, stay small.
const GROUP: u32 = 200;
/// An entry is 32 bytes; the rest is the unused part of the last chunk and the pages' ends.
const BYTES_MAX: usize = 40;

/// Bytes of anonymous memory of this process.
fn own_memory() -> usize {
    let rollup = std::fs::read_to_string("/proc/self/smaps_rollup").expect("Linux 4.14");
    let line = rollup.lines().find(|line| line.starts_with("Anonymous:")).expect("a field of the file");
    let kibibytes = line.split_whitespace().nth(1).and_then(|field| field.parse::<usize>().ok());
    kibibytes.expect("a number") * 1024
}

fn register(reactor: &Reactor, into: &mut Vec<(OwnedFd, SourceId)>) -> io::Result<()> {
    for token in 0..GROUP {
        let fd = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?;
        let source = reactor.register(fd.as_fd())?;
        reactor.assign(source, SinkToken(token));
        into.push((fd, source));
    }
    reactor.run(yield_now(), &NoSink)
}

fn bytes_of_a_source(choice: EngineChoice) -> io::Result<usize> {
    let (reactor, _) = Reactor::new(choice)?;
    let mut held = Vec::with_capacity((SOURCES + GROUP) as usize);
    // Touches the code and the buffers of a turn.
    register(&reactor, &mut held)?;
    let before = own_memory();
    while reactor.stats().sources < u64::from(SOURCES + GROUP) {
        register(&reactor, &mut held)?;
    }
    let list = SOURCES as usize * size_of::<(OwnedFd, SourceId)>();
    let bytes = own_memory().saturating_sub(before + list) / SOURCES as usize;
    held.drain(..).for_each(|(fd, source)| reactor.close(fd, source));
    reactor.run(yield_now(), &NoSink)?;
    println!("{}: {bytes} bytes of own memory for a source", reactor.engine());
    Ok(bytes)
}

/// One engine is enough, the table is the same; a second one in this process would use memory the first gave back.
#[test]
fn a_source_costs_its_table_entry() {
    match bytes_of_a_source(EngineChoice::Auto) {
        Ok(bytes) => assert!((1..=BYTES_MAX).contains(&bytes), "{bytes} bytes"),
        Err(error) => eprintln!("left out: {error}, {SOURCES} descriptors are needed"),
    }
}

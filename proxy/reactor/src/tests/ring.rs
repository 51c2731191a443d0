//! The ring itself: refused, overflown, and what it must never do.

use std::io::{self, ErrorKind, Write};

use super::{is_refusal, run, socket_pair, thread_names};
use crate::refusal::Refused;
use crate::ring::Ring;
use crate::{Engine, EngineChoice, Reactor};

fn refused(errno: i32) -> impl FnOnce() -> Result<Ring, Refused> {
    move || Err(Refused::Setup(io::Error::from_raw_os_error(errno)))
}

#[test]
fn a_refused_ring_is_replaced_and_explained() {
    let (reactor, refusal) = Reactor::with_ring(EngineChoice::Auto, refused(libc::ENOSYS)).unwrap();
    let text = refusal.unwrap().to_string();
    assert!(text.contains("no io_uring") && text.contains("seccomp profile"), "{text}");
    assert_eq!(reactor.engine(), Engine::Epoll);
    let (socket, mut other) = socket_pair(&reactor);
    other.write_all(b"x").unwrap();
    assert_eq!(run(&reactor, socket.recv(&mut [0; 8])).unwrap(), 1);
}

#[test]
fn a_ring_that_was_demanded_is_not_replaced() {
    let error = Reactor::with_ring(EngineChoice::Uring, refused(libc::EPERM)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    assert!(is_refusal(&error) && error.to_string().contains("to use it"), "{error}");
}

#[test]
fn epoll_on_demand_is_no_refusal() {
    let never = || panic!("the ring is not tried");
    let (reactor, refusal) = Reactor::with_ring(EngineChoice::Epoll, never).unwrap();
    assert!(refusal.is_none());
    assert_eq!(reactor.engine().to_string(), "epoll");
}

#[test]
fn engine_names_are_read_and_written() {
    for name in ["auto", "uring", "epoll"] {
        assert_eq!(name.parse::<EngineChoice>().unwrap().to_string(), name);
    }
    assert!("kqueue".parse::<EngineChoice>().is_err());
}

/// Fails by hanging when completions that did not fit are lost, or when a watch the kernel ended for lack of
/// room is not renewed.
#[test]
fn more_completions_than_fit_are_all_served() {
    let small = || Ring::with_entries(4, 8);
    let (reactor, refusal) = Reactor::with_ring(EngineChoice::Auto, small).unwrap();
    if let Some(refusal) = refusal {
        return eprintln!("left out: {refusal}");
    }
    let mut pairs: Vec<_> = (0..300).map(|_| socket_pair(&reactor)).collect();
    run(&reactor, async {
        for _ in 0..20 {
            for (_, other) in &mut pairs {
                other.write_all(b"x").unwrap();
            }
            for (socket, _) in &pairs {
                assert_eq!(socket.recv(&mut [0; 8]).await.unwrap(), 1);
            }
        }
    });
    assert!(reactor.stats().completion_overflows > 0, "the test has met its case: {:?}", reactor.stats());
    drop(pairs);
    run(&reactor, crate::yield_now());
    assert!(!thread_names().iter().any(|name| name.starts_with("iou-wrk")), "an io-wq thread runs");
}

//! Tasks: wakes from here and from other threads, fairness, select and join, mailboxes.

use std::cell::Cell;
use std::future::{pending, poll_fn};
use std::io::Write;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

use parking_lot::Mutex;

use super::{on_each_engine, run, socket_pair};
use crate::mailbox::{self, SendError};
use crate::{Either, EngineChoice, NoSink, Reactor, join, select, yield_now};

#[test]
fn a_wake_from_another_thread_ends_the_sleep() {
    on_each_engine(|reactor| {
        for _ in 0..200 {
            let (sender, mut receiver) = mailbox::new(1);
            let thread = std::thread::spawn(move || sender.try_send(7).unwrap());
            assert_eq!(run(reactor, receiver.recv()), Some(7));
            thread.join().unwrap();
        }
    });
}

#[test]
fn wakes_from_many_threads_lose_no_message() {
    on_each_engine(|reactor| {
        let (sender, mut receiver) = mailbox::new(16);
        let threads: Vec<_> = (0..4_u32)
            .map(|thread| {
                let sender = sender.clone();
                std::thread::spawn(move || {
                    for number in 0..5_000 {
                        let mut message = (thread, number);
                        while let Err(SendError::Full(back)) = sender.try_send(message) {
                            message = back;
                            std::thread::yield_now();
                        }
                    }
                })
            })
            .collect();
        drop(sender);
        let next = run(reactor, async {
            let mut next = [0; 4];
            while let Some((thread, number)) = receiver.recv().await {
                assert_eq!(number, next[thread as usize]);
                next[thread as usize] += 1;
            }
            next
        });
        assert_eq!(next, [5_000; 4]);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

#[test]
fn a_mailbox_gives_back_what_it_cannot_take() {
    let (sender, mut receiver) = mailbox::new(1);
    sender.try_send("a").unwrap();
    assert_eq!(sender.try_send("b"), Err(SendError::Full("b")));
    assert_eq!(receiver.try_recv(), Some("a"));
    drop(receiver);
    assert_eq!(sender.try_send("c"), Err(SendError::Closed("c")));
}

/// Gives its waker away and ends when the gate is open.
async fn gated(waker: Arc<Mutex<Option<Waker>>>, gate: Rc<Cell<bool>>) {
    poll_fn(|cx| {
        *waker.lock() = Some(cx.waker().clone());
        if gate.get() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

#[test]
fn a_stale_waker_wakes_nobody() {
    let (reactor, _) = Reactor::new(EngineChoice::Auto).unwrap();
    let (waker, gate) = (Arc::default(), Rc::new(Cell::new(true)));
    reactor.spawn(gated(Arc::clone(&waker), gate));
    run(&reactor, yield_now());
    assert_eq!(reactor.task_count(), 0, "the task has ended");
    let waker = waker.lock().take().unwrap();

    // A new task in the same slot is not polled by the old one's waker, on this thread or another.
    let polls = Rc::new(Cell::new(0));
    let counted = Rc::clone(&polls);
    reactor.spawn(poll_fn(move |_| {
        counted.set(counted.get() + 1);
        Poll::Pending
    }));
    waker.wake_by_ref();
    let remote = waker.clone();
    std::thread::spawn(move || remote.wake()).join().unwrap();
    run(&reactor, async {
        for _ in 0..10 {
            yield_now().await;
        }
    });
    assert_eq!(polls.get(), 1, "its first poll only");

    reactor.drop_tasks().unwrap();
    drop(reactor);
    waker.wake_by_ref();
    std::thread::spawn(move || waker.wake()).join().unwrap();
}

#[test]
fn more_remote_wakes_than_are_kept_wake_everyone() {
    on_each_engine(|reactor| {
        let wakers: Vec<Arc<Mutex<Option<Waker>>>> = (0..3).map(|_| Arc::default()).collect();
        let gate = Rc::new(Cell::new(false));
        for waker in &wakers {
            reactor.spawn(gated(Arc::clone(waker), Rc::clone(&gate)));
        }
        run(reactor, yield_now());
        gate.set(true);
        // The first task is woken once, before the flood. Two by turns: one task's repeated wake is not kept twice.
        let flood: Vec<Waker> = wakers.iter().map(|waker| waker.lock().clone().unwrap()).collect();
        std::thread::spawn(move || {
            flood[0].wake_by_ref();
            for _ in 0..crate::limits::REMOTE_WAKES_MAX {
                flood[1..].iter().for_each(Waker::wake_by_ref);
            }
        })
        .join()
        .unwrap();
        run(reactor, async {
            while reactor.task_count() > 0 {
                yield_now().await;
            }
        });
    });
}

#[test]
fn a_task_woken_twice_is_polled_once() {
    let (reactor, _) = Reactor::new(EngineChoice::Auto).unwrap();
    // The first task of a reactor is what stale wakers of another test's former one may wake.
    reactor.spawn(std::future::pending());
    let polls = Rc::new(Cell::new(0));
    let counted = Rc::clone(&polls);
    reactor.spawn(poll_fn(move |_| {
        counted.set(counted.get() + 1);
        Poll::Pending
    }));
    run(&reactor, yield_now());
    reactor.wake_all();
    reactor.wake_all();
    run(&reactor, yield_now());
    assert_eq!(polls.get(), 2);
    reactor.drop_tasks().unwrap();
}

/// Fails by hanging when ready tasks keep the loop from looking at I/O.
#[test]
fn busy_tasks_starve_neither_sockets_nor_timers() {
    on_each_engine(|reactor| {
        for _ in 0..crate::limits::TASK_POLLS_PER_TURN_MAX {
            reactor.spawn(async {
                loop {
                    yield_now().await;
                }
            });
        }
        let (socket, mut other) = socket_pair(reactor);
        run(reactor, async {
            assert_eq!(socket.try_recv(&mut [0; 8]).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
            other.write_all(b"x").unwrap();
            socket.readable().await;
            reactor.sleep_until(reactor.now() + Duration::from_millis(3)).await;
        });
    });
}

#[test]
fn busy_tasks_share_evenly() {
    let (reactor, _) = Reactor::new(EngineChoice::Auto).unwrap();
    let polls: Vec<Rc<Cell<u32>>> = (0..1000).map(|_| Rc::default()).collect();
    for count in &polls {
        let count = Rc::clone(count);
        reactor.spawn(async move {
            loop {
                count.set(count.get() + 1);
                yield_now().await;
            }
        });
    }
    run(&reactor, async {
        for _ in 0..50 {
            yield_now().await;
        }
    });
    let counts = polls.iter().map(|count| count.get());
    assert!(counts.clone().max().unwrap() - counts.min().unwrap() <= 1);
    reactor.drop_tasks().unwrap();
}

#[test]
fn select_takes_the_first_and_drops_the_other() {
    struct Dropped(Rc<Cell<bool>>);
    impl Drop for Dropped {
        fn drop(&mut self) {
            self.0.set(true);
        }
    }
    let (reactor, _) = Reactor::new(EngineChoice::Auto).unwrap();
    let dropped = Rc::new(Cell::new(false));
    let guard = Dropped(Rc::clone(&dropped));
    let loser = async move {
        let _guard = guard;
        pending::<()>().await;
    };
    let soon = reactor.sleep_until(reactor.now() + Duration::from_millis(2));
    assert!(matches!(run(&reactor, select(loser, soon)), Either::Right(())));
    assert!(dropped.get());
    assert!(
        matches!(run(&reactor, select(async { 1 }, async { 2 })), Either::Left(1)),
        "the first wins a tie"
    );
    assert_eq!(run(&reactor, join(async { 1 }, yield_now())), (1, ()));
}

#[test]
fn a_running_reactor_cannot_be_run_again() {
    let (reactor, _) = Reactor::new(EngineChoice::Auto).unwrap();
    let inner = run(&reactor, async { reactor.run(async {}, &NoSink) });
    assert!(inner.is_err());
    assert!(reactor.run(async {}, &NoSink).is_ok(), "but later it can");
}

#[test]
fn a_task_may_spawn_while_it_is_dropped() {
    struct SpawnOnDrop(Reactor);
    impl Drop for SpawnOnDrop {
        fn drop(&mut self) {
            self.0.spawn(async {});
        }
    }
    let (reactor, _) = Reactor::new(EngineChoice::Auto).unwrap();
    let guard = SpawnOnDrop(reactor.clone());
    reactor.spawn(async move {
        let _guard = guard;
    });
    run(&reactor, yield_now());
    run(&reactor, yield_now());
    assert_eq!(reactor.task_count(), 0);
}

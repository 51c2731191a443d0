//! Sleeping, deadlines, and how rarely an idle thread wakes.

use std::future::pending;
use std::time::{Duration, Instant};

use super::{on_each_engine, run};
use crate::{Either, Elapsed, NoSink, select};

const SHORT: Duration = Duration::from_millis(20);

#[test]
fn a_sleep_is_never_short() {
    on_each_engine(|reactor| {
        for milliseconds in [0, 1, 2, 5, 30, 70] {
            let deadline = Instant::now() + Duration::from_micros(milliseconds * 1000 + 300);
            run(reactor, reactor.sleep_until(deadline));
            assert!(Instant::now() >= deadline);
        }
    });
}

/// Fails when a sleep ends early, or in a later turn than it should have: those of one turn have no order.
#[test]
fn sleeps_end_in_order() {
    const LATE: Duration = Duration::from_millis(2);
    on_each_engine(|reactor| {
        let start = reactor.now();
        let deadline = move |number: u64| start + Duration::from_millis(3 * number);
        let (ended, mut order) = crate::mailbox::new(100);
        for number in (0..100_u64).rev() {
            let (reactor, ended) = (reactor.clone(), ended.clone());
            reactor.clone().spawn(async move {
                reactor.sleep_until(deadline(number)).await;
                ended.try_send((number, reactor.now())).unwrap();
            });
        }
        run(reactor, async {
            let (mut turn, mut turn_before) = (start, start);
            for _ in 0..100 {
                let (number, at) = order.recv().await.unwrap();
                if at > turn {
                    (turn_before, turn) = (turn, at);
                }
                assert!(at >= deadline(number), "{number} is early");
                assert!(deadline(number) + LATE > turn_before, "{number} was due in an earlier turn");
            }
        });
    });
}

#[test]
fn a_deadline_ends_a_wait_and_leaves_no_timer() {
    on_each_engine(|reactor| {
        let result = reactor.run(
            async {
                let deadline = reactor.now() + SHORT;
                let result = reactor.timeout_at(Some(deadline), pending::<()>()).await;
                assert!(Instant::now() >= deadline);
                assert_eq!(reactor.stats().timers, 0);
                let far = reactor.now() + Duration::from_secs(600);
                let in_time = reactor.timeout_at(Some(far), reactor.sleep_until(deadline + SHORT)).await;
                assert_eq!((in_time, reactor.stats().timers), (Ok(()), 0));
                assert_eq!(reactor.timeout_at(None, async { 5 }).await, Ok(5));
                result
            },
            &NoSink,
        );
        assert_eq!(result.unwrap(), Err(Elapsed));
    });
}

#[test]
fn a_result_there_at_the_deadline_is_not_lost() {
    on_each_engine(|reactor| {
        let past = reactor.now();
        assert_eq!(run(reactor, reactor.timeout_at(Some(past), async { 5 })), Ok(5));
    });
}

#[test]
fn a_dropped_sleep_takes_its_timer_along() {
    on_each_engine(|reactor| {
        let outcome = reactor.run(
            async {
                let far = reactor.sleep_until(reactor.now() + Duration::from_secs(600));
                select(far, reactor.sleep_until(reactor.now() + SHORT)).await
            },
            &NoSink,
        );
        assert!(matches!(outcome.unwrap(), Either::Right(())));
        assert_eq!(reactor.stats().timers, 0);
    });
}

/// Fails when each level of the wheel, or each tick, costs a wake of its own.
#[test]
fn an_idle_thread_sleeps_until_the_next_timer() {
    on_each_engine(|reactor| {
        let far: Vec<_> = (0..500_u64)
            .map(|n| reactor.set_timer(reactor.now() + Duration::from_secs(60 + n), crate::SinkToken(0)))
            .collect();
        let turns = reactor.stats().turns;
        run(reactor, reactor.sleep_until(Instant::now() + Duration::from_millis(300)));
        let turns = reactor.stats().turns - turns;
        assert!(turns <= 3, "{turns} turns");
        far.into_iter().for_each(|timer| reactor.cancel_timer(timer));
        assert_eq!(reactor.stats().timers, 0);
    });
}

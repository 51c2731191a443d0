//! Futures that wait for time. A future dropped before its time takes its timer along.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use crate::reactor::Reactor;
use crate::wheel::TimerId;

/// Ready when the reactor's clock has reached a deadline. Made by [`Reactor::sleep_until`].
#[derive(Debug)]
#[must_use = "futures do nothing unless awaited"]
pub struct Sleep {
    reactor: Reactor,
    deadline: Instant,
    timer: Option<TimerId>,
}

impl Sleep {
    pub(crate) fn new(reactor: Reactor, deadline: Instant) -> Self {
        Self { reactor, deadline, timer: None }
    }

    /// When this becomes ready.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        self.deadline
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.reactor.now() >= self.deadline {
            return Poll::Ready(());
        }
        let set = self.timer.is_some_and(|timer| self.reactor.retarget_timer(timer, cx.waker()));
        if !set {
            self.timer = Some(self.reactor.set_waker_timer(self.deadline, cx.waker()));
        }
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(timer) = self.timer {
            self.reactor.cancel_timer(timer);
        }
    }
}

/// The deadline passed before the future was ready.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct Elapsed;

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("deadline passed")
    }
}

impl std::error::Error for Elapsed {}

/// A future with a deadline. Made by [`Reactor::timeout_at`].
///
/// The future is polled first, so a result that is there at the deadline is not lost. The timer is set only
/// when the future has to wait.
#[derive(Debug)]
#[must_use = "futures do nothing unless awaited"]
pub struct Timeout<F> {
    future: F,
    sleep: Option<Sleep>,
}

impl<F> Timeout<F> {
    pub(crate) fn new(future: F, sleep: Option<Sleep>) -> Self {
        Self { future, sleep }
    }
}

impl<F: Future> Future for Timeout<F> {
    type Output = Result<F::Output, Elapsed>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // SAFETY: `future` is not moved out of this reference: it is pinned again at once, and `sleep` is Unpin.
        let this = unsafe { self.get_unchecked_mut() };
        // SAFETY: `future` is a field of a pinned value that has no Drop and never moves it.
        let future = unsafe { Pin::new_unchecked(&mut this.future) };
        if let Poll::Ready(output) = future.poll(cx) {
            return Poll::Ready(Ok(output));
        }
        match &mut this.sleep {
            Some(sleep) => Pin::new(sleep).poll(cx).map(|()| Err(Elapsed)),
            None => Poll::Pending,
        }
    }
}

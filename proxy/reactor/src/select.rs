//! Two futures in one task. Decides the order of polling and when a loser is dropped; knows no reactor.

use std::pin::Pin;
use std::task::{Context, Poll};

/// Which of two came first.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum Either<A, B> {
    /// The first.
    Left(A),
    /// The second.
    Right(B),
}

/// Waits for the first of two futures and drops the other.
///
/// `a` is polled first each time and wins a tie. The loser is dropped with the returned future: hand over only
/// what may be dropped half-way. The reactor's own waits (readable, accept, sleep, mailbox receive) lose
/// nothing when dropped; `send_all` loses the count of what was sent. To keep the loser, pass `&mut` of it.
pub fn select<A: Future, B: Future>(a: A, b: B) -> Select<A, B> {
    Select { a, b }
}

/// See [`select`].
#[derive(Debug)]
#[must_use = "futures do nothing unless awaited"]
pub struct Select<A, B> {
    a: A,
    b: B,
}

impl<A: Future, B: Future> Future for Select<A, B> {
    type Output = Either<A::Output, B::Output>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // SAFETY: neither field is moved out of this reference: both are pinned again below.
        let this = unsafe { self.get_unchecked_mut() };
        // SAFETY: `a` is a field of a pinned value that has no Drop and never moves it.
        let a = unsafe { Pin::new_unchecked(&mut this.a) };
        // SAFETY: `b` is a field of a pinned value that has no Drop and never moves it.
        let b = unsafe { Pin::new_unchecked(&mut this.b) };
        if let Poll::Ready(output) = a.poll(cx) {
            return Poll::Ready(Either::Left(output));
        }
        b.poll(cx).map(Either::Right)
    }
}

/// Waits for both of two futures.
pub async fn join<A: Future, B: Future>(a: A, b: B) -> (A::Output, B::Output) {
    let mut a = std::pin::pin!(a);
    let mut b = std::pin::pin!(b);
    let (mut left, mut right) = (None, None);
    std::future::poll_fn(|cx| {
        if left.is_none()
            && let Poll::Ready(output) = a.as_mut().poll(cx)
        {
            left = Some(output);
        }
        if right.is_none()
            && let Poll::Ready(output) = b.as_mut().poll(cx)
        {
            right = Some(output);
        }
        match (left.take(), right.take()) {
            (Some(a), Some(b)) => Poll::Ready((a, b)),
            (a, b) => {
                (left, right) = (a, b);
                Poll::Pending
            }
        }
    })
    .await
}

/// Lets other tasks run once, then goes on.
pub async fn yield_now() {
    let mut yielded = false;
    std::future::poll_fn(|cx| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

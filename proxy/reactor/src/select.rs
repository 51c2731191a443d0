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
pub fn join<A: Future, B: Future>(a: A, b: B) -> Join<A, B> {
    Join { a, b, left: None, right: None }
}

/// See [`join`]. A structure rather than an `async fn`, which would hold each future twice.
#[derive(Debug)]
#[must_use = "futures do nothing unless awaited"]
pub struct Join<A: Future, B: Future> {
    a: A,
    b: B,
    left: Option<A::Output>,
    right: Option<B::Output>,
}

impl<A: Future, B: Future> Future for Join<A, B> {
    type Output = (A::Output, B::Output);

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // SAFETY: `a` and `b` are not moved out of this reference: both are pinned again below. The outputs
        // are moved, and nothing pins them.
        let this = unsafe { self.get_unchecked_mut() };
        // SAFETY: `a` is a field of a pinned value that has no Drop and never moves it.
        let a = unsafe { Pin::new_unchecked(&mut this.a) };
        // SAFETY: `b` is a field of a pinned value that has no Drop and never moves it.
        let b = unsafe { Pin::new_unchecked(&mut this.b) };
        if this.left.is_none()
            && let Poll::Ready(output) = a.poll(cx)
        {
            this.left = Some(output);
        }
        if this.right.is_none()
            && let Poll::Ready(output) = b.poll(cx)
        {
            this.right = Some(output);
        }
        match (this.left.take(), this.right.take()) {
            (Some(left), Some(right)) => Poll::Ready((left, right)),
            (left, right) => {
                (this.left, this.right) = (left, right);
                Poll::Pending
            }
        }
    }
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

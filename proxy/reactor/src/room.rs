//! Memory for futures that come and go: where one has ended the next is placed, without the allocator.
//!
//! What a connection needs for one request is a future of a few thousand bytes. It must not stay with the connection,
//! of which there are many that wait, and an allocator takes its long way for that size: so a thread keeps the memory
//! of as many as were under way at once. Safe Rust cannot name such a future's type, and cannot reuse its box.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::cell::RefCell;
use std::fmt;
use std::marker::PhantomData;
use std::pin::Pin;
use std::ptr::NonNull;
use std::task::{Context, Poll};

use crate::limits::ROOMS_KEPT_MAX;

/// Memory for futures of one type, of one thread.
#[derive(Default)]
pub struct Rooms(RefCell<Free>);

/// Rooms that nothing is in.
#[derive(Default)]
struct Free {
    /// Of each of them.
    layout: Option<Layout>,
    rooms: Vec<NonNull<u8>>,
}

impl Rooms {
    /// Places `future` in a room: it is polled there, and never moved.
    pub fn place<F: Future>(&self, future: F) -> Room<'_, F> {
        let layout = Layout::new::<F>();
        let start = self.0.borrow_mut().take(layout).cast::<F>();
        // SAFETY: the room is ours alone and has the layout of an `F`.
        unsafe { start.write(future) };
        Room { start, rooms: self, future: PhantomData }
    }
}

impl Free {
    fn take(&mut self, layout: Layout) -> NonNull<u8> {
        let known = self.rooms.pop_if(|_| self.layout == Some(layout));
        known.unwrap_or_else(|| {
            assert!(layout.size() > 0, "a future without anything in it needs no room");
            // SAFETY: the size is not zero.
            NonNull::new(unsafe { alloc(layout) }).unwrap_or_else(|| handle_alloc_error(layout))
        })
    }

    fn give(&mut self, start: NonNull<u8>, layout: Layout) {
        if *self.layout.get_or_insert(layout) == layout && self.rooms.len() < ROOMS_KEPT_MAX {
            self.rooms.push(start);
        } else {
            // SAFETY: it was allocated with this layout by `take`, and nothing is in it.
            unsafe { dealloc(start.as_ptr(), layout) };
        }
    }
}

impl Drop for Free {
    fn drop(&mut self) {
        let Some(layout) = self.layout else { return };
        for start in self.rooms.drain(..) {
            // SAFETY: it was allocated with this layout by `take`, nothing is in it, and whoever has a room borrows
            // what this is a part of.
            unsafe { dealloc(start.as_ptr(), layout) };
        }
    }
}

impl fmt::Debug for Rooms {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Rooms").field("free", &self.0.borrow().rooms.len()).finish()
    }
}

/// A future in its room. Dropping it drops the future and gives the room back.
#[must_use = "futures do nothing unless polled"]
#[derive(Debug)]
pub struct Room<'r, F> {
    start: NonNull<F>,
    rooms: &'r Rooms,
    /// It is owned.
    future: PhantomData<F>,
}

impl<F: Future> Future for Room<'_, F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let mut start = self.start;
        // SAFETY: the future is there until the drop, and borrowed by nobody else.
        let future = unsafe { start.as_mut() };
        // SAFETY: it stays where it is: a room is not used again before its future was dropped.
        unsafe { Pin::new_unchecked(future) }.poll(context)
    }
}

impl<F> Drop for Room<'_, F> {
    fn drop(&mut self) {
        // The room is given back even if the future's own drop panics: its memory needs no value.
        let _given = Given { start: self.start.cast(), layout: Layout::new::<F>(), rooms: self.rooms };
        // SAFETY: the future is there and dropped only here.
        unsafe { self.start.drop_in_place() };
    }
}

/// A room to be given back.
struct Given<'r> {
    start: NonNull<u8>,
    layout: Layout,
    rooms: &'r Rooms,
}

impl Drop for Given<'_> {
    fn drop(&mut self) {
        self.rooms.0.borrow_mut().give(self.start, self.layout);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::pending;
    use std::pin::pin;
    use std::rc::Rc;
    use std::task::Waker;

    use super::*;
    use crate::yield_now;

    fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    /// Large, pinned and with something to drop.
    async fn task(number: u64, dropped: Rc<Cell<u64>>) -> u64 {
        struct Noted(Rc<Cell<u64>>);
        impl Drop for Noted {
            fn drop(&mut self) {
                self.0.set(self.0.get() + 1);
            }
        }
        let _noted = Noted(dropped);
        let numbers = [number; 99];
        let first = &numbers[0];
        yield_now().await;
        *first + numbers[98]
    }

    #[test]
    fn a_future_runs_in_its_room_and_the_next_has_the_same() {
        let (rooms, dropped) = (Rooms::default(), Rc::default());
        let mut starts = Vec::new();
        for number in 1..4 {
            let mut room = pin!(rooms.place(task(number, Rc::clone(&dropped))));
            starts.push(room.start.addr());
            assert!(poll(room.as_mut()).is_pending());
            assert_eq!(poll(room.as_mut()), Poll::Ready(2 * number));
        }
        assert_eq!(dropped.get(), 3);
        assert!(starts.iter().all(|start| *start == starts[0]), "{starts:?}");
    }

    #[test]
    fn two_at_once_have_rooms_of_their_own_and_one_that_did_not_end_is_dropped() {
        let (rooms, dropped) = (Rooms::default(), Rc::default());
        let mut first = Box::pin(rooms.place(task(1, Rc::clone(&dropped))));
        let mut second = Box::pin(rooms.place(task(2, Rc::clone(&dropped))));
        assert_ne!(first.start, second.start);
        assert!(poll(first.as_mut()).is_pending() && poll(second.as_mut()).is_pending());
        drop(first);
        assert_eq!(dropped.get(), 1);
        assert_eq!(poll(second.as_mut()), Poll::Ready(4));
        drop(second);
        assert_eq!((dropped.get(), rooms.0.borrow().rooms.len()), (2, 2));
    }

    #[test]
    fn few_rooms_are_kept_and_those_of_another_layout_are_not() {
        let rooms = Rooms::default();
        let many: Vec<_> = (0..ROOMS_KEPT_MAX + 9).map(|_| rooms.place(yield_now())).collect();
        drop(many);
        drop(rooms.place(async {
            let numbers = [1_u64; 99];
            pending::<()>().await;
            assert_eq!(numbers[0], 1);
        }));
        assert_eq!(rooms.0.borrow().rooms.len(), ROOMS_KEPT_MAX);
    }
}

//! How much memory a thread holds: a count around the allocator, so that nothing can be forgotten in it.
//!
//! What one thread allocates and another frees counts for the first and against the second: only the sum over
//! threads that give each other memory means anything.

use std::alloc::{GlobalAlloc, Layout};
use std::cell::Cell;

thread_local! {
    /// A constant at first and never dropped, so that it can be used before and after everything else.
    static HELD: Cell<isize> = const { Cell::new(0) };
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

/// Bytes this thread has allocated through [`Counted`] less those it has freed.
#[must_use]
pub fn bytes_held() -> i64 {
    HELD.get() as i64
}

/// How often this thread has asked [`Counted`] for memory, or for more or less of it.
#[must_use]
pub fn allocations() -> u64 {
    ALLOCATIONS.get()
}

fn count_allocation(bytes: isize) {
    ALLOCATIONS.set(ALLOCATIONS.get().wrapping_add(1));
    count(bytes);
}

fn count(bytes: isize) {
    HELD.set(HELD.get().wrapping_add(bytes));
}

/// An allocator whose users are counted. Sizes are as asked for, without what the allocator adds.
#[derive(Copy, Clone, Debug, Default)]
pub struct Counted<A>(pub A);

// SAFETY: every method passes its arguments and result through as they are; counting allocates nothing.
unsafe impl<A: GlobalAlloc> GlobalAlloc for Counted<A> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: what the caller promises is what the inner allocator demands.
        let start = unsafe { self.0.alloc(layout) };
        if !start.is_null() {
            count_allocation(layout.size().cast_signed());
        }
        start
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as in `alloc`.
        let start = unsafe { self.0.alloc_zeroed(layout) };
        if !start.is_null() {
            count_allocation(layout.size().cast_signed());
        }
        start
    }

    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        // SAFETY: `start` came from this allocator with this layout, so from the inner one.
        unsafe { self.0.dealloc(start, layout) };
        count(-layout.size().cast_signed());
    }

    unsafe fn realloc(&self, start: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as in `dealloc`; `size` is as the caller promises.
        let moved = unsafe { self.0.realloc(start, layout, size) };
        if !moved.is_null() {
            count_allocation(size.cast_signed() - layout.size().cast_signed());
        }
        moved
    }
}

#[cfg(test)]
mod tests {
    use std::alloc::System;

    use super::*;

    #[test]
    fn what_is_given_back_is_not_counted_any_more() {
        let counted = Counted(System);
        let (before, allocations_before) = (bytes_held(), allocations());
        let layout = Layout::from_size_align(1000, 8).unwrap();
        // SAFETY: the layout has a size.
        let start = unsafe { counted.alloc(layout) };
        // SAFETY: as above.
        let other = unsafe { counted.alloc_zeroed(layout) };
        assert_eq!(bytes_held() - before, 2000);
        // SAFETY: `start` has this layout, and the new size is not zero.
        let start = unsafe { counted.realloc(start, layout, 5000) };
        assert_eq!(bytes_held() - before, 6000);
        assert_eq!(std::thread::spawn(bytes_held).join().unwrap(), 0, "each thread has its own count");
        // SAFETY: `other` has this layout and is not used again.
        unsafe { counted.dealloc(other, layout) };
        // SAFETY: `start` has the layout of its new size and is not used again.
        unsafe { counted.dealloc(start, Layout::from_size_align(5000, 8).unwrap()) };
        assert_eq!(bytes_held(), before);
        assert_eq!(allocations() - allocations_before, 3);
    }
}

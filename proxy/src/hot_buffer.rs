//! The one large buffer of a worker, through which every received byte passes.
//!
//! It stays in the processor's cache because every connection uses the same one, and it is borrowed
//! for a synchronous stretch of code only, never across an `await`: that is what lets millions of
//! connections share it.

use std::cell::RefCell;

use crate::limits::HOT_BUFFER_BYTES;

#[derive(Debug)]
pub(crate) struct HotBuffer(RefCell<Box<[u8]>>);

impl HotBuffer {
    pub(crate) fn new() -> Self {
        Self::of(HOT_BUFFER_BYTES)
    }

    /// A buffer of this many bytes, for records around what another one holds.
    pub(crate) fn of(bytes: usize) -> Self {
        Self(RefCell::new(vec![0; bytes].into_boxed_slice()))
    }

    /// Its size.
    pub(crate) fn bytes(&self) -> usize {
        self.0.borrow().len()
    }

    /// Lends the buffer to `work`. Its contents are whatever the last user left.
    ///
    /// `work` must not lend it again: it would find it taken and panic, a mistake of ours that any
    /// test of the path meets.
    pub(crate) fn with<T>(&self, work: impl FnOnce(&mut [u8]) -> T) -> T {
        work(&mut self.0.borrow_mut())
    }
}

//! Values kept for their memory, so that a request asks the allocator for none: taken when needed, given back by
//! dropping the guard.

use std::cell::RefCell;
use std::fmt::Debug;
use std::ops::{Deref, DerefMut};

use crate::limits::{SPARE_BUFFER_BYTES_MAX, SPARES_MAX};

/// Unused values of one kind, of one worker. In boxes, so that whoever holds one holds a pointer: futures
/// keep what they are given more than once.
#[derive(Debug)]
pub(crate) struct Spares<T>(RefCell<Vec<Box<T>>>);

impl<T> Default for Spares<T> {
    fn default() -> Self {
        Self(RefCell::default())
    }
}

impl<T> Spares<T> {
    /// This value, in the box of an earlier one.
    pub(crate) fn hold(&self, value: T) -> Spare<'_, T> {
        let spare = self.0.borrow_mut().pop();
        let value = match spare {
            Some(mut spare) => {
                *spare = value;
                spare
            }
            None => Box::new(value),
        };
        Spare { value: Some(value), home: self }
    }
}

impl<T: Default> Spares<T> {
    /// A value with the memory of an earlier use and whatever that left in it, or a new one.
    pub(crate) fn take(&self) -> Spare<'_, T> {
        let spare = self.0.borrow_mut().pop();
        Spare { value: Some(spare.unwrap_or_default()), home: self }
    }
}

const PRESENT: &str = "present until the drop";

/// A value in use.
#[derive(Debug)]
pub(crate) struct Spare<'a, T> {
    /// Absent only in the drop.
    value: Option<Box<T>>,
    home: &'a Spares<T>,
}

impl<T> Deref for Spare<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.value.as_ref().expect(PRESENT)
    }
}

impl<T> DerefMut for Spare<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.value.as_mut().expect(PRESENT)
    }
}

impl<T> Drop for Spare<'_, T> {
    fn drop(&mut self) {
        let mut spares = self.home.0.borrow_mut();
        if spares.len() < SPARES_MAX {
            spares.extend(self.value.take());
        }
    }
}

/// Unused memory for bytes to be sent, of one worker.
#[derive(Debug, Default)]
pub(crate) struct Buffers(RefCell<Vec<Vec<u8>>>);

impl Buffers {
    /// An empty buffer with room for as many bytes.
    pub(crate) fn take(&self, bytes: usize) -> Vec<u8> {
        let mut buffer = self.0.borrow_mut().pop().unwrap_or_default();
        buffer.reserve(bytes);
        buffer
    }

    /// Memory of what is unused.
    pub(crate) fn bytes(&self) -> usize {
        self.0.borrow().iter().map(Vec::capacity).sum()
    }

    /// Keeps the memory of a buffer for another, unless there is much of it.
    pub(crate) fn give(&self, mut buffer: Vec<u8>) {
        let mut spares = self.0.borrow_mut();
        if (1..=SPARE_BUFFER_BYTES_MAX).contains(&buffer.capacity()) && spares.len() < SPARES_MAX {
            buffer.clear();
            spares.push(buffer);
        }
    }
}

//! Values kept for their memory: taken when needed, given back by dropping the guard.

use std::cell::RefCell;
use std::fmt::Debug;
use std::ops::{Deref, DerefMut};

use crate::limits::SPARE_HEADS_MAX;

/// Unused values of one kind, of one worker. In boxes, so that whoever holds one holds a pointer: futures
/// keep what they are given more than once.
#[derive(Debug, Default)]
pub(crate) struct Spares<T: Default>(RefCell<Vec<Box<T>>>);

impl<T: Default> Spares<T> {
    /// A value with the memory of an earlier use and whatever that left in it, or a new one.
    pub(crate) fn take(&self) -> Spare<'_, T> {
        Spare { value: Some(self.0.borrow_mut().pop().unwrap_or_default()), home: self }
    }
}

const PRESENT: &str = "present until the drop";

/// A value in use.
#[derive(Debug)]
pub(crate) struct Spare<'a, T: Default> {
    /// Absent only in the drop.
    value: Option<Box<T>>,
    home: &'a Spares<T>,
}

impl<T: Default> Deref for Spare<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.value.as_ref().expect(PRESENT)
    }
}

impl<T: Default> DerefMut for Spare<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.value.as_mut().expect(PRESENT)
    }
}

impl<T: Default> Drop for Spare<'_, T> {
    fn drop(&mut self) {
        let mut spares = self.home.0.borrow_mut();
        if spares.len() < SPARE_HEADS_MAX {
            spares.extend(self.value.take());
        }
    }
}

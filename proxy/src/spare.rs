//! Values kept for their memory: taken when needed, given back by dropping the guard.

use std::cell::RefCell;
use std::fmt::Debug;
use std::ops::{Deref, DerefMut};

use crate::limits::SPARE_HEADS_MAX;

/// Unused values of one kind, of one worker.
#[derive(Debug, Default)]
pub(crate) struct Spares<T: Default>(RefCell<Vec<T>>);

impl<T: Default> Spares<T> {
    /// A value with the memory of an earlier use and whatever that left in it, or a new one.
    pub(crate) fn take(&self) -> Spare<'_, T> {
        Spare { value: self.0.borrow_mut().pop().unwrap_or_default(), home: self }
    }
}

/// A value in use.
#[derive(Debug)]
pub(crate) struct Spare<'a, T: Default> {
    value: T,
    home: &'a Spares<T>,
}

impl<T: Default> Deref for Spare<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: Default> DerefMut for Spare<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.value
    }
}

impl<T: Default> Drop for Spare<'_, T> {
    fn drop(&mut self) {
        let mut spares = self.home.0.borrow_mut();
        if spares.len() < SPARE_HEADS_MAX {
            spares.push(std::mem::take(&mut self.value));
        }
    }
}

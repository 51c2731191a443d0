//! Who is told when something happens, in one machine word: a task of ours, a sink's token, or any other
//! waker in a box. Decides how task wakers are packed; knows nothing of run queues beyond handing the id over.
//!
//! A task's `std::task::Waker` carries the task's id as a number in its data word, so cloning and dropping it
//! costs nothing and it may be kept for ever: a stale one finds no task.

use std::fmt;
use std::num::NonZeroUsize;
use std::ptr::{self, NonNull};
use std::task::{RawWaker, RawWakerVTable, Waker};

use crate::executor;
use crate::limits::{EXECUTORS_MAX, TASKS_MAX};
use crate::slab::Key;

const _: () = assert!(usize::BITS == 64, "a task id needs a 64-bit word");

const TASK_BIT: u64 = 0b01;
const SINK_BIT: u64 = 0b10;
const EXECUTOR_SHIFT: u32 = 1;
const INDEX_SHIFT: u32 = EXECUTOR_SHIFT + EXECUTORS_MAX.trailing_zeros();
const GENERATION_SHIFT: u32 = INDEX_SHIFT + TASKS_MAX.trailing_zeros();

/// Largest generation that fits a waker's word.
pub(crate) const TASK_GENERATION_MAX: u32 = (1 << (u64::BITS - GENERATION_SHIFT)) - 1;

/// Names one task of one executor.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(crate) struct TaskId {
    pub(crate) executor: u32,
    pub(crate) key: Key,
}

impl TaskId {
    fn pack(self) -> u64 {
        TASK_BIT
            | u64::from(self.executor) << EXECUTOR_SHIFT
            | u64::from(self.key.index) << INDEX_SHIFT
            | u64::from(self.key.generation) << GENERATION_SHIFT
    }

    fn unpack(word: u64) -> Self {
        Self {
            executor: low_bits(word >> EXECUTOR_SHIFT, EXECUTORS_MAX - 1),
            key: Key {
                index: low_bits(word >> INDEX_SHIFT, TASKS_MAX - 1),
                generation: low_bits(word >> GENERATION_SHIFT, TASK_GENERATION_MAX),
            },
        }
    }

    /// A waker for this task, good on every thread and for ever.
    pub(crate) fn waker(self) -> Waker {
        // SAFETY: the table's functions read the data word as a number, so none of RawWaker's demands on
        // memory or threads can be broken; clone returns the same word and table, drop has nothing to free.
        unsafe { Waker::from_raw(raw(word_pointer(self.pack()))) }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the mask is a u32")]
fn low_bits(word: u64, mask: u32) -> u32 {
    word as u32 & mask
}

#[expect(clippy::cast_possible_truncation, reason = "asserted above: usize has 64 bits")]
fn word_pointer(word: u64) -> *const () {
    ptr::without_provenance(word as usize)
}

static TABLE: RawWakerVTable = RawWakerVTable::new(raw, wake, wake, |_| {});

fn raw(data: *const ()) -> RawWaker {
    RawWaker::new(data, &TABLE)
}

fn wake(data: *const ()) {
    executor::wake(TaskId::unpack(data.addr() as u64));
}

/// Names an entry of the sink (a tunnel) in readiness and timer events. The reactor only carries it.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub struct SinkToken(pub u32);

/// Who is told, in eight bytes. The two lowest bits tell the kinds apart: task, sink, or a boxed waker.
pub(crate) struct Target(NonNull<()>);

/// A target taken apart.
#[derive(Debug)]
pub(crate) enum Told {
    Task(TaskId),
    Sink(SinkToken),
    Foreign(Box<Waker>),
}

impl Target {
    pub(crate) fn waker(waker: &Waker) -> Self {
        if ptr::eq(waker.vtable(), &raw const TABLE) {
            return Self::number(waker.data().addr() as u64);
        }
        Self(NonNull::from(Box::leak(Box::new(waker.clone()))).cast())
    }

    pub(crate) fn sink(token: SinkToken) -> Self {
        Self::number(u64::from(token.0) << 32 | SINK_BIT)
    }

    /// The token, if a sink is told.
    pub(crate) fn token(&self) -> Option<SinkToken> {
        let word = self.word();
        (word & SINK_BIT != 0 && word & TASK_BIT == 0).then(|| SinkToken(low_bits(word >> 32, u32::MAX)))
    }

    /// Whether this tells the same task as `waker`. May be false for two wakers that do.
    pub(crate) fn tells(&self, waker: &Waker) -> bool {
        self.word() & TASK_BIT != 0
            && ptr::eq(waker.vtable(), &raw const TABLE)
            && waker.data().addr() as u64 == self.word()
    }

    pub(crate) fn into_told(self) -> Told {
        if let Some(token) = self.token() {
            return Told::Sink(token);
        }
        if self.word() & TASK_BIT != 0 {
            return Told::Task(TaskId::unpack(self.word()));
        }
        let this = std::mem::ManuallyDrop::new(self);
        // SAFETY: neither bit is set, so the word is the box leaked in `waker`; `this` will not free it.
        Told::Foreign(unsafe { Box::from_raw(this.0.cast().as_ptr()) })
    }

    /// Wakes a task; a sink's token is returned to be served by the caller.
    pub(crate) fn wake(self) -> Option<SinkToken> {
        match self.into_told() {
            Told::Task(id) => executor::wake(id),
            Told::Foreign(waker) => waker.wake(),
            Told::Sink(token) => return Some(token),
        }
        None
    }

    fn word(&self) -> u64 {
        self.0.addr().get() as u64
    }

    #[expect(clippy::cast_possible_truncation, reason = "asserted above: usize has 64 bits")]
    fn number(word: u64) -> Self {
        let word = NonZeroUsize::new(word as usize).expect("a kind bit is set");
        Self(NonNull::without_provenance(word))
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if self.word() & (TASK_BIT | SINK_BIT) == 0 {
            // SAFETY: neither bit is set, so the word is the box leaked in `waker`, owned by this target alone.
            drop(unsafe { Box::<Waker>::from_raw(self.0.cast().as_ptr()) });
        }
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.token() {
            Some(token) => token.fmt(f),
            None if self.word() & TASK_BIT != 0 => TaskId::unpack(self.word()).fmt(f),
            None => f.write_str("Waker"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicU32);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_task_id_survives_its_word() {
        for (executor, index, generation) in
            [(0, 0, 0), (EXECUTORS_MAX - 1, TASKS_MAX - 1, TASK_GENERATION_MAX), (5, 77, 1)]
        {
            let id = TaskId { executor, key: Key { index, generation } };
            assert_eq!(TaskId::unpack(id.pack()), id);
            let target = Target::waker(&id.waker());
            assert!(target.tells(&id.waker()));
            assert!(matches!(target.into_told(), Told::Task(told) if told == id));
        }
    }

    #[test]
    fn a_token_survives_its_word() {
        for token in [SinkToken(0), SinkToken(1), SinkToken(u32::MAX)] {
            assert_eq!(Target::sink(token).wake(), Some(token));
        }
    }

    #[test]
    fn a_foreign_waker_is_woken_once_and_freed() {
        let count = Arc::new(Count::default());
        let waker = Waker::from(Arc::clone(&count));
        assert_eq!(Target::waker(&waker).wake(), None);
        drop(Target::waker(&waker));
        drop(waker);
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
        assert_eq!(Arc::strong_count(&count), 1, "no clone of the waker is left");
    }
}

//! Buffers the kernel receives into by itself (a provided buffer ring, Linux 5.19), and the pieces of a stream
//! that come back in them. Knows nothing of sources; when to lend and what a piece means is the ring's.
//!
//! A buffer is in exactly one place: free, lent to the kernel, or in a [`Chunk`]. Only a chunk's bytes can be
//! looked at, and the kernel writes to lent buffers only. Few are lent at a time and the last one freed is
//! lent first, so a busy worker touches little memory.

use std::cell::{Cell, RefCell};
use std::io;
use std::ptr::{self, NonNull};
use std::rc::Rc;
use std::slice;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::Submitter;
use io_uring::types::BufRingEntry;
use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};

use crate::limits::{BUFFER_BYTES, BUFFERS, BUFFERS_LENT_MIN};

/// The one group of buffers of a ring.
pub(crate) const GROUP: u16 = 0;

/// Pages of anonymous memory.
#[derive(Debug)]
struct Pages {
    start: NonNull<u8>,
    bytes: usize,
}

impl Pages {
    fn new(bytes: usize) -> io::Result<Self> {
        let flags = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice replaces nothing.
        let start = unsafe { mmap_anonymous(ptr::null_mut(), bytes, flags, MapFlags::PRIVATE) }?;
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { start, bytes })
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and whoever points into it (chunks, the kernel) keeps its owner alive.
        let _ = unsafe { munmap(self.start.as_ptr().cast(), self.bytes) };
    }
}

#[derive(Debug)]
struct Buffers {
    memory: Pages,
    free: RefCell<Vec<u16>>,
}

impl Buffers {
    /// Where a buffer begins; its id is below [`BUFFERS`].
    fn start(&self, id: u16) -> *mut u8 {
        self.memory.start.as_ptr().wrapping_add(usize::from(id) * BUFFER_BYTES as usize)
    }
}

/// Bytes of a stream in a buffer of the ring's. Dropping it gives the buffer back.
#[derive(Debug)]
pub struct Chunk {
    buffers: Rc<Buffers>,
    id: u16,
    length: u32,
}

impl Chunk {
    /// What was received; never empty.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: the buffer belongs to this chunk alone, so nobody writes to it, and the kernel has written
        // `length` bytes of it, which is at most a buffer's size (checked by `BufferRing::take`).
        unsafe { slice::from_raw_parts(self.buffers.start(self.id), self.length as usize) }
    }

    pub(crate) fn id(&self) -> u16 {
        self.id
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        self.buffers.free.borrow_mut().push(self.id);
    }
}

/// All buffers of a ring and the queue by which they are lent.
#[derive(Debug)]
pub(crate) struct BufferRing {
    buffers: Rc<Buffers>,
    /// The kernel's `io_uring_buf` entries; their first one holds the tail.
    queue: Pages,
    tail: Cell<u16>,
    lent: Cell<u16>,
    lent_max: Cell<u16>,
}

impl BufferRing {
    /// Makes buffers and registers them with the ring.
    pub(crate) fn register(submitter: &Submitter<'_>) -> io::Result<Self> {
        let memory = Pages::new(usize::from(BUFFERS) * BUFFER_BYTES as usize)?;
        let queue = Pages::new(usize::from(BUFFERS) * size_of::<BufRingEntry>())?;
        // SAFETY: the queue is mapped and zero, and outlives its registration: it is unmapped by `release`
        // after the unregistration, or never (`Ring::drop`).
        unsafe {
            submitter.register_buf_ring_with_flags(
                queue.start.as_ptr().expose_provenance() as u64,
                BUFFERS,
                GROUP,
                0,
            )
        }?;
        let free = RefCell::new((0..BUFFERS).rev().collect());
        Ok(Self {
            buffers: Rc::new(Buffers { memory, free }),
            queue,
            tail: Cell::new(0),
            lent: Cell::new(0),
            lent_max: Cell::new(BUFFERS_LENT_MIN),
        })
    }

    /// Takes the buffers back from the ring, which must not be receiving any more.
    pub(crate) fn release(self, submitter: &Submitter<'_>) -> io::Result<()> {
        if let Err(error) = submitter.unregister_buf_ring(GROUP) {
            std::mem::forget(self);
            return Err(error);
        }
        Ok(())
    }

    /// Memory mapped for buffers and queue.
    pub(crate) fn bytes(&self) -> usize {
        self.buffers.memory.bytes + self.queue.bytes
    }

    /// No chunk exists.
    pub(crate) fn is_unused(&self) -> bool {
        Rc::strong_count(&self.buffers) == 1
    }

    /// Lends free buffers up to the present bound. Called before the kernel is entered.
    pub(crate) fn lend(&self) {
        if self.lent.get() >= self.lent_max.get() {
            return;
        }
        let mut free = self.buffers.free.borrow_mut();
        let mut tail = self.tail.get();
        while self.lent.get() < self.lent_max.get()
            && let Some(id) = free.pop()
        {
            self.write_entry(tail, id);
            tail = tail.wrapping_add(1);
            self.lent.set(self.lent.get() + 1);
        }
        self.tail.set(tail);
        // SAFETY: the first entry is mapped and initialised (zero).
        let shared = unsafe { BufRingEntry::tail(self.queue.start.as_ptr().cast()) }.cast_mut();
        // SAFETY: the tail is aligned, lives as long as the queue, and is accessed by atomics only.
        unsafe { AtomicU16::from_ptr(shared) }.store(tail, Ordering::Release);
    }

    fn write_entry(&self, tail: u16, id: u16) {
        let index = usize::from(tail & (BUFFERS - 1));
        let entry = self.queue.start.as_ptr().cast::<BufRingEntry>().wrapping_add(index);
        // SAFETY: `index` is within the queue, and the kernel reads this entry only after the tail has passed
        // it. The tail's own field is not among those set.
        let entry = unsafe { &mut *entry };
        entry.set_addr(self.buffers.start(id).expose_provenance() as u64);
        entry.set_len(BUFFER_BYTES);
        entry.set_bid(id);
    }

    /// The kernel has filled a buffer it was lent. `None` if it names one that cannot be.
    pub(crate) fn take(&self, id: u16, length: u32) -> Option<Chunk> {
        debug_assert!(self.lent.get() > 0);
        if id >= BUFFERS || length > BUFFER_BYTES {
            return None;
        }
        self.lent.set(self.lent.get().saturating_sub(1));
        Some(Chunk { buffers: Rc::clone(&self.buffers), id, length })
    }

    /// The kernel found no buffer: lends more from now on.
    pub(crate) fn widen(&self) {
        self.lent_max.set(self.lent_max.get().saturating_mul(2).min(BUFFERS));
    }
}

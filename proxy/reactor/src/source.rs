//! The table of watched descriptors: what is known of each, and who is told. Makes no system call.

use std::os::fd::RawFd;
use std::task::{Context, Poll};

use crate::readiness::Ready;
use crate::slab::{Key, Slab};
use crate::waker::{SinkToken, Target};

/// Names a watched descriptor for as long as it is watched; later it names nothing.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Hash)]
pub struct SourceId {
    index: u32,
    generation: u32,
}

impl SourceId {
    /// The number that comes back with the kernel's events.
    pub(crate) fn key(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.index)
    }

    #[expect(clippy::cast_possible_truncation, reason = "the two halves of the key")]
    pub(crate) fn from_key(key: u64) -> Self {
        Self { index: key as u32, generation: (key >> 32) as u32 }
    }

    fn slot(self) -> Key {
        Key { index: self.index, generation: self.generation }
    }
}

#[derive(Copy, Clone, Debug, Eq, PartialEq)]
enum Owner {
    Tasks,
    /// The sink; `reader` holds its token.
    Sink,
}

#[derive(Debug)]
struct Source {
    reader: Option<Target>,
    writer: Option<Target>,
    fd: RawFd,
    ready: Ready,
    owner: Owner,
    /// The kernel receives by itself, and no watch is set.
    receiving: bool,
    /// Watches that a receive has replaced and whose end was not reported yet. It may be after the receive has ended
    /// itself and the source has its next watch: a second one beside that would keep the socket open for ever.
    replaced: u8,
}

/// An idle tunnel holds two of these and little else; two share a cache line.
const _: () = assert!(Slab::<Source>::SLOT_BYTES == 32);

/// Which direction a task waits for.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(crate) enum Direction {
    Read,
    Write,
}

/// Targets no longer told. Dropped by the caller once the table is not borrowed: dropping a foreign waker may
/// run anything, such as closing another socket.
pub(crate) type Displaced = [Option<Target>; 2];

/// Who is to be told of an event.
#[derive(Debug)]
pub(crate) struct Noted {
    pub(crate) fd: RawFd,
    pub(crate) for_sink: bool,
    /// The watch has ended, and the source needs another.
    pub(crate) unwatched: bool,
    pub(crate) reader: Option<Target>,
    pub(crate) writer: Option<Target>,
}

/// See the file's head.
#[derive(Debug)]
pub(crate) struct Sources(Slab<Source>);

impl Sources {
    pub(crate) fn new() -> Self {
        // The highest generation is left to keys that are no source's.
        Self(Slab::new(u32::MAX - 1))
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.0.bytes()
    }

    pub(crate) fn insert(&mut self, fd: RawFd, ready: Ready) -> SourceId {
        let source = Source {
            reader: None,
            writer: None,
            fd,
            ready,
            owner: Owner::Tasks,
            receiving: false,
            replaced: 0,
        };
        let Key { index, generation } = self.0.insert(source);
        SourceId { index, generation }
    }

    /// Marks a source whose watch is replaced by a receive, or the other way round. `None` when it is gone.
    pub(crate) fn set_receiving(&mut self, id: SourceId, receiving: bool) -> Option<RawFd> {
        let source = self.0.get_mut(id.slot())?;
        source.receiving = receiving;
        source.replaced = source.replaced.saturating_add(receiving.into());
        Some(source.fd)
    }

    /// The descriptor, and whether the kernel receives by itself. `None` when the source is gone.
    pub(crate) fn receiving(&self, id: SourceId) -> Option<(RawFd, bool)> {
        self.0.get(id.slot()).map(|source| (source.fd, source.receiving))
    }

    /// `None` when the source is gone already.
    pub(crate) fn remove(&mut self, id: SourceId) -> Option<Displaced> {
        self.0.remove(id.slot()).map(|source| [source.reader, source.writer])
    }

    /// Records an event, which may be the last of its watch (`ended`). `None` when it is meant for a source that is
    /// gone.
    pub(crate) fn note(&mut self, id: SourceId, ready: Ready, ended: bool) -> Option<Noted> {
        let source = self.0.get_mut(id.slot())?;
        source.ready = source.ready.with(ready);
        let for_sink = source.owner == Owner::Sink;
        let unwatched = ended && source.replaced == 0;
        source.replaced = source.replaced.saturating_sub(ended.into());
        let mut noted = Noted { fd: source.fd, for_sink, unwatched, reader: None, writer: None };
        if !for_sink && ready.has_any(Ready::FOR_READER) {
            noted.reader = source.reader.take();
        }
        if !for_sink && ready.has_any(Ready::FOR_WRITER) {
            noted.writer = source.writer.take();
        }
        Some(noted)
    }

    /// Makes the sink the owner; returns what is known of the source.
    pub(crate) fn assign(&mut self, id: SourceId, token: SinkToken) -> Option<(Ready, Displaced)> {
        let source = self.0.get_mut(id.slot())?;
        source.owner = Owner::Sink;
        let reader = source.reader.replace(Target::sink(token));
        Some((source.ready, [reader, source.writer.take()]))
    }

    /// Makes tasks the owner again. What the sink has read or written is unknown here, so both are tried.
    pub(crate) fn take_back(&mut self, id: SourceId) {
        if let Some(source) = self.0.get_mut(id.slot())
            && source.owner == Owner::Sink
        {
            // The reader's place holds the token, and nobody writes.
            source.owner = Owner::Tasks;
            source.reader = None;
            source.ready = source.ready.with(Ready::READABLE).with(Ready::WRITABLE);
        }
    }

    /// The token of a source the sink owns, and the bits that stay true for ever.
    pub(crate) fn sink_owner(&self, id: SourceId) -> Option<(SinkToken, Ready)> {
        let source = self.0.get(id.slot())?;
        let token = source.reader.as_ref()?.token()?;
        Some((token, source.ready.only(Ready::FINAL)))
    }

    /// What is known; nothing for a source that is gone.
    pub(crate) fn ready(&self, id: SourceId) -> Ready {
        self.0.get(id.slot()).map_or(Ready::NONE, |source| source.ready)
    }

    /// A call would have blocked: forget these bits until the next event.
    pub(crate) fn clear(&mut self, id: SourceId, bits: Ready) {
        if let Some(source) = self.0.get_mut(id.slot()) {
            source.ready = source.ready.without(bits);
        }
    }

    /// Ready when one of `wanted` is known, else the task is told when something of that direction happens.
    pub(crate) fn poll(
        &mut self,
        id: SourceId,
        direction: Direction,
        wanted: Ready,
        cx: &Context<'_>,
    ) -> (Poll<()>, Option<Target>) {
        let Some(source) = self.0.get_mut(id.slot()) else { return (Poll::Ready(()), None) };
        if source.ready.has_any(wanted) {
            return (Poll::Ready(()), None);
        }
        let slot = match direction {
            Direction::Read => &mut source.reader,
            Direction::Write => &mut source.writer,
        };
        if slot.as_ref().is_some_and(|target| target.tells(cx.waker())) {
            return (Poll::Pending, None);
        }
        (Poll::Pending, slot.replace(Target::waker(cx.waker())))
    }
}

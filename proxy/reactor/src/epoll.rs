//! The epoll engine, for systems that forbid `io_uring`: edge-triggered, the same events as the ring's.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};

use crate::limits::EPOLL_EVENTS_PER_TURN_MAX;
use crate::readiness::{Engine, EngineStats, Event, Readiness, Ready, Wait};

/// What every watch asks for. HUP and ERR are always reported.
const WATCHED: EventFlags =
    EventFlags::IN.union(EventFlags::OUT).union(EventFlags::RDHUP).union(EventFlags::ET);

/// See the file's head.
#[derive(Debug)]
pub(crate) struct Epoll {
    epoll: OwnedFd,
    events: Box<[MaybeUninit<epoll::Event>]>,
    stats: EngineStats,
}

impl Epoll {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            epoll: epoll::create(CreateFlags::CLOEXEC)?,
            events: Box::new_uninit_slice(EPOLL_EVENTS_PER_TURN_MAX),
            stats: EngineStats::default(),
        })
    }
}

impl Readiness for Epoll {
    fn engine(&self) -> Engine {
        Engine::Epoll
    }

    fn add(&mut self, fd: BorrowedFd<'_>, key: u64) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, fd, EventData::new_u64(key), WATCHED)?)
    }

    fn renew(&mut self, _fd: RawFd, _key: u64) -> io::Result<()> {
        // An epoll watch never ends by itself, see `wait`.
        Ok(())
    }

    fn remove(&mut self, fd: BorrowedFd<'_>, _key: u64) -> io::Result<()> {
        // Closing is not enough: a duplicate of the descriptor in another process keeps the watch alive.
        Ok(epoll::delete(&self.epoll, fd)?)
    }

    fn wait(&mut self, wait: Wait, events: &mut Vec<Event>) -> io::Result<()> {
        let timeout = match wait {
            Wait::No => Some(Timespec { tv_sec: 0, tv_nsec: 0 }),
            Wait::For(duration) => Some(Timespec {
                tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: duration.subsec_nanos().into(),
            }),
            Wait::Forever => None,
        };
        self.stats.submissions += 1;
        let happened = match epoll::wait(&self.epoll, &mut *self.events, timeout.as_ref()) {
            Ok((happened, _)) => happened,
            Err(rustix::io::Errno::INTR) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        events.extend(happened.iter().map(|event| {
            // Copied out: the kernel's struct is packed on x86_64.
            let (flags, data) = (event.flags, event.data);
            Event::Ready { key: data.u64(), ready: Ready::from_poll(flags.bits()), ended: false }
        }));
        Ok(())
    }

    fn stats(&self) -> EngineStats {
        self.stats
    }
}

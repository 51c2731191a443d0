//! The event loop of one thread: run tasks, wait for the kernel, hand out what happened, fire timers.
//!
//! Decides the order within a turn. Knows nothing of connections: a source is a descriptor with somebody who
//! is told about it, a task or the sink. While foreign code runs (a task, a sink, a waker) nothing here is
//! borrowed, so it may call back.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use crate::buffer_ring::Chunk;
use crate::epoll::Epoll;
use crate::executor::Executor;
use crate::limits::{COMPLETION_ENTRIES, TASK_POLLS_PER_TURN_MAX, TICK_MS};
use crate::readiness::{Engine, EngineChoice, Event, Readiness, Ready, Received, Wait};
use crate::refusal::{Refused, RingRefusal};
use crate::ring::Ring;
use crate::source::{SourceId, Sources};
use crate::timer::{Sleep, Timeout};
use crate::turns::TurnTimes;
use crate::waker::{SinkToken, Target};
use crate::wheel::{TimerId, Wheel};

/// Key of the watch on the executor's eventfd. No source has it.
const REMOTE_WAKE: u64 = u64::MAX;

/// Serves the sources and timers that belong to no task: the tunnels.
///
/// Its methods may call every method of the reactor but [`Reactor::run`].
pub trait Sink {
    /// Something happened to the source assigned to `token`. The bits are edges: read until there is no more.
    fn ready(&self, token: SinkToken, ready: Ready);
    /// A timer set for `token` has fired.
    fn expired(&self, token: SinkToken);
    /// The kernel has received for the source assigned to `token`, as [`Reactor::receive`] asked.
    fn received(&self, _token: SinkToken, _received: Received) {}
    /// A send that [`Reactor::send`] queued on behalf of `token` has ended, with how many bytes. `WouldBlock`
    /// or less than the chunk has: the send buffer is full.
    fn sent(&self, _token: SinkToken, _chunk: Chunk, _result: io::Result<usize>) {}
}

/// A sink for a thread whose sources all belong to tasks.
#[derive(Copy, Clone, Debug, Default)]
pub struct NoSink;

impl Sink for NoSink {
    fn ready(&self, _token: SinkToken, _ready: Ready) {}
    fn expired(&self, _token: SinkToken) {}
}

/// What the sink is told.
#[derive(Debug)]
pub(crate) enum Occurrence {
    Ready(Ready),
    Received(Received),
    Sent(Chunk, io::Result<usize>),
}

/// Counters since the reactor's start, and present sizes.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
pub struct Stats {
    /// Turns of the event loop.
    pub turns: u64,
    /// How long they took.
    pub turn_times: TurnTimes,
    /// Readiness events of the kernel.
    pub events: u64,
    /// Tasks put into the run queue by a wake.
    pub wakes: u64,
    /// System calls that submitted or waited.
    pub submissions: u64,
    /// Operations that these submitted to the ring.
    pub operations: u64,
    /// Turns that found the ring's completion queue overflown.
    pub completion_overflows: u64,
    /// Sources registered now.
    pub sources: u64,
    /// Timers set now.
    pub timers: u64,
    /// Memory of the tables of sources, timers and tasks, without the tasks' futures.
    pub table_bytes: usize,
    /// Mapped for what the kernel receives by itself. No allocator counts it.
    pub receive_bytes: usize,
}

/// The event loop of one thread; a handle, cheap to clone. See the file's head.
#[derive(Clone)]
pub struct Reactor(Rc<Inner>);

struct Inner {
    engine: Engine,
    executor: Rc<Executor>,
    readiness: RefCell<Box<dyn Readiness>>,
    sources: RefCell<Sources>,
    wheel: RefCell<Wheel<Target>>,
    /// Events for the sink, served after all tasks of the turn are woken.
    for_sink: RefCell<Vec<(SourceId, Occurrence)>>,
    /// Buffers of a turn, kept to save their allocation.
    events: Cell<Vec<Event>>,
    serving: Cell<Vec<(SourceId, Occurrence)>>,
    origin: Instant,
    now: Cell<Instant>,
    running: Cell<bool>,
    turns: Cell<u64>,
    turn_times: RefCell<TurnTimes>,
    event_count: Cell<u64>,
}

impl Reactor {
    /// A reactor for the calling thread.
    ///
    /// With `Auto` a refused ring is replaced by epoll, and the refusal is returned to be logged and counted.
    ///
    /// # Errors
    ///
    /// The ring is refused and `choice` is `Uring` (the error's source is the [`RingRefusal`]), or the process
    /// is out of descriptors or memory.
    pub fn new(choice: EngineChoice) -> io::Result<(Self, Option<RingRefusal>)> {
        Self::with_ring(choice, Ring::new)
    }

    /// As [`Self::new`]; tests put a failing set-up in the place of the ring's.
    pub(crate) fn with_ring(
        choice: EngineChoice,
        ring: impl FnOnce() -> Result<Ring, Refused>,
    ) -> io::Result<(Self, Option<RingRefusal>)> {
        let ring = match choice {
            EngineChoice::Epoll => None,
            EngineChoice::Auto | EngineChoice::Uring => Some(ring().map_err(RingRefusal::new)),
        };
        match ring {
            Some(Ok(ring)) => Ok((Self::with_engine(Box::new(ring))?, None)),
            Some(Err(refusal)) if choice == EngineChoice::Uring => {
                Err(io::Error::new(refusal.error.kind(), refusal))
            }
            Some(Err(refusal)) => Ok((Self::with_engine(Box::new(Epoll::new()?))?, Some(refusal))),
            None => Ok((Self::with_engine(Box::new(Epoll::new()?))?, None)),
        }
    }

    fn with_engine(mut readiness: Box<dyn Readiness>) -> io::Result<Self> {
        let executor = Executor::new()?;
        readiness.add(executor.eventfd(), REMOTE_WAKE)?;
        let now = Instant::now();
        Ok(Self(Rc::new(Inner {
            engine: readiness.engine(),
            executor,
            readiness: RefCell::new(readiness),
            sources: RefCell::new(Sources::new()),
            wheel: RefCell::new(Wheel::new()),
            for_sink: RefCell::default(),
            events: Cell::default(),
            serving: Cell::default(),
            origin: now,
            now: Cell::new(now),
            running: Cell::new(false),
            turns: Cell::new(0),
            turn_times: RefCell::default(),
            event_count: Cell::new(0),
        })))
    }

    /// The engine in use.
    #[must_use]
    pub fn engine(&self) -> Engine {
        self.0.engine
    }

    /// When this turn's events were fetched. The clock is read once a turn.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.0.now.get()
    }

    /// Starts a task. It is polled for the first time in this turn or the next, never within this call.
    pub fn spawn(&self, future: impl Future<Output = ()> + 'static) {
        self.0.executor.spawn(Box::pin(future));
    }

    /// Tasks that have not ended.
    #[must_use]
    pub fn task_count(&self) -> usize {
        self.0.executor.task_count()
    }

    /// Wakes every task and the future given to [`Self::run`], so that all see a changed state of the worker.
    pub fn wake_all(&self) {
        self.0.executor.wake_all();
    }

    /// Drops every task and closes what they hold. Needed before the last handle goes: tasks hold handles too.
    ///
    /// # Errors
    ///
    /// The kernel refuses to take the ends of the watches; then the other ends see the close later.
    pub fn drop_tasks(&self) -> io::Result<()> {
        self.0.executor.drop_tasks();
        self.gather(Wait::No)
    }

    /// Runs tasks, sources and timers until `root` is ready. Other tasks stay, and go on in the next call.
    ///
    /// # Errors
    ///
    /// The kernel refuses to wait, or the reactor is running already.
    pub fn run<T>(&self, root: impl Future<Output = T>, sink: &dyn Sink) -> io::Result<T> {
        if self.0.running.replace(true) {
            return Err(io::Error::other("the reactor is running already"));
        }
        let _running = Running(&self.0.running);
        let mut root = pin!(root);
        self.0.now.set(Instant::now());
        self.0.executor.wake_root();
        loop {
            let polled = self.0.executor.run_ready(TASK_POLLS_PER_TURN_MAX, root.as_mut());
            let wait = if polled.is_ready() { Wait::No } else { self.patience() };
            self.turn(wait, sink)?;
            if let Poll::Ready(output) = polled {
                return Ok(output);
            }
        }
    }

    /// How long there is nothing to do but wait.
    fn patience(&self) -> Wait {
        if self.0.executor.has_ready() || !self.0.for_sink.borrow().is_empty() {
            return Wait::No;
        }
        let Some(tick) = self.0.wheel.borrow().next_expiry() else { return Wait::Forever };
        let expiry = self.0.origin + Duration::from_millis(tick * TICK_MS);
        match expiry.saturating_duration_since(self.now()) {
            Duration::ZERO => Wait::No,
            duration => Wait::For(duration),
        }
    }

    fn turn(&self, wait: Wait, sink: &dyn Sink) -> io::Result<()> {
        self.gather(wait)?;
        self.serve(sink);
        self.expire(sink);
        Ok(())
    }

    /// Waits for events and records them.
    fn gather(&self, wait: Wait) -> io::Result<()> {
        let mut events = self.0.events.take();
        self.0.turn_times.borrow_mut().note(self.now().elapsed());
        let waited = self.0.readiness.borrow_mut().wait(wait, &mut events);
        self.0.now.set(Instant::now());
        self.0.turns.set(self.0.turns.get() + 1);
        self.0.event_count.set(self.0.event_count.get() + events.len() as u64);
        for event in events.drain(..) {
            self.note(event)?;
        }
        self.0.events.set(events);
        waited
    }

    /// Records an event at its source and wakes the tasks that wait for it.
    fn note(&self, event: Event) -> io::Result<()> {
        match event {
            Event::Ready { key: REMOTE_WAKE, ended, .. } => {
                self.0.executor.take_remote_wakes();
                if ended {
                    let eventfd = self.0.executor.eventfd().as_raw_fd();
                    self.0.readiness.borrow_mut().renew(eventfd, REMOTE_WAKE)?;
                }
                Ok(())
            }
            Event::Ready { key, ready, ended } => self.note_ready(key, ready, ended),
            Event::Received { key, received } => self.note_received(key, received),
            Event::Sent { key, chunk, result } => {
                self.tell_sink(SourceId::from_key(key), Occurrence::Sent(chunk, result));
                Ok(())
            }
        }
    }

    fn note_ready(&self, key: u64, ready: Ready, ended: bool) -> io::Result<()> {
        let id = SourceId::from_key(key);
        let Some(noted) = self.0.sources.borrow_mut().note(id, ready, ended) else { return Ok(()) };
        if noted.for_sink {
            self.tell_sink(id, Occurrence::Ready(ready));
        }
        if noted.unwatched {
            self.0.readiness.borrow_mut().renew(noted.fd, key)?;
        }
        for target in [noted.reader, noted.writer].into_iter().flatten() {
            target.wake();
        }
        Ok(())
    }

    /// Hands events to the sink. Its calls may close or assign any source, so each is looked up again.
    fn serve(&self, sink: &dyn Sink) {
        if self.0.for_sink.borrow().is_empty() {
            return;
        }
        let mut serving = self.0.for_sink.replace(self.0.serving.take());
        for (id, occurrence) in serving.drain(..) {
            let owner = self.0.sources.borrow().sink_owner(id);
            let Some((token, lasting)) = owner else { continue };
            match occurrence {
                Occurrence::Ready(ready) => sink.ready(token, ready.with(lasting)),
                Occurrence::Received(received) => sink.received(token, received),
                Occurrence::Sent(chunk, result) => sink.sent(token, chunk, result),
            }
        }
        // A burst of assignments must not leave its size behind.
        serving.shrink_to(COMPLETION_ENTRIES as usize);
        self.0.serving.set(serving);
    }

    fn expire(&self, sink: &dyn Sink) {
        let passed = self.now().saturating_duration_since(self.0.origin).as_millis();
        let tick = u64::try_from(passed).unwrap_or(u64::MAX) / TICK_MS;
        self.0.wheel.borrow_mut().advance(tick);
        loop {
            let due = self.0.wheel.borrow_mut().pop_due();
            let Some(target) = due else { break };
            if let Some(token) = target.wake() {
                sink.expired(token);
            }
        }
    }

    /// Ready at `deadline`, at most one tick (1 ms) and the length of a turn later.
    pub fn sleep_until(&self, deadline: Instant) -> Sleep {
        Sleep::new(self.clone(), deadline)
    }

    /// Gives `future` a deadline; `None` is no deadline and sets no timer.
    pub fn timeout_at<F: Future>(&self, deadline: Option<Instant>, future: F) -> Timeout<F> {
        Timeout::new(future, deadline.map(|deadline| self.sleep_until(deadline)))
    }

    /// Calls [`Sink::expired`] with `token` at `deadline`.
    pub fn set_timer(&self, deadline: Instant, token: SinkToken) -> TimerId {
        self.set_target_timer(deadline, Target::sink(token))
    }

    /// Takes a timer back. One that has fired is left alone, even when its memory serves another timer.
    pub fn cancel_timer(&self, timer: TimerId) {
        let target = self.0.wheel.borrow_mut().cancel(timer);
        drop(target);
    }

    pub(crate) fn set_waker_timer(&self, deadline: Instant, waker: &Waker) -> TimerId {
        self.set_target_timer(deadline, Target::waker(waker))
    }

    /// Makes a timer wake `waker`. False when the timer has fired.
    pub(crate) fn retarget_timer(&self, timer: TimerId, waker: &Waker) -> bool {
        let mut wheel = self.0.wheel.borrow_mut();
        let Some(target) = wheel.payload_mut(timer) else { return false };
        if !target.tells(waker) {
            let old = std::mem::replace(target, Target::waker(waker));
            drop(wheel);
            drop(old);
        }
        true
    }

    fn set_target_timer(&self, deadline: Instant, target: Target) -> TimerId {
        // Rounded up, so that no timer fires early.
        self.0.wheel.borrow_mut().insert(ticks(deadline.saturating_duration_since(self.0.origin)), target)
    }

    /// Watches a non-blocking descriptor. Until [`Self::assign`] its events are kept.
    ///
    /// # Errors
    ///
    /// The descriptor cannot be polled, or the kernel is out of memory.
    pub fn register(&self, fd: BorrowedFd<'_>) -> io::Result<SourceId> {
        self.register_as(fd, Ready::NONE)
    }

    pub(crate) fn register_as(&self, fd: BorrowedFd<'_>, ready: Ready) -> io::Result<SourceId> {
        let id = self.0.sources.borrow_mut().insert(fd.as_raw_fd(), ready);
        if let Err(error) = self.0.readiness.borrow_mut().add(fd, id.key()) {
            self.0.sources.borrow_mut().remove(id);
            return Err(error);
        }
        Ok(id)
    }

    /// From now on the sink is told about this source. What is known already is reported by a first event.
    pub fn assign(&self, source: SourceId, token: SinkToken) {
        let assigned = self.0.sources.borrow_mut().assign(source, token);
        let Some((ready, displaced)) = assigned else { return };
        drop(displaced);
        if ready != Ready::NONE {
            self.tell_sink(source, Occurrence::Ready(ready));
        }
    }

    /// Tells the sink in the next turn that `source` is readable: it had its share of this turn, and the
    /// kernel raises no second edge for what is still unread.
    pub fn again(&self, source: SourceId) {
        self.tell_sink(source, Occurrence::Ready(Ready::READABLE));
    }

    pub(crate) fn tell_sink(&self, source: SourceId, occurrence: Occurrence) {
        self.0.for_sink.borrow_mut().push((source, occurrence));
    }

    /// Ends the watch on a source and closes its descriptor.
    ///
    /// The ring's watch holds the socket open until it is removed, which is done with this turn's submission:
    /// the other end sees the end of the stream then.
    pub fn close(&self, fd: OwnedFd, source: SourceId) {
        let receiving = self.with_sources(|sources| sources.receiving(source));
        let removed = self.0.sources.borrow_mut().remove(source);
        if let Some((_, receiving)) = receiving {
            let mut readiness = self.0.readiness.borrow_mut();
            // These fail only where nothing is watched, or for a ring that ends the loop at the next wait.
            let _ = readiness.settle();
            let _ = if receiving {
                readiness.stop_receiving(source.key())
            } else {
                readiness.remove(fd.as_fd(), source.key())
            };
        }
        drop(fd);
        drop(removed);
    }

    pub(crate) fn with_readiness<T>(&self, with: impl FnOnce(&mut dyn Readiness) -> T) -> T {
        with(&mut **self.0.readiness.borrow_mut())
    }

    pub(crate) fn with_sources<T>(&self, with: impl FnOnce(&mut Sources) -> T) -> T {
        with(&mut self.0.sources.borrow_mut())
    }

    /// Counters and sizes.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let engine = self.0.readiness.borrow().stats();
        Stats {
            turns: self.0.turns.get(),
            turn_times: *self.0.turn_times.borrow(),
            events: self.0.event_count.get(),
            wakes: self.0.executor.wake_count(),
            submissions: engine.submissions,
            operations: engine.operations,
            completion_overflows: engine.overflows,
            sources: self.0.sources.borrow().len() as u64,
            timers: self.0.wheel.borrow().len() as u64,
            table_bytes: self.0.sources.borrow().bytes()
                + self.0.wheel.borrow().bytes()
                + self.0.executor.bytes(),
            receive_bytes: engine.receive_bytes,
        }
    }
}

/// Ticks that cover `duration`. Every request sets two timers, so no 128-bit division here.
fn ticks(duration: Duration) -> u64 {
    let millis = u64::from(duration.subsec_nanos().div_ceil(1_000_000));
    duration.as_secs().saturating_mul(1000).saturating_add(millis).div_ceil(TICK_MS)
}

struct Running<'a>(&'a Cell<bool>);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.set(false);
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.executor.unregister();
    }
}

impl fmt::Debug for Reactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reactor").field("engine", &self.0.engine).finish_non_exhaustive()
    }
}

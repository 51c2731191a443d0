//! The tasks of one worker thread and the queue of those to poll. Decides when a wake puts a task into the
//! queue; knows no I/O and no clock.
//!
//! A wake on the executor's own thread pushes to its queue. A wake on another thread goes through a table of
//! all executors of the process to a locked queue and an eventfd that ends the thread's sleep.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use parking_lot::{Mutex, RwLock};
use rustix::event::{EventfdFlags, eventfd};

use crate::limits::{EXECUTORS_MAX, REMOTE_WAKES_MAX, TASKS_MAX};
use crate::slab::{Key, Slab};
use crate::waker::{TASK_GENERATION_MAX, TaskId};

/// The future given to `run` is no entry of the table; this stands for it.
const ROOT: Key = Key { index: TASKS_MAX - 1, generation: 0 };

/// All executors of the process by their number, for wakes that come from other threads.
static EXECUTORS: RwLock<Vec<Option<Arc<Remote>>>> = RwLock::new(Vec::new());

thread_local! {
    /// The executors of this thread: one in a worker, a few in tests.
    static LOCAL: RefCell<Vec<Rc<Executor>>> = const { RefCell::new(Vec::new()) };
}

type BoxedFuture = Pin<Box<dyn Future<Output = ()>>>;

struct Task {
    /// Absent while the task is being polled.
    future: Option<BoxedFuture>,
    queued: bool,
}

/// A task costs this and its boxed future.
const _: () = assert!(Slab::<Task>::SLOT_BYTES == 32);

/// Where other threads leave their wakes.
struct Remote {
    wakes: Mutex<RemoteWakes>,
    eventfd: OwnedFd,
}

#[derive(Default)]
struct RemoteWakes {
    keys: Vec<Key>,
    everyone: bool,
}

/// See the file's head.
pub(crate) struct Executor {
    id: u32,
    tasks: RefCell<Slab<Task>>,
    queue: RefCell<VecDeque<Key>>,
    root_queued: Cell<bool>,
    remote: Arc<Remote>,
    wakes: Cell<u64>,
}

impl Executor {
    /// A new executor, known to wakers everywhere until [`Self::unregister`].
    pub(crate) fn new() -> io::Result<Rc<Self>> {
        let eventfd = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?;
        let remote = Arc::new(Remote { wakes: Mutex::default(), eventfd });
        let id = register(&remote)?;
        let executor = Rc::new(Self {
            id,
            tasks: RefCell::new(Slab::new(TASK_GENERATION_MAX)),
            queue: RefCell::default(),
            root_queued: Cell::new(false),
            remote,
            wakes: Cell::new(0),
        });
        LOCAL.with_borrow_mut(|all| all.push(Rc::clone(&executor)));
        Ok(executor)
    }

    /// Makes all wakers of this executor's tasks do nothing.
    pub(crate) fn unregister(&self) {
        EXECUTORS.write()[self.id as usize] = None;
        let gone = LOCAL.try_with(|all| {
            let mut all = all.borrow_mut();
            all.iter().position(|executor| executor.id == self.id).map(|position| all.swap_remove(position))
        });
        drop(gone);
    }

    /// Readable when another thread left a wake.
    pub(crate) fn eventfd(&self) -> BorrowedFd<'_> {
        self.remote.eventfd.as_fd()
    }

    pub(crate) fn spawn(&self, future: BoxedFuture) {
        let key = self.tasks.borrow_mut().insert(Task { future: Some(future), queued: true });
        assert!(key.index < ROOT.index, "more than {TASKS_MAX} tasks");
        self.queue.borrow_mut().push_back(key);
    }

    pub(crate) fn task_count(&self) -> usize {
        self.tasks.borrow().len()
    }

    /// Memory of the table of tasks, without their futures.
    pub(crate) fn bytes(&self) -> usize {
        self.tasks.borrow().bytes()
    }

    /// Wakes counted since the start; a wake of a task already queued is not counted.
    pub(crate) fn wake_count(&self) -> u64 {
        self.wakes.get()
    }

    pub(crate) fn has_ready(&self) -> bool {
        !self.queue.borrow().is_empty()
    }

    pub(crate) fn wake_all(&self) {
        let keys = self.tasks.borrow().keys();
        keys.into_iter().for_each(|key| self.wake(key));
        self.wake(ROOT);
    }

    pub(crate) fn wake_root(&self) {
        self.wake(ROOT);
    }

    /// Takes over the wakes other threads left.
    pub(crate) fn take_remote_wakes(&self) {
        let mut count = [0; 8];
        // Nothing to read is no error: the event may be older than the wakes taken last time.
        let _ = rustix::io::read(&self.remote.eventfd, &mut count);
        let wakes = std::mem::take(&mut *self.remote.wakes.lock());
        wakes.keys.into_iter().for_each(|key| self.wake(key));
        if wakes.everyone {
            self.wake_all();
        }
    }

    /// Polls the next `budget` queued tasks; `root` stands for the future given to `run`, whose end ends it.
    pub(crate) fn run_ready<T>(&self, budget: usize, mut root: Pin<&mut impl Future<Output = T>>) -> Poll<T> {
        for _ in 0..budget {
            let Some(key) = self.queue.borrow_mut().pop_front() else { break };
            if key != ROOT {
                self.poll_task(key);
                continue;
            }
            self.root_queued.set(false);
            let waker = TaskId { executor: self.id, key }.waker();
            if let Poll::Ready(result) = root.as_mut().poll(&mut Context::from_waker(&waker)) {
                return Poll::Ready(result);
            }
        }
        Poll::Pending
    }

    /// Drops every task. What their destructors spawn is dropped too, unless it never ends spawning.
    pub(crate) fn drop_tasks(&self) {
        let keys = self.tasks.borrow().keys();
        for key in keys {
            let task = self.tasks.borrow_mut().remove(key);
            drop(task);
        }
    }

    fn poll_task(&self, key: Key) {
        let future = match self.tasks.borrow_mut().get_mut(key) {
            Some(task) => {
                task.queued = false;
                task.future.take()
            }
            None => None,
        };
        let Some(mut future) = future else { return };
        let waker = TaskId { executor: self.id, key }.waker();
        if future.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
            // The destructor may wake or spawn, so the table is not borrowed while it runs.
            drop(future);
            self.tasks.borrow_mut().remove(key);
        } else if let Some(task) = self.tasks.borrow_mut().get_mut(key) {
            task.future = Some(future);
        }
    }

    fn wake(&self, key: Key) {
        let queued = if key.index == ROOT.index {
            self.root_queued.replace(true)
        } else {
            match self.tasks.borrow_mut().get_mut(key) {
                Some(task) => std::mem::replace(&mut task.queued, true),
                None => return,
            }
        };
        if !queued {
            self.wakes.set(self.wakes.get() + 1);
            self.queue.borrow_mut().push_back(key);
        }
    }
}

impl Remote {
    fn wake(&self, key: Key) {
        let first = {
            let mut wakes = self.wakes.lock();
            let first = wakes.keys.is_empty() && !wakes.everyone;
            if wakes.keys.len() >= REMOTE_WAKES_MAX {
                wakes.keys.clear();
                wakes.everyone = true;
            }
            if !wakes.everyone && wakes.keys.last() != Some(&key) {
                wakes.keys.push(key);
            }
            first
        };
        if first {
            // Fails only when the counter is full, and then the thread is being woken already.
            let _ = rustix::io::write(&self.eventfd, &1_u64.to_ne_bytes());
        }
    }
}

/// Wakes a task from any thread. A task that is gone, or whose executor is, is left alone.
pub(crate) fn wake(id: TaskId) {
    let local = LOCAL.try_with(|all| {
        let Ok(all) = all.try_borrow() else { return false };
        let executor = all.iter().find(|executor| executor.id == id.executor);
        executor.inspect(|executor| executor.wake(id.key)).is_some()
    });
    if local == Ok(true) {
        return;
    }
    let remote = EXECUTORS.read().get(id.executor as usize).and_then(Clone::clone);
    if let Some(remote) = remote {
        remote.wake(id.key);
    }
}

fn register(remote: &Arc<Remote>) -> io::Result<u32> {
    let mut all = EXECUTORS.write();
    let free = all.iter().position(Option::is_none).unwrap_or(all.len());
    let id = u32::try_from(free).unwrap_or(u32::MAX);
    if id >= EXECUTORS_MAX {
        return Err(io::Error::other(format!("more than {EXECUTORS_MAX} reactors in one process")));
    }
    if free == all.len() {
        all.push(None);
    }
    all[free] = Some(Arc::clone(remote));
    Ok(id)
}

impl fmt::Debug for Executor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Executor")
            .field("id", &self.id)
            .field("tasks", &self.task_count())
            .finish_non_exhaustive()
    }
}

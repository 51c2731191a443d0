//! What stands in front of several proxies: passes whole exchanges on, each to the next of them in turn.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::{Backend, Request, WAIT, Wire};

/// What clients ask for to learn that requests have been held back and let go again.
const PASSED: &str = "/passed";

/// A relay with a connection of its own for each exchange. It can hold requests back, so that none is under way while
/// what is behind it is replaced. A client whose exchange breaks behind it sees its own connection closed.
#[derive(Debug)]
pub struct Relay {
    front: Backend,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    targets: Vec<SocketAddr>,
    turns: usize,
    held: bool,
    under_way: usize,
    /// Those of them that are polls of sessions.
    polls: usize,
    /// Clients that want to know when requests are let go again.
    waiting: usize,
    /// Requests were held back and are not any more.
    passed: bool,
}

impl Relay {
    /// Relays to these addresses in turn.
    ///
    /// # Panics
    /// If no port is free.
    #[must_use]
    pub fn start(targets: &[SocketAddr]) -> Self {
        let state = State { targets: targets.to_vec(), ..State::default() };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
        let for_script = Arc::clone(&shared);
        let front = Backend::start(move |request, wire| for_script.pass_on(request, wire));
        Self { front, shared }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.front.address()
    }

    /// Holds back what comes from now on and waits until nothing is under way.
    ///
    /// # Panics
    /// After [`WAIT`].
    pub fn hold(&self) {
        let mut state = self.shared.state.lock();
        state.held = true;
        let busy = self.shared.changed.wait_while_for(&mut state, |state| state.under_way > 0, WAIT);
        assert!(!busy.timed_out(), "{} exchanges do not end", state.under_way);
    }

    /// Waits until this many polls are under way, and holds back what comes then; they go on.
    ///
    /// # Panics
    /// After `limit`.
    pub fn hold_behind_polls(&self, count: usize, limit: Duration) {
        let mut state = self.shared.state.lock();
        let missing = self.shared.changed.wait_while_for(&mut state, |state| state.polls < count, limit);
        assert!(!missing.timed_out(), "{} of {count} polls", state.polls);
        state.held = true;
    }

    /// Waits until this many clients want to know when requests are let go again.
    ///
    /// # Panics
    /// After `limit`.
    pub fn wait_for_clients(&self, count: usize, limit: Duration) {
        let mut state = self.shared.state.lock();
        let missing = self.shared.changed.wait_while_for(&mut state, |state| state.waiting < count, limit);
        assert!(!missing.timed_out(), "{} of {count} clients", state.waiting);
    }

    /// Lets go what was held back, to these addresses.
    pub fn release(&self, targets: &[SocketAddr]) {
        let mut state = self.shared.state.lock();
        (state.targets, state.held, state.passed) = (targets.to_vec(), false, true);
        self.shared.changed.notify_all();
    }
}

impl Shared {
    fn pass_on(&self, request: &Request, wire: &mut Wire) {
        let target = request.head().target();
        if target == PASSED {
            let mut state = self.state.lock();
            state.waiting += 1;
            self.changed.notify_all();
            self.changed.wait_while(&mut state, |state| !state.passed);
            // Its client may have given up.
            let _ = wire.try_send("HTTP/1.1 204 No Content\r\n\r\n");
            return;
        }
        let is_poll = request.head().first_line().starts_with("GET ") && target.contains("sid=");
        let (under_way, behind) = UnderWay::begin(self, is_poll);
        let mut to_behind = Wire::try_connect(behind).ok();
        let sent = [&request.message.head.0[..], &request.message.raw_body].concat();
        let answer = to_behind.as_mut().and_then(|to_behind| to_behind.try_exchange(sent).ok());
        drop(under_way);
        match answer {
            // Its client may have given up.
            Some(answer) => drop(wire.try_send([&answer.head.0[..], &answer.raw_body].concat())),
            None => wire.close(),
        }
    }
}

/// One exchange, until this is dropped.
struct UnderWay<'a> {
    shared: &'a Shared,
    is_poll: bool,
}

impl<'a> UnderWay<'a> {
    /// Waits while requests are held back. Where it goes is told as well.
    fn begin(shared: &'a Shared, is_poll: bool) -> (Self, SocketAddr) {
        let mut state = shared.state.lock();
        shared.changed.wait_while(&mut state, |state| state.held);
        state.under_way += 1;
        state.polls += usize::from(is_poll);
        state.turns += 1;
        shared.changed.notify_all();
        (Self { shared, is_poll }, state.targets[state.turns % state.targets.len()])
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        let mut state = self.shared.state.lock();
        state.under_way -= 1;
        state.polls -= usize::from(self.is_poll);
        self.shared.changed.notify_all();
    }
}

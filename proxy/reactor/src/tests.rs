//! The reactor over real sockets on the loopback, on both engines. Where the kernel refuses the ring its half
//! is left out, with a line that says so.

mod descriptors;
mod ring;
mod sink;
mod sockets;
mod tasks;
mod timers;
mod transfer;

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::thread;
use std::time::{Duration, Instant};

use crate::{EngineChoice, NoSink, Reactor, RingRefusal, Sink, Socket};

/// A test that takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(20);

/// Runs `test` with each engine, each on a thread of its own: the kernel takes a closed ring down later, by
/// work that interrupts whatever the thread that had it waits for.
fn on_each_engine(test: impl Fn(&Reactor) + Sync) {
    for choice in [EngineChoice::Uring, EngineChoice::Epoll] {
        let ended = thread::scope(|scope| scope.spawn(|| on_engine(choice, &test)).join());
        if let Err(panic) = ended {
            std::panic::resume_unwind(panic);
        }
    }
}

fn on_engine(choice: EngineChoice, test: impl Fn(&Reactor)) {
    match Reactor::new(choice) {
        Ok((reactor, _)) => {
            test(&reactor);
            reactor.drop_tasks().unwrap();
        }
        Err(error) if is_refusal(&error) => eprintln!("left out: {error}"),
        Err(error) => panic!("{choice}: {error}"),
    }
}

fn is_refusal(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<RingRefusal>())
}

fn run<T>(reactor: &Reactor, future: impl Future<Output = T>) -> T {
    run_with(reactor, &NoSink, future)
}

fn run_with<T>(reactor: &Reactor, sink: &dyn Sink, future: impl Future<Output = T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    let output = reactor.run(reactor.timeout_at(Some(deadline), future), sink).unwrap().expect("hangs");
    // The deadline's own wake must not rescue a future that nobody else woke.
    assert!(Instant::now() < deadline, "hangs");
    output
}

/// Both ends of a connection; the first is non-blocking.
fn pair() -> (OwnedFd, TcpStream) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let other = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let ours = listener.accept().unwrap().0;
    ours.set_nonblocking(true).unwrap();
    other.set_read_timeout(Some(PATIENCE)).unwrap();
    other.set_write_timeout(Some(PATIENCE)).unwrap();
    (ours.into(), other)
}

fn socket_pair(reactor: &Reactor) -> (Socket, TcpStream) {
    let (ours, other) = pair();
    (Socket::register(reactor, ours).unwrap(), other)
}

fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

/// Names of the process' threads.
fn thread_names() -> Vec<String> {
    std::fs::read_dir("/proc/self/task")
        .unwrap()
        .filter_map(|thread| std::fs::read_to_string(thread.ok()?.path().join("comm")).ok())
        .collect()
}

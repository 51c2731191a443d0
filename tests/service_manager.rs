//! A service manager hears how the process does, gives it sockets, and keeps them while no process is there.
//!
//! Fails with systemd killing an upgraded process that lives, and with connections refused while a process that has
//! died is started again.
#![forbid(unsafe_code)]

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command};
use std::time::Duration;

use ringbolt_harness::raw::{Backend, Wire};
use ringbolt_harness::{Grandchild, Options, Ringbolt, own_address};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use rustix::process::Signal;
use tempfile::TempDir;

const LIMIT: Duration = Duration::from_secs(20);
const GET: &str = "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";

/// As systemd is to its services, with a folder of its own.
struct Manager {
    folder: TempDir,
    socket: UnixDatagram,
}

impl Manager {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let socket = UnixDatagram::bind(folder.path().join("notify")).expect("a free path");
        socket.set_read_timeout(Some(LIMIT)).expect("an option of an open socket");
        Self { folder, socket }
    }

    fn environment(&self) -> (String, String) {
        let path = self.folder.path().join("notify");
        ("NOTIFY_SOCKET".to_owned(), path.to_str().expect("text").to_owned())
    }

    /// What it is told next, and given with that. Life signs are left out.
    fn told(&self) -> (String, Vec<OwnedFd>) {
        loop {
            let mut state = [0; 4096];
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
            let mut ancillary = RecvAncillaryBuffer::new(&mut space);
            let mut bytes = [IoSliceMut::new(&mut state)];
            let received = recvmsg(&self.socket, &mut bytes, &mut ancillary, RecvFlags::CMSG_CLOEXEC);
            let length = received.expect("the service manager is told").bytes;
            let rights = |message| match message {
                RecvAncillaryMessage::ScmRights(fds) => fds.collect::<Vec<_>>(),
                _ => Vec::new(),
            };
            let fds = ancillary.drain().flat_map(rights).collect();
            let told = String::from_utf8_lossy(&state[..length]).into_owned();
            if told != "WATCHDOG=1" {
                return (told, fds);
            }
        }
    }

    fn hears(&self, wanted: &str) {
        assert_eq!(self.told().0, wanted);
    }

    /// It is to keep the socket of a listener.
    fn keeps(&self, address: SocketAddr) -> OwnedFd {
        let (told, mut fds) = self.told();
        assert_eq!((told, fds.len()), (format!("FDSTORE=1\nFDNAME={}", name(address)), 1));
        fds.remove(0)
    }

    fn lets_go_of(&self, address: SocketAddr) {
        self.hears(&format!("FDSTOREREMOVE=1\nFDNAME={}", name(address)));
    }

    /// Starts the daemon with a socket that is bound already.
    fn start_with(&self, socket: OwnedFd, config: &str) -> Service {
        let file = self.folder.path().join("ringbolt.toml");
        let folder = self.folder.path().to_str().expect("text");
        std::fs::write(&file, config.replace("FOLDER", folder)).expect("a configuration");
        // Descriptor 3 is the first of a service manager's.
        let start = "LISTEN_FDS=1 LISTEN_PID=$$ exec \"$@\" 3<&0 </dev/null";
        let mut command = Command::new("sh");
        command.args(["-c", start, "sh", env!("CARGO_BIN_EXE_ringbolt"), "run", "--workers", "2"]);
        command.args(["--admin", "off", "-c"]).arg(&file).stdin(socket);
        command.envs([self.environment(), ("WATCHDOG_USEC".to_owned(), "400000".to_owned())]);
        let child = command.spawn().expect("the daemon starts");
        Service { process: Grandchild::find(child.id()).expect("it runs"), child }
    }
}

/// A daemon that the manager has started. Dropping it kills it.
struct Service {
    process: Grandchild,
    child: Child,
}

impl Drop for Service {
    fn drop(&mut self) {
        self.process.signal(Signal::KILL);
        let _ = self.child.wait();
    }
}

fn name(address: SocketAddr) -> String {
    address.to_string().replace(':', "_")
}

fn listening(address: SocketAddr, backend: &Backend) -> String {
    let backend = backend.address();
    format!(
        "[admin]\nsocket = \"FOLDER/admin.sock\"\n[[listener]]\naddress = \"{address}\"\n\
         [upstream.a]\nbackends = [\"{backend}\"]\n"
    )
}

#[test]
fn it_follows_an_upgrade() {
    let (manager, backend) = (Manager::start(), Backend::named("a"));
    let mut ringbolt = Ringbolt::start(&Options {
        config: Some(listening(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), &backend)),
        environment: vec![manager.environment()],
        ..Options::new(env!("CARGO_BIN_EXE_ringbolt"), &[])
    });
    ringbolt.upgrade();
    ringbolt.former_ends();
    let mut told = [(); 3].map(|()| manager.told().0);
    told.sort_unstable();
    let expected = [
        format!("MAINPID={}\nREADY=1\nSTATUS=upgraded", ringbolt.pid()),
        "READY=1\nSTATUS=serving".to_owned(),
        "READY=1\nSTATUS=serving".to_owned(),
    ];
    assert_eq!(told, expected);
    manager.socket.set_nonblocking(true).expect("an option of an open socket");
    let more = manager.socket.recv(&mut [0; 4096]);
    assert!(more.is_err(), "nobody says that the service stops");
}

/// It has bound the port, and hears that the process lives.
#[test]
fn its_sockets_are_used_and_its_watchdog_is_fed() {
    let (manager, backend) = (Manager::start(), Backend::named("a"));
    let bound = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = bound.local_addr().expect("a bound socket");
    let _service = manager.start_with(OwnedFd::from(bound), &listening(address, &backend));
    manager.hears("READY=1\nSTATUS=serving");
    assert_eq!(Wire::connect(address).exchange(GET).text(), "a");
    let mut state = [0; 4096];
    let length = manager.socket.recv(&mut state).expect("a sign of life");
    assert_eq!(&state[..length], b"WATCHDOG=1");
}

#[test]
fn it_keeps_the_ports_of_a_process_that_dies_and_of_no_other() {
    let (manager, backend) = (Manager::start(), Backend::named("a"));
    let [first, second, third] = [(); 3].map(|()| own_address());
    let mut ringbolt = Ringbolt::start(&Options {
        config: Some(listening(first, &backend)),
        workers: 1,
        environment: vec![manager.environment()],
        ..Options::new(env!("CARGO_BIN_EXE_ringbolt"), &[])
    });
    drop(manager.keeps(first));
    manager.hears("READY=1\nSTATUS=serving");

    ringbolt.configure(&listening(second, &backend));
    assert_eq!(ringbolt.order(&["reload"]).0, Some(0));
    assert!(manager.told().0.starts_with("RELOADING=1"));
    drop(manager.keeps(second));
    manager.lets_go_of(first);
    assert!(manager.told().0.starts_with("READY=1"));

    // A new process knows what is kept already.
    ringbolt.upgrade();
    ringbolt.former_ends();
    let mut told = [(); 2].map(|()| manager.told().0);
    told.sort_unstable();
    assert!(told[0].starts_with("MAINPID=") && told[1].starts_with("READY=1"), "{told:?}");
    ringbolt.configure(&listening(third, &backend));
    ringbolt.upgrade();
    ringbolt.former_ends();
    let mut told = [(); 4].map(|()| manager.told());
    told.sort_unstable_by(|one, other| one.0.cmp(&other.0));
    let [(stored, mut kept), (removed, _), (main, _), (ready, _)] = told;
    let expected =
        [format!("FDSTORE=1\nFDNAME={}", name(third)), format!("FDSTOREREMOVE=1\nFDNAME={}", name(second))];
    assert_eq!([stored, removed], expected);
    assert!(main.starts_with("MAINPID=") && ready.starts_with("READY=1"), "{main} {ready}");

    ringbolt.signal(Signal::KILL);
    let mut waits = Wire::connect(third);
    waits.send(GET);
    let spare = kept[0].try_clone().expect("a descriptor");
    let mut restarted = manager.start_with(kept.remove(0), &listening(third, &backend));
    manager.hears("READY=1\nSTATUS=serving");
    assert_eq!(waits.read_response().text(), "a");
    waits.close();
    restarted.process.signal(Signal::TERM);
    manager.lets_go_of(third);
    assert!(manager.told().0.starts_with("STOPPING=1"));
    assert!(restarted.child.wait().expect("it ends").success());

    // Whoever comes back with another configuration has no use for it.
    let _elsewhere = manager.start_with(spare, &listening(first, &backend));
    drop(manager.told());
    manager.lets_go_of(third);
}

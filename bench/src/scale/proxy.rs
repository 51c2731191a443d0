//! One proxy process with a configuration made for very many tunnels: many backend addresses, one worker.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs};

use tempfile::TempDir;

use crate::cores::{self, Cores};
use crate::proc;

/// The proxy's executable, beside this program.
pub(super) const NAME: &str = "ringbolt";

/// How long it may take to listen. An emulated processor takes seconds.
const READY_TIMEOUT: Duration = Duration::from_secs(60);
/// Between two looks.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);
/// Timeouts of the proxy for connections that are being opened: an emulated processor may be stopped for minutes.
const WAIT: &str = "1h";
/// Connections beside the tunnels: those that are looked for and closed at once.
const CONNECTIONS_SPARE: usize = 1000;
/// Tunnels to one address, of the local ports there are. The kernel looks for a port among one half of them first, and
/// connecting gets slow when that is used up; the rest of it is for uneven placement, and for a group of tunnels that
/// are opened together.
const PORTS_USED_PERCENT: usize = 25;

/// A running proxy. Ended when dropped.
#[derive(Debug)]
pub(super) struct Proxy {
    child: Child,
    /// Where clients connect, each address good for its share of the tunnels.
    addresses: Vec<SocketAddr>,
    tunnels_per_address: usize,
    _folder: TempDir,
}

impl Proxy {
    /// Starts it for this many tunnels to the origin at `origin_port` of any loopback address.
    pub(super) fn start(tunnels: usize, origin_port: u16, on: Cores) -> Result<Self, String> {
        let folder = TempDir::with_prefix("ringbolt-bench-")
            .map_err(|error| format!("no temporary folder: {error}"))?;
        let port = free_port().map_err(|error| format!("no free port: {error}"))?;
        let tunnels_per_address = local_ports()? * PORTS_USED_PERCENT / 100;
        let count = tunnels.div_ceil(tunnels_per_address).max(1);
        let path = folder.path().join("ringbolt.toml");
        fs::write(&path, configuration(tunnels + CONNECTIONS_SPARE, port, origin_port, count))
            .map_err(|error| format!("cannot write {}: {error}", path.display()))?;
        // Ends the proxy when this program ends in whatever way.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(program()?).arg("run").arg("-c").arg(&path);
        // Huge pages hide growth of up to 2 MiB in the first page that is touched.
        command.env("MIMALLOC_ALLOW_THP", "0").stdin(Stdio::null());
        // The child inherits the core of the thread that starts it.
        cores::pin(on.proxy)?;
        let started = command.spawn();
        cores::pin(on.load)?;
        let child = started.map_err(|error| format!("cannot start the proxy: {error}"))?;
        let addresses = (0..count).map(|index| SocketAddr::from((address(2, index), port))).collect();
        let mut proxy = Self { child, addresses, tunnels_per_address, _folder: folder };
        proxy.wait_until_ready()?;
        Ok(proxy)
    }

    fn wait_until_ready(&mut self) -> Result<(), String> {
        let deadline = Instant::now() + READY_TIMEOUT;
        while Instant::now() < deadline {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(format!("the proxy ended with {status}"));
            }
            if TcpStream::connect(self.addresses[0]).is_ok() {
                return Ok(());
            }
            std::thread::sleep(LOOK_INTERVAL);
        }
        Err(format!("the proxy does not listen after {} s", READY_TIMEOUT.as_secs()))
    }

    pub(super) fn processes(&self) -> Vec<u32> {
        proc::tree(self.child.id())
    }

    /// Where the tunnel with this number connects to, and a few thousand after it.
    pub(super) fn address(&self, tunnel: usize) -> SocketAddr {
        self.addresses[(tunnel / self.tunnels_per_address).min(self.addresses.len() - 1)]
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // Not SIGTERM, on which it would drain.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn program() -> Result<PathBuf, String> {
    let own = env::current_exe().map_err(|error| format!("cannot find my own executable: {error}"))?;
    Ok(own.with_file_name(NAME))
}

fn configuration(connections: usize, port: u16, origin_port: u16, backends: usize) -> String {
    let backends: Vec<String> =
        (0..backends).map(|index| format!("\"{}:{origin_port}\"", address(1, index))).collect();
    format!(
        "[[listener]]\naddress = \"0.0.0.0:{port}\"\n\
         [upstream.origin]\nbackends = [{}]\n\
         [timeouts]\nconnect = \"{WAIT}\"\nrequest_head = \"{WAIT}\"\nkeep_alive = \"{WAIT}\"\nresponse = \"{WAIT}\"\n\
         [workers]\ncount = 1\n[admin]\naddress = \"off\"\n[log]\nlevel = \"warn\"\n\
         [limits]\nconnections = {connections}\n",
        backends.join(", ")
    )
}

/// An address of loopback, all of which is this machine.
fn address(group: u8, index: usize) -> Ipv4Addr {
    let [.., high, low] = (index + 1).to_be_bytes();
    Ipv4Addr::new(127, group, high, low)
}

fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0))?.local_addr()?.port())
}

/// Ports for outgoing connections to one address.
fn local_ports() -> Result<usize, String> {
    let path = "/proc/sys/net/ipv4/ip_local_port_range";
    let text = fs::read_to_string(path).map_err(|error| format!("cannot read {path}: {error}"))?;
    let numbers: Vec<usize> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    match numbers[..] {
        [low, high] if low <= high => Ok(high - low + 1),
        _ => Err(format!("{path}: not understood: {text:?}")),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_backend_has_an_address_of_its_own() {
        let text = configuration(7, 80, 81, 300);
        let backends: BTreeSet<&str> = text.split('"').filter(|word| word.ends_with(":81")).collect();
        assert_eq!(backends.len(), 300);
        assert!(text.contains("connections = 7\n") && text.contains("address = \"0.0.0.0:80\""), "{text}");
        assert!(backends.contains("127.1.0.1:81") && !backends.contains("127.1.0.0:81"), "{text}");
    }
}

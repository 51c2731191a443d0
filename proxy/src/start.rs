//! Why the daemon did not start, in words that say what to change.

use std::fmt;
use std::io;
use std::net::SocketAddr;

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, ipproto, socket_with, sockopt};

/// A start that failed: the sentence for the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StartError(String);

impl StartError {
    /// Any other cause, in words.
    pub(crate) fn new(sentence: impl Into<String>) -> Self {
        Self(sentence.into())
    }

    /// `address` could not be bound. `key` is where it is configured.
    pub(crate) fn bind(key: &str, address: SocketAddr, error: &io::Error) -> Self {
        let port = address.port();
        let advice = match error.kind() {
            io::ErrorKind::AddrInUse => {
                format!("another socket holds the port; see which: ss -ltnp 'sport = :{port}'")
            }
            io::ErrorKind::PermissionDenied => format!(
                "port {port} is privileged; give the process CAP_NET_BIND_SERVICE \
                 (AmbientCapabilities=CAP_NET_BIND_SERVICE in a systemd unit), \
                 or lower the bound: sysctl net.ipv4.ip_unprivileged_port_start={port}"
            ),
            io::ErrorKind::AddrNotAvailable => "this machine has no such address; see which it has: \
                 ip -brief address (an address that comes later: sysctl net.ipv4.ip_nonlocal_bind=1)"
                .to_owned(),
            _ => error.to_string(),
        };
        Self(format!("{key}: cannot listen on {address}: {advice}"))
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for StartError {}

/// Makes sure that no other process listens on `address`.
///
/// Workers bind with SO_REUSEPORT, which lets a second daemon of the same user join in silently: each
/// would get half of the connections. Binding once without it tells. Nothing listens meanwhile.
///
/// # Errors
///
/// The address cannot be bound.
pub(crate) fn claim(key: &str, address: SocketAddr) -> Result<(), StartError> {
    if address.port() == 0 {
        return Ok(());
    }
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let attempt = || -> rustix::io::Result<()> {
        let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, Some(ipproto::TCP))?;
        // Connections of an earlier run in TIME_WAIT do not count.
        sockopt::set_socket_reuseaddr(&socket, true)?;
        bind(&socket, &address)
    };
    attempt().map_err(|error| StartError::bind(key, address, &error.into()))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_taken_port_says_how_to_see_by_whom() {
        let holder = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = holder.local_addr().unwrap();
        let told = claim("listener.address", address).expect_err("is taken").to_string();
        let port = address.port();
        let expected = format!(
            "listener.address: cannot listen on {address}: another socket holds the port; \
             see which: ss -ltnp 'sport = :{port}'"
        );
        assert_eq!(told, expected);
        drop(holder);
        assert_eq!(claim("listener.address", address), Ok(()));
        assert_eq!(claim("listener.address", "127.0.0.1:0".parse().unwrap()), Ok(()));
    }

    #[test]
    fn a_reuseport_listener_of_another_process_is_noticed() {
        let holder =
            socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
        sockopt::set_socket_reuseport(&holder, true).unwrap();
        bind(&holder, &"127.0.0.1:0".parse::<SocketAddr>().unwrap()).unwrap();
        rustix::net::listen(&holder, 1).unwrap();
        let address = SocketAddr::try_from(rustix::net::getsockname(&holder).unwrap()).unwrap();
        assert!(claim("listener.address", address).is_err());
    }

    #[test]
    fn other_causes_say_what_to_change() {
        let bind = |error: rustix::io::Errno| {
            StartError::bind("a", "10.1.2.3:80".parse().unwrap(), &error.into()).to_string()
        };
        assert!(bind(rustix::io::Errno::ACCESS).contains("ip_unprivileged_port_start=80"));
        assert!(bind(rustix::io::Errno::ADDRNOTAVAIL).contains("ip -brief address"));
        assert!(bind(rustix::io::Errno::MFILE).contains("open files"));
    }
}

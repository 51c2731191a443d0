//! Texts of single values: durations, sizes, addresses, names.
//!
//! Each function takes what the operator wrote and gives the value or a sentence that says what is
//! wrong with it and shows a valid text. The command line uses the same ones.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use super::bounds::{NAME_BYTES_MAX, SOCKET_PATH_BYTES_MAX, TIMEOUT_MAX};

/// A duration above zero: a whole number and one of `ms`, `s`, `m`, `h`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    match duration_or_zero(text)? {
        Duration::ZERO => Err(format!(r#""{text}" is zero; the shortest is "1ms""#)),
        duration => Ok(duration),
    }
}

/// A duration that may be zero.
pub(crate) fn duration_or_zero(text: &str) -> Result<Duration, String> {
    let (number, unit) = number_and_unit(text);
    let millis_per_unit = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60 * 1000,
        "h" => 3600 * 1000,
        _ => {
            return Err(format!(
                r#""{text}" is no duration; write a whole number and ms, s, m or h, for example "250ms", "10s" or "5m""#
            ));
        }
    };
    number
        .and_then(|number| number.checked_mul(millis_per_unit))
        .map(Duration::from_millis)
        .filter(|duration| *duration <= TIMEOUT_MAX)
        .ok_or_else(|| format!(r#""{text}" is too long; the longest is "720h" (30 days)"#))
}

/// A number of bytes: a whole number, alone or with one of `KiB`, `MiB`, `GiB`.
pub(crate) fn bytes(text: &str) -> Result<u64, String> {
    let (number, unit) = number_and_unit(text);
    let shift = match unit {
        "" | "B" if number.is_some() => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        "KB" | "kB" | "K" | "k" | "MB" | "M" | "m" | "GB" | "G" | "g" => {
            return Err(format!(
                r#""{text}": the unit {unit} means 1000 to some and 1024 to others; write KiB, MiB or GiB (1 KiB is 1024 bytes)"#
            ));
        }
        _ => {
            return Err(format!(
                r#""{text}" is no size; write a whole number and KiB, MiB or GiB, for example "32KiB", or bytes without a unit"#
            ));
        }
    };
    number
        .and_then(|number| number.checked_mul(1 << shift))
        .ok_or_else(|| format!(r#""{text}" is larger than any memory"#))
}

/// Splits `10s` into 10 and `s`. The number is `None` when it is too large; a missing number leaves
/// a unit that no caller knows.
fn number_and_unit(text: &str) -> (Option<u64>, &str) {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    if digits == 0 {
        return (None, if text.is_empty() { "?" } else { text });
    }
    let (number, unit) = text.split_at(digits);
    (number.parse().ok(), unit.trim_start_matches(' '))
}

/// An address to listen on: IP and port, port 0 lets the kernel choose. `localhost` is 127.0.0.1.
pub(crate) fn listen_address(text: &str) -> Result<SocketAddr, String> {
    let problem = match socket_address(text) {
        Ok(address) => return Ok(address),
        Err(problem) => problem,
    };
    Err(match problem {
        AddressProblem::NoPort => {
            format!(r#""{text}" has no port; write IP and port, for example "0.0.0.0:8080""#)
        }
        AddressProblem::BadPort => format!(r#""{text}": the port is a number from 0 to 65535"#),
        AddressProblem::NoIp => format!(
            r#""{text}" is no address to listen on; write IP and port, for example "0.0.0.0:8080" or "[::]:8080""#
        ),
    })
}

/// A backend's address: IP and port. `localhost` is 127.0.0.1.
pub(crate) fn backend_address(text: &str) -> Result<SocketAddr, String> {
    match socket_address(text) {
        Ok(address) if address.port() == 0 => {
            Err(format!(r#""{text}": nothing listens on port 0; write the backend's port"#))
        }
        Ok(address) => Ok(address),
        Err(AddressProblem::NoPort) => {
            Err(format!(r#""{text}" has no port; write IP and port, for example "10.0.0.1:3000""#))
        }
        Err(AddressProblem::BadPort) => Err(format!(r#""{text}": the port is a number from 1 to 65535"#)),
        Err(AddressProblem::NoIp) => Err(format!(
            r#""{text}" is no IP address and port such as "10.0.0.1:3000" or "[fd00::1]:3000" (of names only "localhost" is known here)"#
        )),
    }
}

/// How a backend is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reached {
    At(SocketAddr),
    /// Where DNS says, at this port.
    Through(String, u16),
}

/// How a backend is reached, and whether it is behind `https://`.
pub(crate) fn backend_url(text: &str) -> Result<(bool, Reached), String> {
    let (tls, address) = match text.strip_prefix("https://") {
        Some(address) => (true, address),
        None => (false, text.strip_prefix("http://").unwrap_or(text)),
    };
    if let Err(AddressProblem::NoIp) = socket_address(address)
        && let Some((host, port)) = address.rsplit_once(':')
        && !host.contains([':', '['])
    {
        let port = port.parse().ok().filter(|port| *port != 0 && address.as_bytes()[host.len() + 1] != b'+');
        let port = port.ok_or_else(|| format!(r#""{text}": the port is a number from 1 to 65535"#))?;
        return Ok((tls, Reached::Through(dns_name(host)?, port)));
    }
    Ok((tls, Reached::At(backend_address(address)?)))
}

/// A name to look up, in lower case (RFC 1035 section 2.3.4: 253 characters, labels of 63).
pub(crate) fn dns_name(text: &str) -> Result<String, String> {
    let name = text.strip_suffix('.').unwrap_or(text);
    let is_label = |label: &str| {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        (1..=63).contains(&label.len()) && label.bytes().all(allowed)
    };
    // A last label of digits is half an IP address.
    let is_number = |label: &str| label.bytes().all(|byte| byte.is_ascii_digit());
    if name.len() > 253 || !name.split('.').all(is_label) || name.rsplit('.').next().is_none_or(is_number) {
        return Err(format!(
            r#""{text}" is neither an IP address nor a name to look up, such as "chat.example.com""#
        ));
    }
    Ok(text.to_ascii_lowercase())
}

enum AddressProblem {
    NoPort,
    BadPort,
    NoIp,
}

fn socket_address(text: &str) -> Result<SocketAddr, AddressProblem> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    if text.parse::<std::net::IpAddr>().is_ok() {
        return Err(AddressProblem::NoPort);
    }
    let (host, port) = text.rsplit_once(':').ok_or(AddressProblem::NoPort)?;
    let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    match (host, port.parse::<u16>()) {
        ("localhost", Ok(port)) if digits => Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, port))),
        (host, Err(_)) if host == "localhost" || host.parse::<Ipv4Addr>().is_ok() || host.ends_with(']') => {
            Err(AddressProblem::BadPort)
        }
        _ => Err(AddressProblem::NoIp),
    }
}

/// Path of a unix socket.
pub(crate) fn socket_path(text: &str) -> Result<PathBuf, String> {
    if !text.starts_with('/') {
        return Err(format!(r#""{text}" is no absolute path; write for example "/run/ringbolt/admin.sock""#));
    }
    if text.len() > SOCKET_PATH_BYTES_MAX {
        return Err(format!(
            "the path is longer than {SOCKET_PATH_BYTES_MAX} bytes, which no socket's may be"
        ));
    }
    Ok(PathBuf::from(text))
}

/// Name of an upstream or a backend: it stands in cookies, log lines and URLs of the admin address.
pub(crate) fn name(text: &str) -> Result<String, String> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:[]".contains(&byte);
    if text.is_empty() || !text.bytes().all(allowed) {
        return Err(format!(r#""{text}" is no name; use letters, digits, "-", "_", "." and ":""#));
    }
    if text.len() > NAME_BYTES_MAX {
        return Err(format!("the name is longer than {NAME_BYTES_MAX} bytes"));
    }
    Ok(text.to_owned())
}

/// Name of a user or a group, or its number.
pub(crate) fn account(text: &str) -> Result<String, String> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.$".contains(&byte);
    if text.is_empty() || text.len() > NAME_BYTES_MAX || !text.bytes().all(allowed) {
        return Err(format!(r#""{text}" is no name of a user or group; write for example "ringbolt""#));
    }
    Ok(text.to_owned())
}

/// Host of a route, in lower case: a name, an IPv4 address or an IPv6 address in brackets, no port.
pub(crate) fn host(text: &str) -> Result<String, String> {
    let example = r#"write for example "chat.example.com""#;
    if let Some(address) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return match address.parse::<std::net::Ipv6Addr>() {
            Ok(address) => Ok(format!("[{address}]")),
            Err(_) => Err(format!(r#""{text}" is no IPv6 address in brackets"#)),
        };
    }
    if text.contains(':') {
        return Err(format!(r#""{text}": a route's host has no port, any port matches; {example}"#));
    }
    let name = text.strip_prefix("*.").unwrap_or(text);
    if name.contains('*') {
        return Err(format!(
            r#""{text}": a star stands only for the first labels, as in "*.example.com"; leave host out to match every host"#
        ));
    }
    if !text.is_ascii() {
        return Err(format!(r#""{text}": write the name as browsers send it, in its xn-- form"#));
    }
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if name.is_empty() || !name.bytes().all(allowed) {
        return Err(format!(r#""{text}" is no host name; {example}"#));
    }
    Ok(text.to_ascii_lowercase())
}

/// Path prefix of a route.
pub(crate) fn path(text: &str) -> Result<String, String> {
    if !text.starts_with('/') {
        return Err(format!(r#""{text}" does not begin with "/"; write for example "/socket.io/""#));
    }
    if text.contains(['?', '#']) {
        return Err(format!(r#""{text}": a path has no query and no fragment"#));
    }
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(format!(r#""{text}": write the path as clients send it, percent-encoded"#));
    }
    Ok(text.to_owned())
}

/// Finds `text` among named values.
pub(crate) fn choice<T: Copy>(text: &str, choices: &[(&str, T)]) -> Result<T, String> {
    choices.iter().find(|(name, _)| *name == text).map(|(_, value)| *value).ok_or_else(|| {
        let names: Vec<String> = choices.iter().map(|(name, _)| format!(r#""{name}""#)).collect();
        format!(r#""{text}" is not valid here; it is one of {}"#, names.join(", "))
    })
}

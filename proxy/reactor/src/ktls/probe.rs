//! What the kernel can do of kTLS, found out by trying on a connection of our own.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};

use super::{TlsCipher, TlsDirection, TlsVersion, TrafficKeys, attach, install_keys};

const CIPHERS: [TlsCipher; 3] = [TlsCipher::Aes128Gcm, TlsCipher::Aes256Gcm, TlsCipher::Chacha20Poly1305];

/// What the kernel offers.
#[derive(Debug, Default)]
pub struct KtlsSupport {
    tls12: [bool; 3],
    tls13: [bool; 3],
    /// Keys can be changed: Linux 6.14. Without it a connection whose client updates its key must be closed.
    pub key_update: bool,
    /// Why there is nothing at all.
    pub refusal: Option<io::Error>,
}

impl KtlsSupport {
    /// Whether records of this kind can be the kernel's, both ways.
    #[must_use]
    pub fn has(&self, version: TlsVersion, cipher: TlsCipher) -> bool {
        let known = match version {
            TlsVersion::Tls12 => self.tls12,
            TlsVersion::Tls13 => self.tls13,
        };
        known[cipher as usize]
    }

    /// Whether there is anything.
    #[must_use]
    pub fn is_offered(&self) -> bool {
        self.tls12.contains(&true) || self.tls13.contains(&true)
    }
}

impl fmt::Display for KtlsSupport {
    /// One line for an operator: what there is, or why there is nothing and how to change that.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(error) = &self.refusal {
            // Only a process that may load modules makes the kernel load this one.
            let cure = match error.raw_os_error() {
                Some(libc::ENOENT) => "; `modprobe tls`, where the kernel has CONFIG_TLS",
                _ => "",
            };
            return write!(f, "refused ({error}){cure}");
        }
        let mut separator = "";
        for version in [TlsVersion::Tls13, TlsVersion::Tls12] {
            for cipher in CIPHERS {
                if self.has(version, cipher) {
                    write!(f, "{separator}{version:?} {cipher:?}")?;
                    separator = ", ";
                }
            }
        }
        f.write_str(if self.key_update { "; with key update" } else { "; no key update (Linux 6.14)" })
    }
}

/// Tries every cipher on connections over the loopback, which are closed again.
#[must_use]
pub fn probe_ktls() -> KtlsSupport {
    let mut support = KtlsSupport::default();
    match try_all(&mut support) {
        Ok(()) => support,
        Err(error) => KtlsSupport { refusal: Some(error), ..KtlsSupport::default() },
    }
}

fn try_all(support: &mut KtlsSupport) -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let mut refusal = None;
    for cipher in CIPHERS {
        for version in [TlsVersion::Tls12, TlsVersion::Tls13] {
            // The kernel wants a connection that is established, and takes keys of one version only.
            let socket = TcpStream::connect(listener.local_addr()?)?;
            attach(socket.as_fd())?;
            let taken = install_both(socket.as_fd(), version, cipher);
            match version {
                TlsVersion::Tls12 => support.tls12[cipher as usize] = taken.is_ok(),
                TlsVersion::Tls13 => {
                    support.tls13[cipher as usize] = taken.is_ok();
                    support.key_update |=
                        taken.is_ok() && install_both(socket.as_fd(), version, cipher).is_ok();
                }
            }
            refusal = refusal.or(taken.err());
        }
    }
    match refusal {
        Some(error) if !support.is_offered() => Err(error),
        _ => Ok(()),
    }
}

/// With keys that protect nothing: nothing is sent.
fn install_both(fd: BorrowedFd<'_>, version: TlsVersion, cipher: TlsCipher) -> io::Result<()> {
    let zeros = [0; 32];
    let keys =
        zeros.get(..cipher.key_bytes()).and_then(|key| TrafficKeys::new(version, cipher, key, [0; 12], 0));
    let keys = keys.ok_or(io::ErrorKind::InvalidInput)?;
    install_keys(fd, TlsDirection::Receive, &keys)?;
    install_keys(fd, TlsDirection::Transmit, &keys)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_probe_finds_ciphers_or_says_why_there_are_none() {
        let support = probe_ktls();
        assert_eq!(support.is_offered(), support.refusal.is_none());
        let text = support.to_string();
        assert!(text.contains(if support.is_offered() { "key update" } else { "refused" }), "{text}");
    }

    #[test]
    fn the_line_for_the_operator_names_what_there_is() {
        let support =
            KtlsSupport { tls12: [true, false, false], tls13: [true, false, true], ..KtlsSupport::default() };
        assert_eq!(
            support.to_string(),
            "Tls13 Aes128Gcm, Tls13 Chacha20Poly1305, Tls12 Aes128Gcm; no key update (Linux 6.14)"
        );
        let refused = KtlsSupport {
            refusal: Some(io::Error::from_raw_os_error(libc::ENOENT)),
            ..KtlsSupport::default()
        };
        assert!(refused.to_string().contains("modprobe tls"));
    }
}

//! The checks, in the order they run: what later ones rely on comes first.

mod close;
mod kernel_pair;
mod key_update;
mod receive;
mod rustls_client;
mod splice;

use ringbolt_reactor::{KtlsSupport, TlsCipher, TlsVersion};

/// See `main`.
pub(crate) type Check = fn(&KtlsSupport);

pub(crate) const ALL: [(&str, Check); 7] = [
    ("both ends the kernel's, every cipher", kernel_pair::run),
    ("a client of rustls, every cipher, with tickets", rustls_client::run),
    ("bytes that came before the keys", rustls_client::early),
    ("splice from and to a connection", splice::run),
    ("receives and sends of the ring", receive::run),
    ("key update", key_update::run),
    ("all bytes arrive before the end", close::run),
];

/// Every version and cipher.
pub(crate) const KINDS: [(TlsVersion, TlsCipher); 6] = [
    (TlsVersion::Tls13, TlsCipher::Aes128Gcm),
    (TlsVersion::Tls13, TlsCipher::Aes256Gcm),
    (TlsVersion::Tls13, TlsCipher::Chacha20Poly1305),
    (TlsVersion::Tls12, TlsCipher::Aes128Gcm),
    (TlsVersion::Tls12, TlsCipher::Aes256Gcm),
    (TlsVersion::Tls12, TlsCipher::Chacha20Poly1305),
];

/// The alert at the end of a stream (RFC 8446 section 6.1).
pub(crate) const CLOSE_NOTIFY: [u8; 2] = [1, 0];

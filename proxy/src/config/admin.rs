//! `[admin]`: where the process tells how it is, and who may give it orders.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use super::bounds::{TOKEN_BYTES_MAX, TOKEN_BYTES_MIN};
use super::section::{Section, boolean, or_off, text};
use super::{Config, Listener, value};

/// `admin.address`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Admin {
    pub(crate) address: SocketAddr,
}

/// `admin.token_file`: orders are taken over `admin.address` too, from who knows what it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OrderToken {
    pub(crate) file: PathBuf,
    /// Also where the address is not loopback, and the token goes over a network as it is.
    pub(crate) in_clear: bool,
    /// Empty until the file was read, which [`Config::load`] does.
    pub(crate) secret: Secret,
}

/// What is never shown.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Secret(pub(crate) Vec<u8>);

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret")
    }
}

impl Secret {
    /// The line that is all of a file. `None`: there is none of such a length, of such bytes.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(super) fn line(
        file: &Path,
        lengths: RangeInclusive<usize>,
        is_fine: impl Fn(u8) -> bool,
    ) -> Result<Option<Self>, String> {
        // With its end.
        let bytes = super::beginning(file, *lengths.end() as u64 + 2)?;
        let line = bytes.trim_ascii();
        let is_line = line.iter().all(|byte| is_fine(*byte)) && lengths.contains(&line.len());
        Ok(is_line.then(|| Self(line.to_vec())))
    }
}

impl Default for Admin {
    fn default() -> Self {
        Self { address: SocketAddr::from((Ipv4Addr::LOCALHOST, 9180)) }
    }
}

impl OrderToken {
    /// Whether the token may be sent to this address.
    pub(crate) fn fits(&self, admin: Option<Admin>) -> bool {
        self.in_clear || admin.is_none_or(|admin| admin.address.ip().is_loopback())
    }

    fn read(&mut self) -> Result<(), String> {
        let line =
            Secret::line(&self.file, TOKEN_BYTES_MIN..=TOKEN_BYTES_MAX, |byte| byte.is_ascii_graphic())?;
        self.secret = line.ok_or_else(|| {
            format!(
                "holds no token: one line of {TOKEN_BYTES_MIN} to {TOKEN_BYTES_MAX} visible ASCII characters; \
                 make one by `openssl rand -hex 32`"
            )
        })?;
        Ok(())
    }
}

impl Config {
    /// Reads the token that is in a file of its own.
    pub(super) fn read_order_token(&mut self) -> Result<(), String> {
        let Some(token) = &mut self.order_token else { return Ok(()) };
        token.read().map_err(|problem| format!("admin.token_file: {} {problem}", token.file.display()))
    }

    /// Why the token must not be sent to `admin.address`, if that is so.
    pub(crate) fn token_problem(&self) -> Option<&'static str> {
        let fits = self.order_token.as_ref().is_none_or(|token| token.fits(self.admin));
        (!fits).then_some(
            "the token would go over a network in plain text: `admin.address` is not loopback; \
             `token_in_clear = true` allows it",
        )
    }
}

/// Reads the section.
pub(super) fn admin(mut section: Section<'_>, listeners: &[Listener], base: &Path) -> Config {
    let address = or_off(text(r#"an address such as "127.0.0.1:9180""#, value::listen_address));
    let admin = match section.read("address", address) {
        Some(address) => address.map(|address| Admin { address }),
        None => Some(Admin::default()),
    };
    let address = admin.map(|admin| admin.address).filter(|address| address.port() != 0);
    if let Some(address) = address
        && listeners.iter().any(|listener| listener.address == address)
    {
        section.problem("address", format!("{address} is the address of a listener as well"));
    }
    let path = text(r#"a path such as "/run/ringbolt/admin.sock""#, value::socket_path);
    let admin_socket = section.read("socket", or_off(path)).flatten();
    let file = section.read("token_file", text("a path", |path| Ok(base.join(path))));
    let in_clear = section.read("token_in_clear", boolean).unwrap_or(false);
    let order_token = file.map(|file| OrderToken { file, in_clear, secret: Secret::default() });
    let config = Config { admin, admin_socket, order_token, ..Config::empty() };
    if let Some(problem) = config.token_problem() {
        section.problem("token_file", problem);
    }
    section.finish();
    config
}

//! Gives up every privilege that serving does not need: once the ports are bound, before any thread starts.
//!
//! Who takes the process over then has an unprivileged user's rights and no way to more. Everything is read
//! back: a process that keeps more than it should does not serve. Threads have credentials of their own in Linux
//! and inherit them, so the order matters.

use std::fs;

use nix::unistd::{Group, User};
use rustix::io;
use rustix::process::{getgid, getuid};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, capability_is_in_bounding_set, clear_ambient_capability_set,
    configure_capability_in_ambient_set, no_new_privs, remove_capability_from_bounding_set, set_capabilities,
    set_keep_capabilities, set_no_new_privs, set_thread_groups, set_thread_res_gid, set_thread_res_uid,
};
use rustix::{process::Gid, process::Uid};

use crate::config::{Config, Process};
use crate::start::StartError;

/// Ports up to here need the capability.
const PRIVILEGED_PORT_LAST: u16 = 1023;

/// Who the process is to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Identity {
    user: Uid,
    group: Gid,
}

/// Becomes the configured user and gives up all capabilities but that for low ports, which is kept where the
/// configuration has any: a reload may bind them anew, and so may the next executable of an upgrade.
///
/// # Errors
/// The user does not exist, or anything could not be given up.
pub(crate) fn drop_all(config: &Config) -> Result<(), StartError> {
    let failed = |what: &str, error: io::Errno| {
        StartError::new(format!("cannot give privileges up: {what}: {}", std::io::Error::from(error)))
    };
    let threads = fs::read_dir("/proc/self/task").map_or(1, Iterator::count);
    if threads != 1 {
        return Err(StartError::new(
            "cannot give privileges up: there are threads already, which would keep them",
        ));
    }
    let identity = identity(&config.process)?;
    let held = capabilities(None).map_err(|error| failed("capget", error))?.permitted;
    let kept =
        if has_low_port(config) { held & CapabilitySet::NET_BIND_SERVICE } else { CapabilitySet::empty() };
    empty_bounding_set(kept).map_err(|error| failed("the bounding set", error))?;
    if let Some(identity) = identity {
        become_user(identity, !kept.is_empty()).map_err(|error| {
            let user = config.process.user.as_deref().unwrap_or_default();
            failed(
                &format!("becoming user {user} (process.user; the daemon has to be started as root)"),
                error,
            )
        })?;
    }
    keep_only(kept).map_err(|error| failed("capabilities", error))?;
    set_no_new_privs(true).map_err(|error| failed("no_new_privs", error))?;
    verify(identity, kept)?;
    let (user, group) = (getuid().as_raw(), getgid().as_raw());
    let capabilities = if kept.is_empty() { "none" } else { "CAP_NET_BIND_SERVICE" };
    tracing::info!(user, group, capabilities, no_new_privs = true, "privileges given up");
    if user == 0 {
        tracing::warn!("serving as root, without its capabilities; name a user in process.user");
    }
    Ok(())
}

/// The identity to change to; `None`: none is configured, or it is ours.
fn identity(process: &Process) -> Result<Option<Identity>, StartError> {
    let Some(name) = &process.user else { return Ok(None) };
    let unknown = |key: &str, name: &str| {
        StartError::new(format!(
            "{key}: there is no \"{name}\" on this machine; see getent passwd, getent group"
        ))
    };
    let user = match name.parse() {
        Ok(number) => User::from_uid(nix::unistd::Uid::from_raw(number)),
        Err(_) => User::from_name(name),
    };
    let known = user.ok().flatten();
    let number = known.as_ref().map(|user| user.uid.as_raw()).or_else(|| name.parse().ok());
    let user = number.ok_or_else(|| unknown("process.user", name))?;
    let group = match (&process.group, known) {
        (Some(name), _) => {
            let group = Group::from_name(name).ok().flatten().map(|group| group.gid.as_raw());
            group.or_else(|| name.parse().ok()).ok_or_else(|| unknown("process.group", name))?
        }
        (None, Some(known)) => known.gid.as_raw(),
        (None, None) => {
            return Err(StartError::new("process.user: a number without a name needs process.group"));
        }
    };
    let identity = Identity { user: Uid::from_raw(user), group: Gid::from_raw(group) };
    let ours = Identity { user: getuid(), group: getgid() };
    Ok((identity != ours).then_some(identity))
}

fn has_low_port(config: &Config) -> bool {
    let listeners = config.listeners.iter().map(|listener| listener.address);
    let mut addresses = listeners.chain(config.admin.map(|admin| admin.address));
    addresses.any(|address| (1..=PRIVILEGED_PORT_LAST).contains(&address.port()))
}

/// Leaves nothing but `kept` for any program this process may become. Only who may change the set does: where
/// that is refused, `no_new_privs` has the same effect.
fn empty_bounding_set(kept: CapabilitySet) -> io::Result<()> {
    for bit in 0..u64::BITS {
        let capability = CapabilitySet::from_bits_retain(1 << bit);
        // The first number the kernel does not know ends it.
        if kept.contains(capability) || !capability_is_in_bounding_set(capability).unwrap_or(false) {
            continue;
        }
        match remove_capability_from_bounding_set(capability) {
            Err(io::Errno::PERM) => return Ok(()),
            removed => removed?,
        }
    }
    Ok(())
}

fn become_user(identity: Identity, keep_capabilities: bool) -> io::Result<()> {
    set_keep_capabilities(keep_capabilities)?;
    set_thread_groups(&[])?;
    set_thread_res_gid(identity.group, identity.group, identity.group)?;
    set_thread_res_uid(identity.user, identity.user, identity.user)?;
    set_keep_capabilities(false)
}

/// Gives up all capabilities but `kept`, which an upgraded executable gets too.
fn keep_only(kept: CapabilitySet) -> io::Result<()> {
    clear_ambient_capability_set()?;
    set_capabilities(None, CapabilitySets { effective: kept, permitted: kept, inheritable: kept })?;
    if kept.is_empty() { Ok(()) } else { configure_capability_in_ambient_set(kept, true) }
}

fn verify(identity: Option<Identity>, kept: CapabilitySet) -> Result<(), StartError> {
    let held = capabilities(None).unwrap_or(CapabilitySets {
        effective: CapabilitySet::all(),
        permitted: CapabilitySet::all(),
        inheritable: CapabilitySet::all(),
    });
    let became = identity.is_none_or(|identity| {
        let back = identity.user != Uid::ROOT && set_thread_res_uid(None, Uid::ROOT, None).is_ok();
        getuid() == identity.user && getgid() == identity.group && !back
    });
    let given_up = held.effective == kept && held.permitted == kept && no_new_privs() == Ok(true);
    if became && given_up {
        return Ok(());
    }
    Err(StartError::new(format!("privileges are still there after they were given up: {held:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(listener: &str, admin: &str) -> Config {
        let text = format!(
            "[admin]\naddress = \"{admin}\"\n[[listener]]\naddress = \"{listener}\"\n\
             [upstream.a]\nbackends = [\"127.0.0.1:3000\"]\n"
        );
        Config::parse("ringbolt.toml", &text).unwrap()
    }

    #[test]
    fn the_capability_is_kept_for_low_ports_only() {
        assert!(has_low_port(&config("0.0.0.0:80", "off")));
        assert!(has_low_port(&config("[::]:1023", "off")));
        assert!(has_low_port(&config("0.0.0.0:8080", "127.0.0.1:918")));
        // The kernel chooses a high one for port 0.
        for listener in ["0.0.0.0:1024", "0.0.0.0:0"] {
            assert!(!has_low_port(&config(listener, "off")), "{listener}");
        }
    }

    #[test]
    fn users_are_found_by_name_and_by_number() {
        let process = |user: &str, group: Option<&str>| Process {
            user: Some(user.to_owned()),
            group: group.map(str::to_owned),
        };
        assert_eq!(identity(&Process::default()), Ok(None));
        let root = Identity { user: Uid::ROOT, group: Gid::ROOT };
        let ours = (getuid(), getgid()) == (Uid::ROOT, Gid::ROOT);
        assert_eq!(identity(&process("root", None)), Ok((!ours).then_some(root)));
        let numbers = Identity { user: Uid::from_raw(4_000_001), group: Gid::from_raw(4_000_002) };
        assert_eq!(identity(&process("4000001", Some("4000002"))), Ok(Some(numbers)));
        // Nothing says which group an unknown number belongs to.
        assert!(identity(&process("4000001", None)).is_err());
        assert!(identity(&process("no-such-user", None)).is_err());
        assert!(identity(&process("root", Some("no-such-group"))).is_err());
    }
}

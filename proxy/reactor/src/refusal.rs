//! Why the kernel refused the ring, in words an operator can act on. Pure but for one file that is read.

use std::fmt;
use std::io;

/// What went wrong while the ring was set up.
#[derive(Debug)]
pub(crate) enum Refused {
    /// A system call failed.
    Setup(io::Error),
    /// The ring works but lacks this feature, which the kernel has since this version.
    Feature(&'static str, &'static str),
}

/// Why the ring was refused: what the kernel answered, and what to change.
#[derive(Debug)]
pub struct RingRefusal {
    /// The kernel's answer.
    pub error: io::Error,
    /// What it means.
    pub cause: String,
    /// What the operator can do.
    pub cure: &'static str,
}

impl RingRefusal {
    pub(crate) fn new(refused: Refused) -> Self {
        Self::explain(refused, io_uring_disabled())
    }

    /// `disabled` is the content of `/proc/sys/kernel/io_uring_disabled` (Linux 6.6), where it exists.
    fn explain(refused: Refused, disabled: Option<u8>) -> Self {
        let error = match refused {
            Refused::Setup(error) => error,
            Refused::Feature(feature, version) => {
                return Self {
                    error: io::Error::from(io::ErrorKind::Unsupported),
                    cause: format!("this kernel's io_uring lacks {feature}, which Linux has since {version}"),
                    cure: "run Linux 6.1 or newer",
                };
            }
        };
        let (cause, cure) = match (error.raw_os_error(), disabled) {
            (Some(libc::EPERM), Some(2)) => (
                "io_uring is switched off for everyone (kernel.io_uring_disabled=2)",
                "sysctl kernel.io_uring_disabled=0",
            ),
            (Some(libc::EPERM), Some(1)) => (
                "io_uring is reserved for one group (kernel.io_uring_disabled=1)",
                "sysctl kernel.io_uring_disabled=0, or run as a member of kernel.io_uring_group",
            ),
            (Some(libc::EPERM | libc::EACCES), _) => (
                "a seccomp filter or security module forbids io_uring",
                "allow io_uring_setup, io_uring_enter and io_uring_register in the container's seccomp profile or the \
                 service's SystemCallFilter, and in SELinux or AppArmor",
            ),
            (Some(libc::ENOSYS), _) => (
                "the kernel has no io_uring, or a container runtime's seccomp profile hides it",
                "run Linux 6.1 or newer with CONFIG_IO_URING, or allow io_uring_setup, io_uring_enter and \
                 io_uring_register in the container's seccomp profile",
            ),
            (Some(libc::ENOMEM), _) => (
                "the ring's memory exceeds the limit of locked memory, or memory is short",
                "raise LimitMEMLOCK= of the service, or ulimit -l",
            ),
            (Some(libc::EMFILE | libc::ENFILE), _) => {
                ("no descriptor is left for the ring", "raise LimitNOFILE= of the service, or ulimit -n")
            }
            (Some(libc::EINVAL), _) => {
                ("this kernel's io_uring is too old to set up the ring", "run Linux 6.1 or newer")
            }
            _ => {
                ("the kernel refused to set up the ring", "see the kernel's log, or choose the epoll engine")
            }
        };
        Self { error, cause: cause.to_owned(), cure }
    }
}

impl fmt::Display for RingRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "io_uring refused: {} ({}); to use it: {}", self.cause, self.error, self.cure)
    }
}

impl std::error::Error for RingRefusal {}

fn io_uring_disabled() -> Option<u8> {
    std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled").ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(errno: i32, disabled: Option<u8>) -> String {
        RingRefusal::explain(Refused::Setup(io::Error::from_raw_os_error(errno)), disabled).to_string()
    }

    #[test]
    fn causes_are_told_apart_with_their_cure() {
        for (errno, disabled, cause, cure) in [
            (libc::EPERM, Some(2), "kernel.io_uring_disabled=2", "sysctl kernel.io_uring_disabled=0"),
            (libc::EPERM, Some(1), "kernel.io_uring_disabled=1", "kernel.io_uring_group"),
            (libc::EPERM, Some(0), "seccomp", "seccomp profile"),
            (libc::EPERM, None, "seccomp", "SystemCallFilter"),
            (libc::EACCES, Some(0), "security module", "SELinux"),
            (libc::ENOSYS, None, "has no io_uring", "CONFIG_IO_URING"),
            (libc::ENOMEM, Some(0), "locked memory", "LimitMEMLOCK"),
            (libc::EMFILE, Some(0), "no descriptor", "LimitNOFILE"),
            (libc::EINVAL, Some(0), "too old", "6.1"),
        ] {
            let text = refusal(errno, disabled);
            assert!(text.contains(cause) && text.contains(cure), "{errno} {disabled:?}: {text}");
            assert!(!text.contains('\n'), "one line");
        }
    }

    #[test]
    fn a_missing_feature_is_named_with_its_version() {
        let text = RingRefusal::explain(Refused::Feature("multishot poll", "5.13"), Some(0)).to_string();
        assert!(text.contains("multishot poll") && text.contains("5.13"), "{text}");
    }
}

"""Runs a command under a seccomp filter that refuses io_uring, as container runtimes do.

    python3 without_io_uring.py -- COMMAND [ARGUMENT...]

io_uring_setup, io_uring_enter and io_uring_register answer EPERM; every other call is allowed. The filter survives
exec, so the command meets it from its first instruction. In Python because installing it needs one raw prctl(2), and
the Rust tests hold no unsafe code.
"""

import ctypes
import errno
import os
import struct
import sys

# The same numbers on every architecture Linux gave io_uring to after 5.0 unified new system calls.
IO_URING_SETUP, IO_URING_REGISTER = 425, 427

PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 22, 38
SECCOMP_MODE_FILTER = 2
SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO = 0x7FFF0000, 0x00050000

# Classic BPF: opcodes as in linux/bpf_common.h.
LOAD_WORD_ABSOLUTE, JUMP_GREATER_EQUAL, JUMP_GREATER, RETURN = 0x20, 0x35, 0x25, 0x06


def instruction(code, value, if_true=0, if_false=0):
    """One struct sock_filter."""
    return struct.pack("HBBI", code, if_true, if_false, value)


PROGRAM = b"".join(
    [
        instruction(LOAD_WORD_ABSOLUTE, 0),  # offset of `nr` in struct seccomp_data
        instruction(JUMP_GREATER_EQUAL, IO_URING_SETUP, if_false=2),
        instruction(JUMP_GREATER, IO_URING_REGISTER, if_true=1),
        instruction(RETURN, SECCOMP_RET_ERRNO | errno.EPERM),
        instruction(RETURN, SECCOMP_RET_ALLOW),
    ]
)


class Filter(ctypes.Structure):
    """struct sock_fprog."""

    _fields_ = [("length", ctypes.c_ushort), ("program", ctypes.c_char_p)]


def prctl(option, *arguments):
    """prctl(2), raising OSError where it refuses."""
    libc = ctypes.CDLL(None, use_errno=True)
    words = [ctypes.c_ulong(word) if isinstance(word, int) else word for word in arguments]
    words += [ctypes.c_ulong(0)] * (4 - len(words))
    if libc.prctl(option, *words) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"prctl({option}): {os.strerror(code)}")


def main():
    if len(sys.argv) < 3 or sys.argv[1] != "--":
        sys.exit(__doc__)
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(Filter(len(PROGRAM) // 8, PROGRAM)))
    os.execvp(sys.argv[2], sys.argv[2:])


main()

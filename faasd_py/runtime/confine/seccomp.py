"""A seccomp filter, assembled by hand: system calls that no function needs are refused with EPERM. Standard library only.

Refused: mounting, namespaces of one's own, looking into other processes, kernel modules and BPF, clocks, swap, reboot, keys,
io_uring (it would go round this filter), typing into a terminal, and every call by another machine's numbers (32-bit
programs). What is not refused is allowed: this takes away what is only ever used to break out, it does not say what a
function is for.
"""

from __future__ import annotations

import ctypes
import errno
import platform
import struct

from faasd_py.runtime.confine import kernel
from faasd_py.runtime.confine.syscalls import BY_ARGUMENT, MACHINES, numbers

_FILTER = 2
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
ALLOW = 0x7FFF0000
_ERRNO = 0x00050000
REFUSE, ABSENT = _ERRNO | errno.EPERM, _ERRNO | errno.ENOSYS
_NUMBER, _ARCHITECTURE, _FIRST, _SECOND = 0, 4, 16, 24
"""Where in struct seccomp_data: both machines put the low half of an argument first."""
_X32 = 0x40000000
_NEW_NAMESPACES = 0x7E020000
_NEW_TIME = 0x80
_TERMINAL_INPUT = (0x5412, 0x541C)
"""TIOCSTI and TIOCLINUX."""
_AF_UNIX = 1

Instruction = tuple[int, int, int, int]


def program(machine: str, *, network: bool = True) -> list[Instruction]:
    """The filter for a machine: instructions as (code, if true skip, if false skip, value).

    Without `network` no sockets but unix ones.

    Raises:
        KeyError: no machine that is known here.
    """
    architecture, calls = MACHINES[machine][0], numbers(machine)
    found = [
        (_LOAD, 0, 0, _ARCHITECTURE), (_EQUAL, 1, 0, architecture), (_RETURN, 0, 0, ABSENT),
        (_LOAD, 0, 0, _NUMBER),
        (_AT_LEAST, 0, 1, _X32), (_RETURN, 0, 0, ABSENT),
        # What it asks for lies in memory, where a filter cannot look; programs fall back to clone.
        (_EQUAL, 0, 1, calls["clone3"]), (_RETURN, 0, 0, ABSENT),
    ]  # fmt: skip
    for name in sorted(calls.keys() - BY_ARGUMENT):
        found += [(_EQUAL, 0, 1, calls[name]), (_RETURN, 0, 0, REFUSE)]
    found += _judged(calls["clone"], _FIRST, [(_ANY_BIT, 0, 1, _NEW_NAMESPACES)])
    found += _judged(calls["unshare"], _FIRST, [(_ANY_BIT, 0, 1, _NEW_NAMESPACES | _NEW_TIME)])
    found += _judged(calls["ioctl"], _SECOND, [(_EQUAL, 0, 1, request) for request in _TERMINAL_INPUT])
    if not network:
        found += _judged(calls["socket"], _FIRST, [(_EQUAL, 1, 0, _AF_UNIX)])
    return [*found, (_RETURN, 0, 0, ALLOW)]


def _judged(number: int, argument: int, tests: list[Instruction]) -> list[Instruction]:
    """If it is this call: refused when a test of its argument holds, else allowed."""
    body = [(_LOAD, 0, 0, argument)]
    for test in tests:
        body += [test, (_RETURN, 0, 0, REFUSE)]
    return [(_EQUAL, 0, len(body) + 1, number), *body, (_RETURN, 0, 0, ALLOW)]


def assemble(instructions: list[Instruction]) -> bytes:
    """As the kernel takes them: struct sock_filter."""
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in instructions)


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def install(*, network: bool = True) -> None:
    """For this process and all that it starts, for good. no_new_privs must be set.

    Raises:
        OSError: this kernel has no filters, or this machine is not known here.
    """
    machine = platform.machine()
    if machine not in MACHINES:
        raise OSError(errno.ENOSYS, f"no filter is known for {machine}")
    data = assemble(program(machine, network=network))
    buffer = ctypes.create_string_buffer(data, len(data))
    filters = _Program(len(data) // 8, ctypes.cast(buffer, ctypes.c_void_p))
    kernel.prctl(kernel.SET_SECCOMP, _FILTER, ctypes.addressof(filters))


def available() -> bool:
    """Whether this kernel takes filters: a null one is a bad address to it (EFAULT), else it does not know them."""
    try:
        kernel.prctl(kernel.SET_SECCOMP, _FILTER, 0)
    except OSError as error:
        return error.errno == errno.EFAULT and platform.machine() in MACHINES
    return False

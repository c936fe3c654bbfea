"""Becoming somebody else for good: user, groups, and no capabilities. Standard library only."""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress

from faasd_py.runtime.confine import kernel

_CAPABILITY_VERSION_3 = 0x20080522
_LAST = 63
SETGID, SETUID, SETPCAP = 6, 7, 8

Identity = tuple[int, int, list[int]]
"""User, group, and all groups."""


def become(identity: Identity | None) -> None:
    """This user, if one is given; in any case no capabilities, not even for a program of root's.

    Raises:
        OSError: the kernel refuses, or capabilities are left.
    """
    kernel.prctl(kernel.CAP_AMBIENT, kernel.CAP_AMBIENT_CLEAR_ALL)
    if effective() >> SETPCAP & 1:
        for number in range(_LAST + 1):
            # EINVAL: the kernel has not so many.
            with suppress(OSError):
                kernel.prctl(kernel.CAPBSET_DROP, number)
    if identity is not None:
        user, group, groups = identity
        os.setgroups(groups)
        os.setresgid(group, group, group)
        os.setresuid(user, user, user)
    _drop()


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


_Sets = ctypes.c_uint32 * 6
"""Effective, permitted, inheritable: the low halves, then the high ones."""


def _drop() -> None:
    header = _Header(_CAPABILITY_VERSION_3, 0)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.capset(ctypes.byref(header), _Sets()) < 0 and effective():
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def effective() -> int:
    """The capabilities that this process has, a bit each (capabilities(7))."""
    header, sets = _Header(_CAPABILITY_VERSION_3, 0), _Sets()
    if ctypes.CDLL(None).capget(ctypes.byref(header), sets) < 0:
        return 0
    return int(sets[0]) | int(sets[3]) << 32


def may_switch() -> bool:
    """Whether this process can become anybody."""
    held = effective()
    return bool(held >> SETUID & 1 and held >> SETGID & 1)

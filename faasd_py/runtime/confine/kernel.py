"""System calls that Python has no name for, by number or through the C library. Standard library only."""

from __future__ import annotations

import ctypes
import os

NO_NEW_PRIVS = 38
SET_SECCOMP = 22
SET_DUMPABLE = 4
CAPBSET_READ, CAPBSET_DROP = 23, 24
CAP_AMBIENT, CAP_AMBIENT_IS_SET, CAP_AMBIENT_RAISE, CAP_AMBIENT_CLEAR_ALL = 47, 1, 2, 4


def prctl(option: int, *arguments: int) -> int:
    """The call of this name, which is picky about arguments that it does not use: they are 0.

    Raises:
        OSError: as the kernel says.
    """
    words = [ctypes.c_ulong(number) for number in (*arguments, 0, 0, 0, 0)[:4]]
    return _checked(ctypes.CDLL(None, use_errno=True).prctl(option, *words))


def syscall(number: int, *arguments: object) -> int:
    """A system call by number, with whole numbers, and pointers as ctypes makes them.

    Raises:
        OSError: as the kernel says.
    """
    words = [ctypes.c_long(word) if isinstance(word, int) else word for word in arguments]
    return _checked(ctypes.CDLL(None, use_errno=True).syscall(ctypes.c_long(number), *words))


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result

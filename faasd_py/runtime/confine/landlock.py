"""Landlock: which files a process and its children may touch, given up for good. Standard library only.

The numbers are the kernel's (include/uapi/linux/landlock.h), the same on every machine. An allow list: what is handled
and not granted is refused with EACCES, whoever the user is.
"""

from __future__ import annotations

import ctypes
import os
import stat
from contextlib import suppress

from faasd_py.runtime.confine.kernel import syscall

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION = 1
_PATH_BENEATH = 1

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
REFER, TRUNCATE = 1 << 13, 1 << 14
_CHANGE_DIR = sum(1 << bit for bit in range(4, 13))
"""REMOVE_DIR, REMOVE_FILE, and MAKE_ of each kind."""
READ = EXECUTE | READ_FILE | READ_DIR
WRITE = WRITE_FILE | _CHANGE_DIR | REFER | TRUNCATE
_OF_FILES = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE
_SINCE = ((1, READ | WRITE_FILE | _CHANGE_DIR), (2, REFER), (3, TRUNCATE))
_SCOPES = 6
SCOPE_ABSTRACT_SOCKETS, SCOPE_SIGNALS = 1, 2


def version() -> int:
    """The version of the kernel's interface; 0: this kernel has none, or it is switched off (`lsm=`)."""
    try:
        return syscall(_CREATE_RULESET, 0, 0, _VERSION)
    except OSError:
        return 0


def known(version: int) -> int:
    """The rights that this version can handle."""
    return sum(rights for since, rights in _SINCE if version >= since)


def restrict(
    handled: int, grants: list[tuple[bytes, int]], scopes: int = SCOPE_ABSTRACT_SOCKETS | SCOPE_SIGNALS
) -> None:
    """From now on of the `handled` rights only the granted ones, each for a path and what is below it.

    A path that is not there is passed over. no_new_privs must be set. `scopes` need version 6 and are left out below
    it: no signals to, and no abstract sockets of, processes that are not confined together with this one.

    Raises:
        OSError: this kernel has no Landlock, or refuses.
    """
    abi = version()
    handled &= known(abi)
    words = (handled, 0, scopes) if abi >= _SCOPES else (handled,)
    attributes = (ctypes.c_uint64 * len(words))(*words)
    ruleset = syscall(_CREATE_RULESET, ctypes.byref(attributes), ctypes.sizeof(attributes), 0)
    try:
        for path, rights in grants:
            with suppress(FileNotFoundError, PermissionError, NotADirectoryError):
                _grant(ruleset, path, rights & handled)
        syscall(_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)


class _Beneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("rights", ctypes.c_uint64), ("parent", ctypes.c_int32))


def _grant(ruleset: int, path: bytes, rights: int) -> None:
    parent = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        if not stat.S_ISDIR(os.fstat(parent).st_mode):
            rights &= _OF_FILES
        if rights:
            rule = _Beneath(rights, parent)
            syscall(_ADD_RULE, ruleset, _PATH_BENEATH, ctypes.byref(rule), 0)
    finally:
        os.close(parent)

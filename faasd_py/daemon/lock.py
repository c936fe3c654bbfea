"""One daemon per state directory: an flock(2) on `DIRECTORY/lock`, which the kernel lets go with the process.

The file stays: removing it would let two daemons each hold a lock on a file of that name.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from faasd_py.core.errors import BootError

FILE: Final = "lock"


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Hold the directory (made if missing, mode 0700) for as long as the block runs.

    Raises:
        BootError: another daemon holds it (its pid is in the text), or it cannot be written.
    """
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = os.open(directory / FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise BootError(f"{error.filename or directory}: cannot be used: {error.strerror}") from error
    try:
        _take(fd, directory)
        yield
    finally:
        os.close(fd)


def _take(fd: int, directory: Path) -> None:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise BootError(f"{directory}: in use by another daemon{_holder(fd)}") from None
    except OSError as error:  # a file system without locks
        raise BootError(f"{directory}: cannot be locked: {error.strerror}") from error
    os.ftruncate(fd, 0)
    os.pwrite(fd, b"%d\n" % os.getpid(), 0)


def _holder(fd: int) -> str:
    """Empty in the moment between the other's lock and its pid."""
    pid = os.pread(fd, 20, 0).strip()
    return f" (pid {pid.decode()})" if pid.isdigit() else ""

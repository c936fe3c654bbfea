"""A listening unix socket that only this user can connect to."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from faasd_py.core.errors import BootError

BACKLOG: Final = 128
MODE: Final = 0o600


@contextmanager
def private_socket(path: Path) -> Iterator[socket.socket]:
    """Listen at `path` with mode 0600, in the place of what a dead process left; leaving removes the file.

    Raises:
        BootError: somebody listens there, something else lies there, or the directory does not allow it.
    """
    try:
        remove_stale(path)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    except OSError as error:
        raise BootError(f"{path}: {reason(error)}") from error
    with listener:
        try:
            listener.bind(os.fspath(path))
            # nobody can connect before listen(): so there is no moment with a wider mode
            path.chmod(MODE)
            made = path.stat()
            listener.listen(BACKLOG)
        except OSError as error:
            raise BootError(f"{path}: {reason(error)}") from error
        listener.setblocking(False)
        try:
            yield listener
        finally:
            remove_own(path, made)


def remove_stale(path: Path) -> None:
    """Take away the socket that a dead process left.

    Raises:
        OSError: somebody answers there, or it is not a socket.
    """
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise FileExistsError(0, "there is a file that is not a socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:
        try:
            probe.connect(os.fspath(path))
        except (ConnectionRefusedError, FileNotFoundError):
            path.unlink(missing_ok=True)
            return
        except BlockingIOError:
            pass  # its backlog is full: somebody lives there, and is busy
    raise OSError(0, "address already in use")


def remove_own(path: Path, made: os.stat_result) -> None:
    """Only if it is still the file that we made: a successor may have put its own there."""
    with suppress(FileNotFoundError):
        now = path.lstat()
        if (now.st_dev, now.st_ino) == (made.st_dev, made.st_ino):
            path.unlink()


def reason(error: OSError) -> str:
    """The error as part of a sentence."""
    text = error.strerror or str(error)
    return text[:1].lower() + text[1:]

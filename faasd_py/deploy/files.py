"""Small files that are there whole or not at all, whatever the power does. Blocking: called in threads."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Final

TEMPORARY: Final = ".new-"
"""What a file is called until it is complete; a crash may leave one behind, which nobody reads."""


def write(path: Path, data: bytes) -> None:
    """Put `data` at `path`, mode 0600, in the place of what is there; on stable storage when this returns.

    Raises:
        OSError: it cannot be written; what was there is untouched.
    """
    handle, name = tempfile.mkstemp(prefix=TEMPORARY, dir=path.parent)  # mode 0600
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        with suppress(OSError):
            Path(name).unlink()
        raise
    settle(path.parent)


def remove(path: Path) -> None:
    """Take the file away; it stays away.

    Raises:
        OSError: it is not there, or cannot be removed.
    """
    path.unlink()
    settle(path.parent)


def make_directory(path: Path) -> None:
    """A directory of ours alone (0700), and its parents; entries that are made are on stable storage.

    Raises:
        OSError: it cannot be made.
    """
    if path.is_dir():
        return
    make_directory(path.parent)
    path.mkdir(mode=0o700, exist_ok=True)
    settle(path.parent)


def sweep(directory: Path) -> None:
    """Remove what a crash left half-written."""
    for left in directory.glob(f"{TEMPORARY}*"):
        with suppress(OSError):
            left.unlink()


def settle(directory: Path) -> None:
    """Names in a directory reach stable storage only with the directory itself (fsync(2))."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

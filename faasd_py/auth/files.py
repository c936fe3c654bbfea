"""Files that only the daemon's user may read, written so that a crash leaves the old one or the new one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from faasd_py.core.errors import ConfigError

LARGEST: Final = 1 << 20
"""Bytes of the largest file that is read."""


def read(path: Path) -> bytes | None:
    """What is in a file; None when it is not there.

    Raises:
        ConfigError: it cannot be read, or is larger than any file of credentials; the text names it.
    """
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    if len(data) > LARGEST:
        raise ConfigError(f"{path}: is larger than {LARGEST} bytes")
    return data


def write(path: Path, data: bytes) -> None:
    """Put it in the file's place with mode 0600; on the disk when this returns.

    Raises:
        OSError: it cannot be written; what was there is untouched.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.new")
    beside.unlink(missing_ok=True)
    fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(fd)
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    _sync(path.parent)


def _sync(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)

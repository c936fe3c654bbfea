"""The body of a call: a text, a file, or what is piped in."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from faasd_py.cli.errors import Usage


@contextmanager
def open_body(text: str | None, path: str | None) -> Iterator[IO[bytes] | bytes]:
    """The bytes, or a file that is to be streamed; nothing when nothing was given and nothing is piped in.

    Raises:
        Usage: the file cannot be read.
    """
    if text is not None:
        yield os.fsencode(text)
    elif path == "-" or (path is None and _is_piped()):
        yield sys.stdin.buffer
    elif path is None:
        yield b""
    else:
        with _opened(path) as file:
            yield file


def _opened(path: str) -> IO[bytes]:
    try:
        return Path(path).open("rb")
    except OSError as error:
        raise Usage(f"invoke: {path} cannot be read: {error.strerror}") from None


def _is_piped() -> bool:
    """Whether stdin is a pipe, a file or a socket: neither a terminal nor /dev/null."""
    try:
        mode = os.fstat(sys.stdin.fileno()).st_mode
    except (OSError, ValueError, AttributeError):
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISREG(mode) or stat.S_ISSOCK(mode)

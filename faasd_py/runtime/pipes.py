"""Pipes of which one end is ours and does not block, and the other a process's and does."""

from __future__ import annotations

import fcntl
import os


def inlet() -> tuple[int, int]:
    """`(theirs, ours)`: what a process reads, and where we write. Ours still blocks: see `unblock`."""
    return os.pipe2(os.O_CLOEXEC)


def outlet() -> tuple[int, int]:
    """`(ours, theirs)`: where we read what a process writes."""
    ours, theirs = os.pipe2(os.O_CLOEXEC)
    fcntl.fcntl(ours, fcntl.F_SETFL, os.O_RDONLY | os.O_NONBLOCK)
    return ours, theirs


def unblock(writing: int) -> None:
    """Writing to our end of an inlet shall not block."""
    fcntl.fcntl(writing, fcntl.F_SETFL, os.O_WRONLY | os.O_NONBLOCK)

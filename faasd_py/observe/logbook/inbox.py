"""Lines on their way from the loop to the writing thread: bounded, and cheap to put in."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from math import inf
from typing import Final

CAPACITY: Final = 8 << 20
"""Bytes that may wait, more or less."""
_OVERHEAD: Final = 200
"""Bytes that a line occupies beside its text."""
Entry = tuple[str, int, str, str, str, str]
"""Label, nanoseconds since 1970, stream, instance, call id, text."""


class Mark:
    """Something between two lines: `call` is to be called when those before are written."""

    __slots__ = ("call",)

    def __init__(self, call: Callable[[], object]) -> None:
        self.call = call


class Inbox:
    """`put` and `mark` never block; `take` is the thread's."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._waiting: list[Entry | Mark] = []
        self._size = 0
        self._dropped: dict[str, int] = {}
        self._busy = False
        """There was something to take the last time."""
        self._wake_at: float = inf
        """Bytes from which on the thread is to be woken."""
        self._hurry = False
        """Somebody waits for a mark."""
        self._closing = False
        self._changed = threading.Condition(threading.Lock())

    def put(self, label: str, stream: str, instance: str, call_id: str, text: str) -> None:
        """One line; dropped and counted when too many wait already."""
        entry = (label, time.time_ns(), stream, instance, call_id, text)
        with self._changed:
            if self._size >= self._capacity or self._closing:
                self._dropped[label] = self._dropped.get(label, 0) + 1
                return
            self._waiting.append(entry)
            self._size += len(text) + _OVERHEAD
            if self._size >= self._wake_at:
                self._wake_at = inf
                self._changed.notify()

    def mark(self, call: Callable[[], object]) -> None:
        """Have it called behind the lines that were put so far."""
        with self._changed:
            self._waiting.append(Mark(call))
            self._hurry = True
            self._changed.notify()

    def close(self) -> None:
        """No more is taken in."""
        with self._changed:
            self._closing = True
            self._changed.notify()

    def take(self, gather: float, patience: float) -> list[Entry | Mark] | None:
        """All that waits, when there is something; empty when nothing came for `patience` seconds; None at the end.

        One who takes again and again finds what came within `gather` seconds: fewer, larger batches.
        """
        with self._changed:
            if self._busy:
                self._wait(gather, self._capacity // 8)
            if not self._waiting:
                self._wait(patience, 0)
            self._busy, self._hurry = bool(self._waiting), False
            if self._closing and not self._waiting:
                return None
            batch, self._waiting, self._size = self._waiting, [], 0
            return batch

    def _wait(self, patience: float, size: int) -> None:
        if not self._closing and not self._hurry and (self._size < size or not size):
            self._wake_at = size
            self._changed.wait(patience)
            self._wake_at = inf

    def take_dropped(self) -> dict[str, int]:
        """How many were dropped since the last time, by label."""
        with self._changed:
            dropped, self._dropped = self._dropped, {}
            return dropped

"""A thread that writes lines to a descriptor, so that the loop never waits for whoever reads them."""

from __future__ import annotations

import atexit
import os
import select
import threading
from collections import deque
from typing import Final

CAPACITY: Final = 4 << 20
"""Bytes that may wait."""
PATIENCE: Final = 1.0
"""Seconds that the end of the program waits for a reader who does not read."""
_BATCH: Final = 256


class Lines:
    """Lines on their way to a descriptor: when `capacity` bytes wait, the rest is dropped and counted."""

    def __init__(self, fd: int, capacity: int = CAPACITY) -> None:
        self._fd = os.dup(fd)
        self._capacity = capacity
        self._waiting: deque[bytes] = deque()
        self._size = 0
        self._dropped = 0
        self._closing = False
        self._changed = threading.Condition()
        self._idle = True
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()
        atexit.register(self.close)

    def write(self, line: bytes) -> None:
        """Have the line, with its end, written; dropped when too many wait already."""
        with self._changed:
            if self._closing or self._size >= self._capacity:
                self._dropped += 1
                return
            self._waiting.append(line)
            self._size += len(line)
            if self._idle:
                self._idle = False
                self._changed.notify_all()

    def flush(self, patience: float = PATIENCE) -> bool:
        """Wait until all is written, `patience` seconds at most; whether it is."""
        with self._changed:
            return self._changed.wait_for(lambda: self._idle and not self._waiting, patience)

    def close(self) -> None:
        """Write what waits, with patience, and stop."""
        atexit.unregister(self.close)
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(PATIENCE)

    def _run(self) -> None:
        try:
            while batch := self._next():
                self._write(batch)
        except OSError:
            self._give_up()
        finally:
            os.close(self._fd)

    def _next(self) -> bytes:
        """What to write now; empty when closing and nothing is left."""
        with self._changed:
            if not self._waiting:
                self._idle = True
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._waiting or self._closing)
            lines = [self._waiting.popleft() for _ in range(min(_BATCH, len(self._waiting)))]
            self._size -= sum(map(len, lines))
            if self._dropped and not self._waiting:
                lines.append(b"%d log lines were dropped: nobody read them fast enough\n" % self._dropped)
                self._dropped = 0
            return b"".join(lines)

    def _write(self, data: bytes) -> None:
        while data:
            try:
                data = data[os.write(self._fd, data) :]
            except BlockingIOError:
                select.select((), (self._fd,), ())

    def _give_up(self) -> None:
        """Nobody can read any more (a closed pipe): from now on lines go nowhere."""
        with self._changed:
            self._closing, self._idle = True, True
            self._waiting.clear()
            self._changed.notify_all()

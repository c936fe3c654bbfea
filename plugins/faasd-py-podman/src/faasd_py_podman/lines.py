"""What containers write, as it comes: conmon writes it into a FIFO of ours, in the format of Kubernetes' logs.

`TIME stdout|stderr P|F TEXT`, P being a piece of a line that goes on. Nothing is kept on disk, and a function that writes
faster than its lines are taken waits, as it would with a pipe.
"""

from __future__ import annotations

import os
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import Final

import trio

from faasd_py.api import FunctionLog

_PIECE: Final = 64 << 10
LONGEST: Final = 64 << 10
"""Bytes of a line; longer ones are cut into several."""
_LAST: Final = 5


class Lines:
    """The reading end of one container's FIFO."""

    def __init__(self, path: Path, log: FunctionLog) -> None:
        os.mkfifo(path, 0o600)
        self._path = path
        self._fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        self._log = log
        self._rest = b""
        self._open: dict[str, str] = {}
        self._ended = trio.Event()
        self._scope = trio.CancelScope()
        self.instance = ""
        self.last: deque[str] = deque(maxlen=_LAST)
        """The last lines, for the reason of an end."""

    async def run(self) -> None:
        """Until the container and its monitor have closed it, or `aclose`."""
        with self._scope:
            while data := await self._read():
                self._take(data)
        for stream in [*self._open]:
            self._say(stream, self._open.pop(stream))
        self._ended.set()

    async def _read(self) -> bytes:
        while True:
            await trio.lowlevel.wait_readable(self._fd)
            with suppress(BlockingIOError):
                return os.read(self._fd, _PIECE)

    def _take(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._piece(line.decode("utf-8", "replace"))

    def _piece(self, line: str) -> None:
        """One line of the FIFO: a piece of one of the function's."""
        fields = line.split(" ", 3)
        if len(fields) != 4:
            return
        _, stream, tag, text = fields
        text = self._open.pop(stream, "") + text
        if tag == "P" and len(text) < LONGEST:
            self._open[stream] = text
        else:
            self._say(stream, text)

    def _say(self, stream: str, text: str) -> None:
        self.last.append(text[:200])
        self._log.line(text, stream=stream, instance=self.instance)

    async def drained(self, within: float) -> None:
        """Returns when all that the container wrote was taken; at most `within` seconds after it ended."""
        with trio.move_on_after(within):
            await self._ended.wait()

    async def aclose(self, *, running: bool) -> None:
        """Take nothing more, and remove the FIFO. `running`: `run` was started."""
        self._scope.cancel()
        if running:
            await self._ended.wait()
        os.close(self._fd)
        await trio.Path(self._path).unlink(missing_ok=True)

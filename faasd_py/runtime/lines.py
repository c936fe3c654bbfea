"""What a process writes to stdout or stderr, cut into lines for the function's log."""

from __future__ import annotations

import os
from typing import Final

from faasd_py.runtime.child import Child
from faasd_py.runtime.contract import FunctionLog
from faasd_py.runtime.pump import Pump

MAX_LINE: Final = 16 << 10
_ROUND: Final = 8 << 10
"""Read at once: a process that floods its log is slowed by its pipe, and holds up nobody else."""
_DRAIN: Final = 64 << 10
_DRAIN_LINES: Final = 1000


class Lines:
    """The reading end of one pipe; it is closed with `close`, which takes what still lies in the pipe.

    A line is at most MAX_LINE bytes; longer ones are cut into several.
    """

    __slots__ = ("_call_id", "_child", "_fd", "_log", "_part", "_pump", "_stream")

    def __init__(
        self, pump: Pump, fd: int, log: FunctionLog, *, stream: str = "stderr", call_id: str = ""
    ) -> None:
        self._pump = pump
        self._fd = fd
        self._log = log
        self._stream = stream
        self._call_id = call_id
        self._child: Child | None = None
        self._part = b""

    def follow(self, child: Child) -> None:
        """Log what comes as it comes; until now it stays in the pipe."""
        self._child = child
        if self._fd >= 0:
            self._pump.add(self._fd, self._ready)

    def _ready(self) -> None:
        try:
            data = os.read(self._fd, _ROUND)
        except BlockingIOError:
            return
        if data:
            self._take(data)
        else:
            self._pump.remove(self._fd)

    def _take(self, data: bytes, most: int = _DRAIN) -> None:
        lines = (self._part + data).split(b"\n")
        self._part = lines.pop()
        for line in lines[:most]:
            self._say(line)
        if len(lines) > most:
            self._say(b"(%d more lines are left out)" % (len(lines) - most))
        while len(self._part) > MAX_LINE:
            self._say(self._part[:MAX_LINE])
            self._part = self._part[MAX_LINE:]

    def _say(self, line: bytes) -> None:
        pid = self._child.pid if self._child else 0
        for start in range(0, len(line) or 1, MAX_LINE):
            text = line[start : start + MAX_LINE].decode("utf-8", "replace").rstrip("\r")
            self._log.line(text, stream=self._stream, instance=str(pid or ""), call_id=self._call_id)

    def close(self, child: Child | None) -> None:
        """Log what is in the pipe, at most 1000 lines of it, and the last line even without its end."""
        if self._fd < 0:
            return
        self._child = child
        self._pump.remove(self._fd)
        try:
            data = os.read(self._fd, _DRAIN)
        except BlockingIOError:
            data = b""
        if data:
            self._take(data, _DRAIN_LINES)
        if self._part:
            self._say(self._part)
        os.close(self._fd)
        self._fd = -1

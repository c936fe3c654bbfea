"""The Date line, made once a second."""

from __future__ import annotations

from email.utils import formatdate
from time import time


class DateLine:
    """`line()` is the Date field of now, with its CRLF (RFC 9110 §6.6.1)."""

    __slots__ = ("_line", "_until")

    def __init__(self) -> None:
        self._line = b""
        self._until = 0.0

    def line(self) -> bytes:
        """The line; a new one when the second has passed, or the clock was set back."""
        now = time()
        if not self._until - 1 <= now < self._until:
            self._until = now // 1 + 1
            self._line = f"Date: {formatdate(now, usegmt=True)}\r\n".encode("ascii")
        return self._line

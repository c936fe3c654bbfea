"""What a receiver answers: the status counts, the body is read to its end when it is short, and dropped."""

from __future__ import annotations

from typing import Final

from faasd_py.http import fields
from faasd_py.http.errors import WireError

LIMIT: Final = 64 * 1024
"""Bytes; a longer answer costs the receiver its connection."""


class Enough(Exception):
    """The answer is longer than anybody will read; its status is known."""


class Sink:
    """A reply that keeps the status and the header lines."""

    __slots__ = ("_size", "headers", "status")

    def __init__(self) -> None:
        self.status = 0
        self.headers = b""
        self._size = 0

    async def answer(self, status: int, headers: bytes, body: bytes) -> None:
        """See Reply."""
        await self.start(status, headers, len(body))

    async def start(self, status: int, headers: bytes, length: int | None) -> None:  # noqa: ARG002 - Reply's shape
        """See Reply."""
        self.status = status
        self.headers = headers

    async def write(self, data: bytes) -> None:
        """Count it.

        Raises:
            Enough: it is over LIMIT.
        """
        self._size += len(data)
        if self._size > LIMIT:
            raise Enough

    async def end(self) -> None:
        """See Reply."""

    async def tunnel(self, headers: bytes, wire: object) -> None:  # noqa: ARG002 - Reply's shape
        """Nobody asked for that.

        Raises:
            WireError: always.
        """
        raise WireError("the receiver switched protocols")

    def kept(self) -> bytes:
        """The lines of the answer that the record keeps."""
        wait = fields.get(self.headers, b"retry-after")
        return b"" if wait is None else b"Retry-After: " + wait + b"\r\n"

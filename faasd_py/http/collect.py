"""A reply that is kept instead of passed on."""

from __future__ import annotations

from faasd_py.http.errors import WireError
from faasd_py.http.relay import End


class Collector:
    """Keeps status, headers and at most `limit` bytes of the body; counts the rest.

    `complete` is true when the answer ended and nothing of it was left out. `began` when there is a status.
    """

    __slots__ = ("_limit", "_pieces", "body", "complete", "ended", "headers", "size", "status")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._pieces: list[bytes] = []
        self.status = 0
        self.headers = b""
        self.body = b""
        """What was kept, once the answer has ended."""
        self.size = 0
        self.ended = False
        self.complete = False

    @property
    def began(self) -> bool:
        """The answer has begun."""
        return self.status != 0

    async def answer(self, status: int, headers: bytes, body: bytes) -> None:
        """See Reply."""
        await self.start(status, headers, len(body))
        await self.write(body)
        await self.end()

    async def start(self, status: int, headers: bytes, length: int | None) -> None:  # noqa: ARG002 - Reply's shape
        """See Reply."""
        self.status = status
        self.headers = headers

    async def write(self, data: bytes) -> None:
        """See Reply."""
        room = self._limit - self.size
        if room > 0:
            self._pieces.append(data[:room])
        self.size += len(data)

    async def end(self) -> None:
        """See Reply."""
        self.body = b"".join(self._pieces)
        self.ended = True
        self.complete = self.size <= self._limit

    async def tunnel(self, headers: bytes, wire: End) -> None:  # noqa: ARG002 - Reply's shape
        """A call whose answer is kept cannot switch protocols.

        Raises:
            WireError: always.
        """
        raise WireError("the function switched protocols, but nobody is there to talk to")

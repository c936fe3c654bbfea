"""What a runtime promises, whatever runs the function. `faasd_py.testing.RuntimeConformance` is this page as tests.

A runtime is given an `Invocation` and pushes the answer into a `Reply` as it comes; both belong to the caller. So a
synchronous request streams straight through, and a worker collects. Deadlines are the caller's cancel scopes: a
cancelled `invoke` stops the attempt (kills the process group, closes the connection) and cleans up by itself.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Protocol

import msgspec


class Source(Protocol):
    """A body that is still arriving."""

    async def read(self) -> bytes:
        """The next piece, at most 256 KiB; empty at the end."""
        ...


class Duplex(Protocol):
    """Raw bytes both ways, after an upgrade."""

    async def receive_some(self) -> bytes:
        """The next bytes; empty at the end."""
        ...

    async def send_all(self, data: bytes) -> None:
        """Send all of it, with back-pressure."""
        ...

    async def send_eof(self) -> None:
        """Say that no more will come; the other direction goes on."""
        ...


class Reply(Protocol):
    """Where the answer goes. Either `answer`, or `start`, any number of `write`, `end`; or `tunnel`.

    `headers` are end-to-end lines, each ending in CRLF, without Connection and Transfer-Encoding; they have
    `Content-Length` exactly when `length` is not None (`answer` adds it if it is missing).
    """

    async def answer(self, status: int, headers: bytes, body: bytes) -> None:
        """The whole answer at once."""
        ...

    async def start(self, status: int, headers: bytes, length: int | None) -> None:
        """Status and headers; the body follows. `length` None: until `end`."""
        ...

    async def write(self, data: bytes) -> None:
        """A piece of the body, passed on at once."""
        ...

    async def end(self) -> None:
        """The body is complete."""
        ...

    async def tunnel(self, headers: bytes, wire: Duplex) -> None:
        """The function switched protocols (101): move bytes both ways until both ends are done."""
        ...


class Invocation:
    """One request to a function: `target` begins with `/`, `headers` are lines ending in CRLF.

    Hop-by-hop fields, Host and Transfer-Encoding are not among the headers; Content-Length is, exactly when `length`
    is not None. `body` is the whole body when it is at hand, else None and `source` gives it. `upgrade` is the
    protocol that the client asks for (`websocket`), else empty.
    """

    __slots__ = ("body", "call_id", "headers", "host", "length", "method", "source", "target", "upgrade")

    def __init__(
        self,
        method: bytes,
        target: bytes,
        host: bytes,
        headers: bytes,
        body: bytes | None,
        length: int | None,
        source: Source | None,
        call_id: str,
        upgrade: bytes = b"",
    ) -> None:
        self.method = method
        self.target = target
        self.host = host
        self.headers = headers
        self.body = body
        self.length = length
        self.source = source
        self.call_id = call_id
        self.upgrade = upgrade

    def __repr__(self) -> str:
        return f"<Invocation {self.method.decode()} {self.target.decode('latin-1')} call={self.call_id}>"


class Replicas(msgspec.Struct, frozen=True):
    """How many there should be, and how many answer; if none does, how many starts failed in a row, and why."""

    wanted: int
    available: int
    failures: int = 0
    trouble: str = ""


class Usage(msgspec.Struct, frozen=True):
    """What something that runs has used and uses: CPU seconds since its start, and bytes of memory now."""

    cpu_seconds: float
    memory_bytes: int


class Runtime(Protocol):
    """One function, ready to be called.

    A runtime may also have `scale(wanted: int) -> None`, which sets the number of replicas and returns at once,
    `expect(wanted: int) -> None`, which says for how many there will be work when this takes the place of another version, and
    `async usage() -> Usage | None`, of all replicas together.
    """

    async def invoke(self, invocation: Invocation, reply: Reply) -> None:
        """Run the function once; its answer is in `reply` when this returns.

        Raises:
            FunctionUnavailable: it could not answer. If the answer had begun, the caller must break it off.
        """
        ...

    def replicas(self) -> Replicas:
        """Wanted and available processes or peers."""
        ...


class FunctionLog(Protocol):
    """Where a function's own lines go.

    One that wants the lines that OpenFaaS' watchdogs write for every call, too, has a true attribute `watchdog_lines`.
    """

    def line(self, text: str, *, stream: str = "stderr", instance: str = "", call_id: str = "") -> None:
        """One line, without its end."""
        ...


OpenRuntime = AbstractAsyncContextManager[Runtime]
"""Entering it makes the function ready to be called; leaving it lets running calls finish and stops it."""

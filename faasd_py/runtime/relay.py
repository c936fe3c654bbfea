"""A call passed on over HTTP: the pool's errors as the function's."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Final

from faasd_py.core.errors import FunctionUnavailable
from faasd_py.http.client import Pool
from faasd_py.http.errors import BadAnswer, ConnectFailed, PeerClosed
from faasd_py.runtime.contract import Invocation, Reply

PEER_ERRORS: Final = (ConnectFailed, PeerClosed, BadAnswer)

_AT_ONCE: Final = 64 << 10
"""Larger bodies are sent while the answer is read: both ends may wait for each other otherwise."""
_PIECE: Final = 256 << 10


class Whole:
    """A body that is at hand, as a Source."""

    def __init__(self, body: bytes) -> None:
        self._left = memoryview(body)

    async def read(self) -> bytes:
        """See Source."""
        piece, self._left = bytes(self._left[:_PIECE]), self._left[_PIECE:]
        return piece


def relay(pool: Pool, base: bytes, host: bytes, invocation: Invocation, reply: Reply) -> Awaitable[None]:
    """One request to a peer; `base` goes before the target, `host` is the Host line.

    What is awaited raises PEER_ERRORS; `unavailable` makes the function's own of them. (A plain function: each coroutine
    between a call and its wait costs something at every wake-up.)
    """
    body: bytes | None = invocation.body
    source = invocation.source
    if body is not None and len(body) > _AT_ONCE:
        source, body = Whole(body), None
    return pool.request(
        invocation.method,
        base + invocation.target,
        host + invocation.headers,
        body,
        invocation.length,
        source,
        reply,
        invocation.upgrade,
    )


def unavailable(error: Exception) -> FunctionUnavailable:
    """The peer could not be reached, broke off, or does not speak HTTP."""
    return FunctionUnavailable(f"the function did not answer: {error}")

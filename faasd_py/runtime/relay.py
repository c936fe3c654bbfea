"""A call passed on over HTTP: the pool's errors as the function's."""

from __future__ import annotations

from typing import Final

from faasd_py.core.errors import FunctionUnavailable
from faasd_py.http.client import Pool
from faasd_py.http.errors import BadAnswer, ConnectFailed, PeerClosed
from faasd_py.runtime.contract import Invocation, Reply

PEER_ERRORS: Final = (ConnectFailed, PeerClosed, BadAnswer)


async def relay(pool: Pool, base: bytes, host: bytes, invocation: Invocation, reply: Reply) -> None:
    """One request to a peer; `base` goes before the target, `host` is the Host line.

    Raises:
        FunctionUnavailable: the peer could not be reached, broke off, or does not speak HTTP.
    """
    try:
        await pool.request(
            invocation.method,
            base + invocation.target,
            host + invocation.headers,
            invocation.body,
            invocation.length,
            invocation.source,
            reply,
            invocation.upgrade,
        )
    except PEER_ERRORS as error:
        raise FunctionUnavailable(f"the function did not answer: {error}") from error

"""Pure. From the outcome of a call to the callback that carries it (semantics: "Callbacks"; OpenFaaS wire contract §2.4)."""

from __future__ import annotations

from typing import Final

import msgspec

from faasd_py import __version__
from faasd_py.callback.url import parse_url
from faasd_py.core.call import Body, Call
from faasd_py.core.outcome import Outcome
from faasd_py.http import fields

PREFIX: Final = "callback:"
USER_AGENT: Final = f"faasd-py/{__version__}".encode("ascii")
CREDENTIALS: Final = (b"authorization", b"cookie", b"cookie2", b"proxy-authorization")
"""What a client proved itself with, should a function repeat it."""
OURS: Final = (
    b"x-call-id", b"x-function-name", b"x-function-status", b"x-function-error", b"x-duration-seconds", b"x-retry",
    b"x-retry-max", b"user-agent", b"webhook-id", b"webhook-timestamp", b"webhook-signature",
)  # fmt: skip
"""What the function's own answer cannot say."""
_CUT: Final = (*fields.HOP_BY_HOP, b"host", b"content-length", b"expect", *CREDENTIALS, *OURS)


class Finished(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be told about a finished call."""

    id: str
    """The queue's id of the call."""
    call_id: str
    """What travels as X-Call-Id."""
    function: str
    """As the caller knows it: `NAME`, or `NAME.NAMESPACE`."""
    outcome: Outcome
    body: Body
    """The function's whole answer, also where the outcome keeps only a part of it."""
    retries: int
    """How often the call was tried again."""
    max_retries: int
    reason: str = ""
    """Why it is dead; empty when the function's answer was accepted."""


def is_callback(lane: str) -> bool:
    """The lane is one of deliveries."""
    return lane.startswith(PREFIX)


def call_id_of(origin: str) -> str:
    """The correlation id of the callback that tells of the call with this queue id."""
    return PREFIX + origin


def build(url: str, done: Finished, *, now: float) -> Call:
    """The callback, ready for the queue; its body is the function's whole answer.

    Its own `call_id` is `call_id_of` that of the call it tells about: so it is found by it, as cheaply as any call by its
    X-Call-Id, and the id of that call finds that call.

    Raises:
        BadOption: the URL cannot be used.
    """
    parsed = parse_url(url)
    return Call(
        lane=PREFIX + parsed.netloc,
        target=parsed.target,
        host=parsed.field,
        headers=_headers(done),
        body=done.body,
        call_id=call_id_of(done.id),
        accepted_at=now,
        callback_url=url,
        origin=done.id,
    )


def _headers(done: Finished) -> bytes:
    outcome = done.outcome
    lines = (
        f"X-Call-Id: {done.call_id}\r\n"
        f"X-Function-Name: {done.function}\r\n"
        f"X-Function-Status: {outcome.status}\r\n"
        f"X-Duration-Seconds: {outcome.duration:.6f}\r\n"
        f"X-Retry: {done.retries}\r\n"
        f"X-Retry-Max: {done.max_retries}\r\n"
    ).encode("latin-1")
    if done.reason:
        lines += f"X-Function-Error: {done.reason}\r\n".encode("ascii")
    return fields.without(outcome.headers, *_CUT) + lines + b"User-Agent: " + USER_AGENT + b"\r\n"

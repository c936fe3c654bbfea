"""Pure. The header lines that the gateway adds, and those that it takes away (OpenFaaS wire contract §1.5, §2.4)."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Final

from faasd_py.gateway import options

CALL_ID: Final = b"x-call-id"
FORWARDED_FOR: Final = b"x-forwarded-for"
FORWARDED_HOST: Final = b"x-forwarded-host"
ACCEPT: Final = b"accept"
WANTED: Final = (CALL_ID, FORWARDED_FOR, FORWARDED_HOST, ACCEPT, options.CALLBACK, *options.NAMES)
"""The fields that the door asks the server to find."""

_UNSTORED: Final = re.compile(
    rb"^(?:content-length|" + b"|".join(map(re.escape, (CALL_ID, *options.NAMES))) + rb"):[^\n]*\n",
    re.IGNORECASE | re.MULTILINE,
)
_LIVE: Final = (b"text/event-stream", b"application/x-ndjson")


OWN: Final = b"X-Call-Id: %b\r\nX-Start-Time: %d\r\n"
"""What each call and its answer carry: the call id, and nanoseconds since 1970."""
OWN_NAMES: Final = (b"x-call-id", b"x-start-time")
ACCEPTED: Final = b"X-Call-Id: %b\r\nX-Queue-Id: %b\r\nX-Start-Time: %d\r\n"
"""What a 202 carries: the caller's call id or the queue's, the queue's, and when it came."""
ACCEPTED_NAMES: Final = (b"x-call-id", b"x-queue-id", b"x-start-time")
_AT_ONCE: Final = 64
_parts: Final = re.compile(b"(.{8})(.{4}).(.{3}).(.{3})(.{12})").findall


class CallIds:
    """Random UUIDs of version 4 (RFC 9562 §5.4), made many at once: the system's random numbers are far away."""

    def __init__(self) -> None:
        self._ids: list[bytes] = []

    def new(self) -> bytes:
        """One that nobody has."""
        if not self._ids:
            digits = os.urandom(16 * _AT_ONCE).hex().encode()
            self._ids = [b"%b-%b-4%b-a%b-%b" % parts for parts in _parts(digits)]
        return self._ids.pop()


def forwarded(fields: Mapping[bytes, bytes], peer: bytes, host: bytes) -> bytes:
    """X-Forwarded-For and X-Forwarded-Host, each where the client sent none."""
    lines = b""
    if FORWARDED_FOR not in fields:
        lines = b"X-Forwarded-For: " + peer + b"\r\n"
    if FORWARDED_HOST not in fields and host:
        lines += b"X-Forwarded-Host: " + host + b"\r\n"
    return lines


def stored(headers: bytes) -> bytes:
    """The lines that an asynchronous call keeps: no framing, no options, and the call id is a field of its own."""
    return _UNSTORED.sub(b"", headers)


def is_live(fields: Mapping[bytes, bytes]) -> bool:
    """The client asks for a stream of events, which no exec_timeout ends (wire contract §5.3)."""
    accept = fields.get(ACCEPT)
    return accept is not None and any(kind in accept for kind in _LIVE)

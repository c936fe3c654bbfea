"""What the client says, as bytes. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

PING: Final = b"PING\r\n"
PONG: Final = b"PONG\r\n"


def connect(fields: Mapping[str, Any]) -> bytes:
    """Who we are and what we speak."""
    return b"CONNECT %b\r\n" % json.dumps(fields, separators=(",", ":")).encode()


def pub(subject: bytes, reply: bytes, data: bytes) -> bytes:
    """One message without headers."""
    if reply:
        return b"PUB %b %b %d\r\n%b\r\n" % (subject, reply, len(data), data)
    return b"PUB %b %d\r\n%b\r\n" % (subject, len(data), data)


def hpub(subject: bytes, reply: bytes, block: bytes, data: bytes) -> bytes:
    """One message with the block that `encode_headers` made."""
    to = b"%b %b" % (subject, reply) if reply else subject
    return b"HPUB %b %d %d\r\n%b%b\r\n" % (to, len(block), len(block) + len(data), block, data)


def sub(subject: bytes, queue: bytes, sid: int) -> bytes:
    """Send me what is published there."""
    if queue:
        return b"SUB %b %b %d\r\n" % (subject, queue, sid)
    return b"SUB %b %d\r\n" % (subject, sid)


def unsub(sid: int, after: int | None = None) -> bytes:
    """No more of it: now, or after so many in all."""
    return b"UNSUB %d\r\n" % sid if after is None else b"UNSUB %d %d\r\n" % (sid, after)

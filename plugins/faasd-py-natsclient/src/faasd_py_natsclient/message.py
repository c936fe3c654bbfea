"""What the server sends, one class each. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True, eq=True)
class Message:
    """One message of a subscription, or the answer to a request.

    `headers` is None when the message came without any; of a name that came twice the first value counts, as in the
    other clients' `get`. `status` and `description` are those of the header block's first line (`NATS/1.0 503`).
    `sid` is the number of the subscription on the wire.
    """

    subject: str
    sid: int
    reply: str
    data: bytes
    headers: Mapping[str, str] | None = None
    status: int | None = None
    description: str = ""


@dataclass(slots=True, frozen=True)
class Info:
    """What the server says of itself: at first, and whenever it changes."""

    fields: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True, frozen=True)
class Ping:
    """Answer me."""


@dataclass(slots=True, frozen=True)
class Pong:
    """The answer to one of our pings; they come in order."""


@dataclass(slots=True, frozen=True)
class Ok:
    """A verbose server's assent."""


@dataclass(slots=True, frozen=True)
class Err:
    """The server's complaint, without its quotes."""

    text: str


@dataclass(slots=True, frozen=True)
class Broken:
    """The bytes are not NATS, for this reason; nothing follows."""

    reason: str


Event = Message | Info | Ping | Pong | Ok | Err | Broken

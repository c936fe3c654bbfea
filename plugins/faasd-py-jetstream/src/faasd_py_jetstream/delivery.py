"""Pure. What a pull consumer's messages say in their reply subject, and what is answered there (NATS ADR-13, ADR-15)."""

from __future__ import annotations

from typing import Final

import msgspec

ACK: Final = b"+ACK"
"""It is done: a work queue forgets the message."""
WORKING: Final = b"+WPI"
"""It is being worked on: the ack timer begins anew."""
NAK: Final = b"-NAK"
"""Give it out again, at once."""


class Delivery(msgspec.Struct, frozen=True):
    """One delivery of one message. `count` is 1 for the first; `pending` is how many more wait behind it."""

    consumer: str
    count: int
    seq: int
    pending: int


def parse(reply: str) -> Delivery | None:
    """Read `$JS.ACK.STREAM.CONSUMER.COUNT.SEQ.CONSUMERSEQ.TIME.PENDING`, also with domain and account in front."""
    parts = reply.split(".")
    if len(parts) < 9 or parts[0] != "$JS" or parts[1] != "ACK":
        return None
    at = 3 if len(parts) == 9 else 5
    try:
        return Delivery(parts[at], int(parts[at + 1]), int(parts[at + 2]), int(parts[at + 5]))
    except (ValueError, IndexError):
        return None


def nak(wait: float) -> bytes:
    """Give it out again in so many seconds."""
    if wait <= 0:
        return NAK
    return b'-NAK {"delay": %d}' % int(wait * 1e9)

"""Pure. A call on its way through the broker in our own form: everything that a worker decides by travels with it.

    fpy1 + MessagePack [id, call, hop, attempts, crashed, due, spooled]     a call
    fpyd + MessagePack [id, call, attempts, reason, outcome, died_at, raw]      a dead letter

A new field goes to the end and has a default, so that daemons of different versions read each other's messages.
"""

from __future__ import annotations

from typing import Final

import msgspec

from faasd_py.api import Call, Outcome

MAGIC: Final = b"fpy1"
DEAD: Final = b"fpyd"


class Unreadable(Exception):
    """The bytes are no call; the text says why."""


class Envelope(msgspec.Struct, array_like=True, kw_only=True):
    """One call. `hop` counts how often it was published anew."""

    id: str
    call: Call
    hop: int = 0
    attempts: int = 0
    """Attempts begun before it was published."""
    crashed: bool = False
    due: float | None = None
    """Not to be given out before; seconds since 1970."""
    spooled: bool = False
    """The body lay in a file, and is given out in a file."""


class DeadLetter(msgspec.Struct, array_like=True, kw_only=True, frozen=True):
    """A call that was given up, or (`call` is None) a message that could not be read, as it came."""

    id: str
    call: Call | None
    attempts: int
    reason: str
    outcome: Outcome | None
    died_at: float
    raw: bytes = b""


_encoder: Final = msgspec.msgpack.Encoder()
_envelopes: Final = msgspec.msgpack.Decoder(Envelope)
_letters: Final = msgspec.msgpack.Decoder(DeadLetter)


def encode(envelope: Envelope) -> bytes:
    """The message. The call's body must be in memory."""
    return MAGIC + _encoder.encode(envelope)


def decode(data: bytes) -> Envelope:
    """The other way.

    Raises:
        Unreadable: it is none of ours.
    """
    if data[:4] != MAGIC:
        raise Unreadable("it is not in the native format")
    try:
        return _envelopes.decode(data[4:])
    except msgspec.DecodeError as error:
        raise Unreadable(f"it is not in the native format: {error}") from None


def encode_dead(letter: DeadLetter) -> bytes:
    """The message. The bodies must be in memory."""
    return DEAD + _encoder.encode(letter)


def decode_dead(data: bytes) -> DeadLetter:
    """The other way.

    Raises:
        Unreadable: it is no dead letter.
    """
    if data[:4] != DEAD:
        raise Unreadable("it is no dead letter")
    try:
        return _letters.decode(data[4:])
    except msgspec.DecodeError as error:
        raise Unreadable(f"it is no dead letter: {error}") from None

"""A call as a row, and back. Bodies up to INLINE bytes lie in the row, larger ones in a table of their own or a file."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import Any, Final

import msgspec

from faasd_py.core.call import Body, Call, Spooled
from faasd_py.core.outcome import Attempt, Outcome
from faasd_py.queue.spool import BodyStore
from faasd_py.queue.sqlite.schema import APART, SPOOLED

INLINE: Final = 1024
HISTORY: Final = 20
"""Attempts that are remembered one by one; older ones only count."""
BODY: Final = f"CASE WHEN flags & {APART} THEN (SELECT body FROM bodies WHERE bodies.key = calls.key) END"
WAITING_COLUMNS: Final = (
    f"key, lane, rank, attempts, flags, size, ifnull(kept, 0), ifnull(history, x''), head, {BODY}"
)

Line = tuple[int, float, float, int, str]
encode: Final = msgspec.msgpack.Encoder().encode
_decode_call: Final = msgspec.msgpack.Decoder(Call).decode
_decode_outcome: Final = msgspec.msgpack.Decoder(Outcome).decode
_decode_lines: Final = msgspec.msgpack.Decoder(list[Line]).decode
Damaged: Final = msgspec.MsgspecError


class Waiting(msgspec.Struct, frozen=True, gc=False):
    """A waiting call as it was read."""

    key: int
    lane: int
    rank: int
    attempts: int
    flags: int
    size: int
    kept: int
    history: bytes
    call: Call


def lane_number(name: str, node: int) -> int:
    """The lane's number in a store: a digest of its name with the store's own key, so no table is asked for it."""
    return (
        int.from_bytes(blake2b(name.encode(), digest_size=8, key=node.to_bytes(8, "big")).digest(), "big")
        >> 1
    )


def pack(call: Call) -> tuple[bytes, bytes | None, int]:
    """`head`, the body that goes apart if there is one, and the flags that say where it is."""
    body = call.body
    if type(body) is bytes:
        if len(body) <= INLINE:
            return encode(call), None, 0
        return encode(msgspec.structs.replace(call, body=b"")), body, APART
    if isinstance(body, Spooled):
        return encode(msgspec.structs.replace(call, body=Spooled(path="", size=body.size))), None, SPOOLED
    return pack(msgspec.structs.replace(call, body=bytes(body)))


def unpack(key: int, flags: int, head: bytes, body: bytes | None, body_store: BodyStore) -> Call:
    """The call of a row.

    Raises:
        Damaged: the row is not what was written; the text says how.
    """
    call = _decode_call(head)
    if flags & APART:
        if body is None:
            raise msgspec.DecodeError("the body is missing")
        return msgspec.structs.replace(call, body=body)
    if flags & SPOOLED:
        return msgspec.structs.replace(call, body=_spooled(key, call.body, body_store))
    return call


def unpack_head(head: bytes) -> Call:
    """The call of a row, with the body only if that is in the row.

    Raises:
        Damaged: the row is not what was written.
    """
    return _decode_call(head)


def _spooled(key: int, body: Body, body_store: BodyStore) -> Spooled:
    if not isinstance(body, Spooled) or not body_store.path(key).exists():
        raise msgspec.DecodeError("the file with the body is missing")
    return Spooled(path=str(body_store.path(key)), size=body.size)


def waiting(row: Sequence[Any], body_store: BodyStore) -> Waiting:
    """A row of WAITING_COLUMNS.

    Raises:
        Damaged: the row is not what was written.
    """
    key, lane, rank, attempts, flags, size, kept, history, head, body = row
    if type(head) is not bytes or type(history) is not bytes:
        raise msgspec.DecodeError("the row is not what was written")
    call = unpack(key, flags, head, body, body_store)
    return Waiting(key, lane, rank, attempts, flags, size, kept, history, call)


def pack_outcome(outcome: Outcome, limit: int) -> bytes:
    """An outcome as it is kept: a body over `limit` bytes, or in a file, is left out."""
    body = outcome.body
    if isinstance(body, Spooled) or len(body) > limit:
        size = outcome.size or (body.size if isinstance(body, Spooled) else len(body))
        outcome = msgspec.structs.replace(outcome, body=b"", complete=False, size=size)
    return encode(outcome)


def unpack_outcome(blob: bytes) -> Outcome:
    """The outcome in a row.

    Raises:
        Damaged: it is not what was written.
    """
    return _decode_outcome(blob)


def add_line(history: bytes, line: Line) -> bytes:
    """The history with one more attempt, the oldest forgotten beyond HISTORY."""
    if not history:
        return encode((line,))
    lines = _decode_lines(history)
    lines.append(line)
    return encode(lines[-HISTORY:])


def read_history(history: bytes | None) -> tuple[Attempt, ...]:
    """The attempts in a row; none if they cannot be read."""
    try:
        lines = _decode_lines(history) if history else []
    except Damaged:
        return ()
    return tuple(
        Attempt(number=number, started_at=start, duration=duration, status=status, reason=reason)
        for number, start, duration, status, reason in lines
    )

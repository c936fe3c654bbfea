"""Pure. A call that waits for the link lies in the local queue as a call of one lane: all of it, and whether the hub may have it."""

from __future__ import annotations

from typing import Final

import msgspec

from faasd_py.api import Call, Spooled

LANE: Final = "forward"
"""The one lane of the local queue: first in, first out."""


class Envelope(msgspec.Struct, frozen=True, array_like=True):
    """`again`: it was sent to the hub before, without a reply."""

    call: Call
    again: bool


def pack(call: Call, *, again: bool) -> Call:
    """The call as the local queue keeps it: the body where it keeps bodies, all else where it keeps headers."""
    head = msgspec.msgpack.encode(Envelope(msgspec.structs.replace(call, body=b""), again))
    return Call(
        lane=LANE, headers=head, body=call.body, call_id=call.call_id, accepted_at=call.accepted_at,
        idempotency_key=None if call.idempotency_key is None else f"{call.lane} {call.idempotency_key}",
        fingerprint=call.fingerprint,
    )  # fmt: skip


def unpack(kept: Call) -> Envelope:
    """What was packed."""
    envelope = msgspec.msgpack.decode(kept.headers, type=Envelope)
    return Envelope(msgspec.structs.replace(envelope.call, body=kept.body), envelope.again)


def keyed(call: Call, spoke: bytes, identity: str) -> Call:
    """With an idempotency key in any case, so that the hub takes it once however often it is forwarded."""
    if call.idempotency_key is not None:
        return call
    return msgspec.structs.replace(call, idempotency_key=f"nng:{spoke.hex()}:{identity}", fingerprint=b"nng")


def size_of(call: Call) -> int:
    """As the hub will count it."""
    body = call.body.size if isinstance(call.body, Spooled) else len(call.body)
    return len(call.target) + len(call.headers) + body

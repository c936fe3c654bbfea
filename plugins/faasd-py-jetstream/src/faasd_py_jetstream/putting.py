"""Putting calls into the stream: from `put`, from a settlement's callback, from a requeued dead letter."""

from __future__ import annotations

import datetime as dt

import msgspec

from faasd_py.api import Call
from faasd_py_jetstream import rows
from faasd_py_jetstream.context import Context
from faasd_py_jetstream.names import place

MSG_ID = "Nats-Msg-Id"


class Publication(msgspec.Struct, frozen=True):
    """A call as it is published."""

    subject: str
    data: bytes
    headers: dict[str, str]
    later: bool


def publication(
    context: Context, identity: str, call: Call, stored: str = "", *, msg_id: str = ""
) -> Publication:
    """The message of a call; `stored`: the header that says where its large body lies.

    One that asks for a later time is published as a schedule (NATS ADR-51).
    """
    where = place(call.lane, call.priority, call.call_id, identity)
    root = context.names.root
    headers = {MSG_ID: msg_id or identity}
    if stored:
        headers[rows.BODY] = stored
        call = msgspec.structs.replace(call, body=b"")
    later = call.not_before is not None and call.not_before > context.clock()
    data = rows.encode(call)
    if not later or call.not_before is None:
        return Publication(f"{root}.call.{where}", data, headers, later)
    headers["Nats-Schedule"] = f"@at {stamp(call.not_before)}"
    headers["Nats-Schedule-Target"] = f"{root}.call.{where}"
    return Publication(f"{root}.later.{where}", data, headers, later)


def stamp(time: float) -> str:
    """Seconds since 1970 as RFC 3339, to the microsecond."""
    moment = dt.datetime.fromtimestamp(min(time, 253402300799.0), dt.UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")

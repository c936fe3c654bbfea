"""A call is put: checked, counted, published, and confirmed by the server."""

from __future__ import annotations

import secrets
from typing import Final

import trio

from faasd_py.api import Accepted, BadOption, Call, Capabilities, QueueFull, QueueUnavailable, Spooled
from faasd_py_nats_streaming import bodies, names
from faasd_py_nats_streaming.envelope import Envelope, encode
from faasd_py_nats_streaming.errors import Refused, StanError, TooLarge
from faasd_py_nats_streaming.identity import NODE_BITS, Ids
from faasd_py_nats_streaming.parts import Parts

NO_ROOM: Final = "too many channels"
"""The server's words when `max_channels` is reached."""


class Putting:
    """The way in."""

    def __init__(self, parts: Parts, capabilities: Capabilities) -> None:
        self._parts = parts
        self._capabilities = capabilities
        self._ids = Ids(secrets.randbits(NODE_BITS))

    async def put(self, call: Call) -> Accepted:
        """See `faasd_py.api.Queue.put`."""
        await trio.lowlevel.checkpoint()
        parts, now = self._parts, self._parts.clock()
        self._check(call)
        identity = self._ids.text(self._ids.new(now))
        due = call.not_before if call.not_before is not None and call.not_before > now else None
        envelope = await self.envelope(identity, call, due)
        try:
            await parts.session.room()
            self._check_room(call, late=due is not None)
            await self._publish(envelope)
        except TooLarge as error:
            raise BadOption(f"the call is too large for this queue: {error}") from None
        except StanError as error:
            raise QueueUnavailable(f"NATS Streaming does not take the call: {error}") from None
        bodies.remove(call.body)
        return Accepted(id=identity, call_id=call.call_id or identity)

    async def envelope(self, identity: str, call: Call, due: float | None = None) -> Envelope:
        """A new call as it travels."""
        spooled = isinstance(call.body, Spooled)
        return Envelope(id=identity, call=await bodies.in_memory(call), due=due, spooled=spooled)

    def new_id(self) -> str:
        """The id of one more call."""
        return self._ids.text(self._ids.new(self._parts.clock()))

    async def _publish(self, envelope: Envelope) -> None:
        parts, lane = self._parts, envelope.call.lane
        if envelope.due is not None:
            await parts.publishing.once(parts.options.later_subject, envelope, encode(envelope))
            return
        subject = parts.channels.subject(lane)
        if subject not in parts.channels.intakes:
            subject = await parts.channels.ready(lane)
        data = parts.format.encode(envelope) if names.is_function(lane) else encode(envelope)
        try:
            await parts.publishing.once(subject, envelope, data)
        except Refused as error:
            if NO_ROOM not in str(error) or subject == parts.options.subject:
                raise
            parts.channels.share(lane, error)
            await parts.publishing.once(parts.options.subject, envelope, data)

    def _check(self, call: Call) -> None:
        able = self._capabilities
        for asked, can, what in (
            (call.not_before is not None, able.delay, "delays"),
            (call.priority != 0, able.priority, "priorities"),
            (call.idempotency_key is not None, able.dedup, "idempotency keys"),
        ):
            if asked and not can:
                raise BadOption(f"this queue has no {what}")

    def _check_room(self, call: Call, *, late: bool) -> None:
        parts, counters, settings = self._parts, self._parts.counters, self._parts.settings
        if (trouble := parts.session.trouble()) is not None:
            raise QueueUnavailable(trouble)
        if counters.depth >= settings.max_depth:
            raise QueueFull(f"the queue is full: {counters.depth} calls wait (max_depth)")
        if counters.bytes + call.size > settings.max_bytes:
            raise QueueFull(f"the queue is full: {counters.bytes} bytes wait (max_bytes)")
        if late and counters.delayed >= parts.options.max_delayed:
            raise QueueFull(f"{counters.delayed} calls wait for their time (queue.options.max_delayed)")
        if parts.danger:
            subject = parts.options.later_subject if late else parts.channels.subject(call.lane)
            if (danger := parts.danger.get(subject)) is not None:
                raise QueueFull(danger)

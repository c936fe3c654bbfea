"""What a person did to a waiting call, told as an event: the workers, who tell of the rest, never had it."""

from __future__ import annotations

from faasd_py.observe.events import Events
from faasd_py.queue.contract import Queue


async def tell_cancelled(events: Events, queue: Queue, call: str) -> None:
    """`call.cancelled`, of the newest call when several have this X-Call-Id. Nothing when nobody listens."""
    if not events.heard or not queue.capabilities.inspect or (record := await queue.find(call)) is None:
        return
    events.emit(
        "call.cancelled",
        id=record.id,
        call_id=record.call_id,
        function=record.lane,
        attempt=record.attempts,
        status=record.status,
        duration=None,
        reason="cancelled",
    )


async def tell_requeued(events: Events, queue: Queue, call: str) -> None:
    """`call.requeued`. Nothing when nobody listens."""
    if not events.heard or not queue.capabilities.inspect or (record := await queue.find(call)) is None:
        return
    events.emit("call.requeued", id=record.id, call_id=record.call_id, function=record.lane)

"""`DELETE /async-function/CALL_ID`: take a call back, waiting or running (OpenFaaS wire contract §2.6)."""

from __future__ import annotations

from collections.abc import Callable

from faasd_py.core.lifecycle import State
from faasd_py.gateway import answers
from faasd_py.http.exchange import Exchange
from faasd_py.observe.events import Events
from faasd_py.queue.contract import Queue
from faasd_py.queue.telling import tell_cancelled


class Cancel:
    """202 when the call is cancelled, 404 when it is unknown, 409 when it is finished; `stop` ends a running attempt."""

    def __init__(self, queue: Queue, stop: Callable[[str], bool], events: Events | None = None) -> None:
        self._queue = queue
        self._events = Events() if events is None else events
        self._stop = stop

    async def __call__(self, exchange: Exchange) -> None:
        """Cancel the call whose queue id or X-Call-Id stands in the function's place."""
        await exchange.answer(*await self._cancel(exchange.plan.name.decode("latin-1")))

    async def _cancel(self, call: str) -> answers.Answer:
        if not self._queue.capabilities.cancel:
            return answers.text(501, "this queue cannot cancel calls")
        state = await self._queue.cancel(call)
        if state is None:
            return answers.text(404, f"call {call[:80]} not found")
        if state in {State.DONE, State.CANCELLED} or (state is State.LEASED and not self._stop(call)):
            return answers.text(409, f"call {call[:80]} is already finished")
        if state is not State.LEASED:
            await tell_cancelled(self._events, self._queue, call)
        return 202, b"", b""

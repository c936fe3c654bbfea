"""`DELETE /async-function/CALL_ID`: take a call back, waiting or running (OpenFaaS wire contract §2.6)."""

from __future__ import annotations

from collections.abc import Callable

from faasd_py.core.lifecycle import State
from faasd_py.gateway import answers
from faasd_py.gateway.gate import Gate
from faasd_py.http.exchange import Exchange
from faasd_py.observe.events import Events
from faasd_py.queue.contract import Queue
from faasd_py.queue.telling import tell_cancelled
from faasd_py.runtime.registry import Registry


class Cancel:
    """202 when the call is cancelled, 404 when it is unknown, 409 when it is finished; `stop` ends a running attempt.

    Whoever may not call the function may not cancel its calls.
    """

    def __init__(
        self,
        queue: Queue,
        stop: Callable[[str], bool],
        registry: Registry,
        events: Events | None = None,
        gate: Gate | None = None,
    ) -> None:
        self._queue = queue
        self._events = Events() if events is None else events
        self._stop = stop
        self._registry = registry
        self._gate = gate or Gate()

    async def __call__(self, exchange: Exchange) -> None:
        """Cancel the call whose queue id or X-Call-Id stands in the function's place."""
        call = exchange.plan.name.decode("latin-1")
        if not self._queue.capabilities.cancel:
            await exchange.answer(*answers.text(501, "this queue cannot cancel calls"))
            return
        asks, call = await self._look_up(call)
        if not asks or await self._gate.caller(exchange):
            await exchange.answer(*await self._cancel(call))

    async def _look_up(self, call: str) -> tuple[bool, str]:
        """Whether the call's function asks who calls (when the function is not known: whether any does), and the call's id."""
        guards = self._gate.guards
        if not any(guards(function.settings) for function in self._registry.functions()):
            return self._gate.functions, call
        record = await self._queue.find(call) if self._queue.capabilities.inspect else None
        if record is None:
            return True, call
        function = self._registry.lane(record.lane)
        return function is None or guards(function.settings), record.id

    async def _cancel(self, call: str) -> answers.Answer:
        state = await self._queue.cancel(call)
        if state is None:
            return answers.text(404, f"call {call[:80]} not found")
        if state in {State.DONE, State.CANCELLED} or (state is State.LEASED and not self._stop(call)):
            return answers.text(409, f"call {call[:80]} is already finished")
        if state is not State.LEASED:
            await tell_cancelled(self._events, self._queue, call)
        return 202, b"", b""

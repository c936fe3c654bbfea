"""Callbacks to our own names are delivered inside the daemon: the same functions and queue, no connection."""

from __future__ import annotations

import time
from typing import Final

import trio

from faasd_py.core.call import Call, Spooled
from faasd_py.core.errors import CallerError, FunctionError, QueueError
from faasd_py.core.outcome import Outcome
from faasd_py.gateway import headers, route
from faasd_py.gateway.enqueue import Enqueue, Request
from faasd_py.http import fields
from faasd_py.http.collect import Collector
from faasd_py.queue.spool import Spool
from faasd_py.runtime.contract import Invocation
from faasd_py.runtime.function import Function
from faasd_py.runtime.registry import Registry

KEPT: Final = 64 * 1024
"""Bytes of an answer that are kept; nobody reads more of a receiver's answer."""


class Local:
    """Delivers a callback whose URL names this gateway."""

    def __init__(self, registry: Registry, enqueue: Enqueue, spool: Spool) -> None:
        self._registry = registry
        self._enqueue = enqueue
        self._spool = spool

    async def __call__(self, call: Call) -> Outcome:
        """What the function or the queue answered; never raises for what they could not do."""
        way = route.split(call.target)
        if way is None:
            return Outcome(status=404, internal="proxy")
        name, target = way
        if call.target.startswith(route.ASYNC):
            return await self._put(name, target, call)
        function = self._registry.get(name)
        if function is None:
            return Outcome(status=404, internal="proxy")
        return await self._run(function, target, call)

    async def _put(self, name: bytes, target: bytes, call: Call) -> Outcome:
        try:
            await self._enqueue.accept(name, self._request(target, call))
        except (CallerError, QueueError) as error:
            return Outcome(status=error.status, internal="proxy")
        return Outcome(status=202)

    def _request(self, target: bytes, call: Call) -> Request:
        found = {
            name: value for name in headers.WANTED if (value := fields.get(call.headers, name)) is not None
        }
        spooled = isinstance(call.body, Spooled)
        return Request(
            target=target,
            host=call.host,
            headers=headers.stored(call.headers),
            fields=found,
            body=None if isinstance(call.body, Spooled) else call.body,
            length=call.body.size if isinstance(call.body, Spooled) else len(call.body),
            source=self._spool.reader(call.body) if spooled else None,  # type: ignore[arg-type]
        )

    async def _run(self, function: Function, target: bytes, call: Call) -> Outcome:
        begun, started_at = time.perf_counter(), time.time()
        reply = Collector(KEPT)
        status, internal = function.timeout_answer[0], "proxy"
        function.meter.begin()
        try:
            with trio.move_on_after(function.settings.exec_timeout or float("inf")):
                await function.runtime.invoke(self._invocation(target, call), reply)
                status, internal = reply.status, ""
        except FunctionError as error:
            status = error.status
        finally:
            function.meter.finish(status, time.perf_counter() - begun)
        return Outcome(
            status=status,
            internal=internal or None,
            started_at=started_at,
            duration=time.perf_counter() - begun,
        )

    def _invocation(self, target: bytes, call: Call) -> Invocation:
        request = self._request(target, call)
        call_id = request.fields.get(headers.CALL_ID, b"")
        length = request.length or 0
        lines = call.headers + b"Content-Length: %d\r\nX-Start-Time: %d\r\n" % (length, time.time_ns())
        return Invocation(
            b"POST", target, call.host, lines, request.body, length, request.source, call_id.decode("latin-1")
        )

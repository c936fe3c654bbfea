"""A synchronous call: the request streams to the function, its answer streams back. No queue, no worker."""

from __future__ import annotations

import logging
import time
from typing import Final

from faasd_py.core.errors import FunctionError
from faasd_py.gateway import answers, headers
from faasd_py.gateway.admission import Rates
from faasd_py.http.exchange import Exchange
from faasd_py.runtime.contract import Invocation
from faasd_py.runtime.function import Function
from faasd_py.runtime.registry import Registry

CLIENT_GONE: Final = 499
_log: Final = logging.getLogger("faasd_py.gateway")


class Invoke:
    """`ANY /function/NAME…`."""

    def __init__(self, registry: Registry, rates: Rates) -> None:
        self._registry = registry
        self._rates = rates

    async def __call__(self, exchange: Exchange, name: bytes, target: bytes) -> None:
        """Run the function for this exchange; `target` is what follows the name."""
        function = self._registry.get(name)
        if function is None:
            await _refuse(exchange, answers.unknown(name))
            return
        if refusal := self._refusal(function):
            await _refuse(exchange, refusal)
            return
        function.meter.begin()
        function.inflight += 1
        begun = time.perf_counter()
        try:
            await self._run(exchange, function, target)
        finally:
            function.inflight -= 1
            function.meter.finish(_status(exchange, function), time.perf_counter() - begun)

    def _refusal(self, function: Function) -> answers.Answer | None:
        settings = function.settings
        if settings.max_inflight and function.inflight >= settings.max_inflight:
            return answers.too_many(settings.max_inflight)
        if settings.rate is not None:
            wait = self._rates.wait(function.label, settings.rate, time.monotonic())
            return answers.over_rate(wait) if wait else None
        return None

    async def _run(self, exchange: Exchange, function: Function, target: bytes) -> None:
        invocation = _invocation(exchange, target)
        limit = function.settings.exec_timeout
        if limit and not exchange.upgrade and not headers.is_live(exchange.fields):
            exchange.expect(limit, *function.timeout_answer)
        try:
            await function.runtime.invoke(invocation, exchange)
        except FunctionError as error:
            _log.warning("%s: call %s: %s", function.label, invocation.call_id, error)
            if not exchange.began:
                await exchange.answer(*answers.text(error.status, str(error), internal=answers.INTERNAL))


async def _refuse(exchange: Exchange, answer: answers.Answer) -> None:
    """A refusal, too, names its call."""
    call_id = exchange.fields.get(headers.CALL_ID) or headers.new_call_id()
    exchange.extra = b"X-Call-Id: " + call_id + b"\r\n"
    await exchange.answer(*answer)


def _invocation(exchange: Exchange, target: bytes) -> Invocation:
    fields = exchange.fields
    own = b""
    call_id = fields.get(headers.CALL_ID)
    if call_id is None:
        call_id = headers.new_call_id()
        own = b"X-Call-Id: " + call_id + b"\r\n"
    start = b"X-Start-Time: %d\r\n" % time.time_ns()
    exchange.extra = b"X-Call-Id: " + call_id + b"\r\n" + start
    return Invocation(
        exchange.method,
        target,
        exchange.host,
        exchange.headers + own + start + headers.forwarded(fields, exchange.peer, exchange.host),
        exchange.body,
        exchange.length,
        exchange,
        call_id.decode("latin-1"),
        exchange.upgrade,
    )


def _status(exchange: Exchange, function: Function) -> int:
    """What the call is counted as."""
    if exchange.status:
        return exchange.status
    return function.timeout_answer[0] if exchange.timed_out else CLIENT_GONE

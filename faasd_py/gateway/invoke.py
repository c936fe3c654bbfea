"""A synchronous call: the request streams to the function, its answer streams back. No queue, no worker."""

from __future__ import annotations

import logging
import time
from typing import Final

from faasd_py.core.errors import FunctionError
from faasd_py.gateway import answers, headers
from faasd_py.gateway.admission import Rates
from faasd_py.gateway.gate import Gate
from faasd_py.gateway.plan import Plan
from faasd_py.http.exchange import Exchange
from faasd_py.runtime.contract import Invocation
from faasd_py.runtime.function import Function
from faasd_py.runtime.registry import Registry

CLIENT_GONE: Final = 499
_log: Final = logging.getLogger("faasd_py.gateway")


class Invoke:
    """`ANY /function/NAME…`."""

    def __init__(self, registry: Registry, rates: Rates, gate: Gate | None = None) -> None:
        self._registry = registry
        self._rates = rates
        self._gate = gate or Gate()
        self._new_call_id = headers.CallIds().new

    async def __call__(self, exchange: Exchange) -> None:
        """Run the function for this exchange. As few coroutines as can be lie between the connection and the runtime."""
        plan: Plan = exchange.plan
        call_id = self._new_call_id() if plan.call_id is None else plan.call_id
        function = self._registry.get(plan.name)
        if function is None:
            await self._unknown(exchange, call_id, plan.name)
            return
        asks = function.settings.auth
        if self._gate.functions if asks is None else asks:
            exchange.extra = b"X-Call-Id: %b\r\n" % call_id
            if not await self._gate.caller(exchange):
                return
            lines = plan.anonymous()
        else:
            lines = plan.lines
        if refusal := self._refusal(function):
            await _refuse(exchange, call_id, refusal)
            return
        function.meter.begin()
        function.inflight += 1
        begun = time.perf_counter()
        try:
            await function.runtime.invoke(_prepare(exchange, plan, lines, function, call_id), exchange)
        except FunctionError as error:
            await _fail(exchange, function, call_id, error)
        finally:
            function.inflight -= 1
            function.meter.finish(_status(exchange, function), time.perf_counter() - begun)

    async def _unknown(self, exchange: Exchange, call_id: bytes, name: bytes) -> None:
        """Where all functions ask, strangers are not told which there are."""
        exchange.extra = b"X-Call-Id: %b\r\n" % call_id
        if not self._gate.functions or await self._gate.caller(exchange):
            await exchange.answer(*answers.unknown(name))

    def _refusal(self, function: Function) -> answers.Answer | None:
        settings = function.settings
        if settings.max_inflight and function.inflight >= settings.max_inflight:
            return answers.too_many(settings.max_inflight)
        if settings.rate is not None:
            wait = self._rates.wait(function.label, settings.rate, time.monotonic())
            return answers.over_rate(wait) if wait else None
        return None


async def _refuse(exchange: Exchange, call_id: bytes, answer: answers.Answer) -> None:
    """A refusal, too, names its call."""
    exchange.extra = b"X-Call-Id: %b\r\n" % call_id
    await exchange.answer(*answer)


async def _fail(exchange: Exchange, function: Function, call_id: bytes, error: FunctionError) -> None:
    _log.warning("%s: call %s: %s", function.label, call_id.decode("latin-1"), error)
    if not exchange.began:
        await exchange.answer(*answers.text(error.status, str(error), internal=answers.INTERNAL))


def _prepare(exchange: Exchange, plan: Plan, lines: bytes, function: Function, call_id: bytes) -> Invocation:
    """The invocation; the answer's lines and deadline are set on the exchange."""
    limit = function.settings.exec_timeout
    if limit and not plan.live and not exchange.upgrade:
        exchange.expect(limit, *function.timeout_answer)
    exchange.extra = own = headers.OWN % (call_id, time.time_ns())
    exchange.extra_names = headers.OWN_NAMES
    return Invocation(
        exchange.method,
        plan.target,
        exchange.host,
        lines + (own if plan.call_id is None else own[own.index(b"\n") + 1 :]),
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

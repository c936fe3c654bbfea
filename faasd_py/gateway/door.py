"""The door: every request comes in here and is sent one of four ways.

/function/…         Invoke    to the function, streaming both ways
/async-function/…   Enqueue   POST: to the queue, 202; DELETE: Cancel
not canonical       301       to the cleaned path
everything else     control   to the control plane, over its private socket: one more upstream
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable
from typing import Final

from faasd_py.auth.identity import FIELD
from faasd_py.gateway import answers, route
from faasd_py.gateway.cancel import Cancel
from faasd_py.gateway.enqueue import Enqueue
from faasd_py.gateway.gate import AUTHORIZATION, Gate
from faasd_py.gateway.hangup import Hangups
from faasd_py.gateway.invoke import Invoke
from faasd_py.gateway.measured import PATH, Measured
from faasd_py.gateway.plan import Plan
from faasd_py.http import fields
from faasd_py.http.client import Pool
from faasd_py.http.errors import WireError
from faasd_py.http.exchange import Exchange
from faasd_py.observe.metrics import Metrics

_OURS: Final = (AUTHORIZATION, FIELD.encode())
"""Fields of a client's that the control plane never sees."""
_log: Final = logging.getLogger("faasd_py.gateway")


class Door:
    """The handler of the gateway's listeners."""

    def __init__(
        self, invoke: Invoke, enqueue: Enqueue, cancel: Cancel, control: Control, metrics: Metrics
    ) -> None:
        self._invoke = invoke
        self._enqueue = Measured(enqueue, metrics.request("POST", PATH))
        self._cancel = Measured(cancel, metrics.request("DELETE", PATH))
        self._control = control

    def __call__(self, exchange: Exchange) -> Awaitable[None]:
        """Send the exchange its way."""
        plan: Plan | None = exchange.plan
        if plan is None:
            plan = self._plan(exchange)
            exchange.remember(plan)
        return plan.go(exchange)

    def _plan(self, exchange: Exchange) -> Plan:
        target = exchange.target
        if (b"//" in target or b"/." in target) and (location := route.cleaned(target)):
            return Plan(_moved, exchange, target=location)
        way = route.split(target)
        if way is None:
            return Plan(self._control, exchange)
        if target.startswith(route.SYNC):
            return Plan(self._invoke, exchange, *way)
        if exchange.method == b"POST":
            return Plan(self._enqueue, exchange, *way)
        return Plan(self._cancel if exchange.method == b"DELETE" else _no_method, exchange, *way)


async def _moved(exchange: Exchange) -> None:
    await exchange.answer(*answers.moved(exchange.plan.target))


async def _no_method(exchange: Exchange) -> None:
    await exchange.answer(*answers.METHOD)


class Control:
    """The control plane as an upstream; while it is not there yet, 503. `only` limits which paths are let through.

    What is below /system and /ui is let through when the gate knows who asks, and says so to the control plane in a header
    that nobody else can set; the credential itself stays here.
    """

    def __init__(
        self,
        pool: Pool,
        only: frozenset[bytes] | None = None,
        gate: Gate | None = None,
        hangups: Hangups | None = None,
    ) -> None:
        self._pool = pool
        self._only = only
        self._gate = gate or Gate()
        self._hangups = hangups or Hangups()

    async def __call__(self, exchange: Exchange) -> None:
        """Proxy the exchange to the control plane."""
        if self._only is not None and exchange.target.partition(b"?")[0] not in self._only:
            await exchange.answer(*answers.NOT_FOUND)
            return
        lines = (
            b"Host: " + (exchange.host or b"localhost") + b"\r\n" + fields.without(exchange.headers, *_OURS)
        )
        if route.is_system(exchange.target):
            identity = await self._gate.operator(exchange)
            if identity is None:
                return
            lines += identity.line()
        try:
            with self._hangups.while_there(exchange):
                await self._pool.request(
                    exchange.method,
                    exchange.target,
                    lines,
                    exchange.body,
                    exchange.length,
                    exchange,
                    exchange,
                )
        except WireError as error:
            _log.warning(
                "control plane: %s %s: %s",
                exchange.method.decode(),
                exchange.target[:80].decode("latin-1"),
                error,
            )
            if not exchange.began:
                await exchange.answer(*answers.text(503, "the control plane is not ready", retry_after=1))

"""Asynchronous requests on the page of metrics: how they were answered, and how long it took."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from time import perf_counter

from faasd_py.http.exchange import Exchange
from faasd_py.observe.meter import Timings

PATH = "/async-function"


class Measured:
    """A handler, with timings of its own: by the status that it answered; what was not answered is not counted."""

    def __init__(self, handler: Callable[[Exchange], Awaitable[None]], timings: Timings) -> None:
        self._handler = handler
        self._timings = timings

    async def __call__(self, exchange: Exchange) -> None:
        """As the handler."""
        begun = perf_counter()
        try:
            await self._handler(exchange)
        finally:
            if exchange.status:
                self._timings.add(exchange.status, perf_counter() - begun)

"""The receivers that connections are kept for: one pool each, a bounded number of them, closed when nobody calls."""

from __future__ import annotations

import ssl
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import trio

from faasd_py.callback.guard import Guard
from faasd_py.callback.url import ParsedUrl
from faasd_py.http.client import Pool

MAX_POOLS: Final = 128
MAX_IDLE: Final = 4
"""Idle connections kept to one receiver."""
IDLE_TIMEOUT: Final = 30.0
"""Seconds that an unused connection, and then its pool, is kept."""

Key = tuple[str, str, int]


class Destination:
    """One receiver: its pool, the deliveries that use it now, and when it was last used."""

    __slots__ = ("busy", "pool", "used_at")

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.busy = 0
        self.used_at = 0.0


class Destinations:
    """Pools by scheme, host and port. Connections are made by the guard, so their addresses were checked."""

    def __init__(self, guard: Guard, timeout: float, tls: Callable[[], ssl.SSLContext]) -> None:
        self._guard = guard
        self._timeout = timeout
        self._make_tls = tls
        self._tls: ssl.SSLContext | None = None
        self._tls_lock = trio.Lock()
        self._open: OrderedDict[Key, Destination] = OrderedDict()

    def __repr__(self) -> str:
        return f"<Destinations: {len(self._open)} pools>"

    async def prepare(self, url: ParsedUrl) -> None:
        """For https, have the TLS context: reading the CA store takes some 20 ms, so a thread does it, once."""
        if url.scheme == "https" and self._tls is None:
            async with self._tls_lock:
                if self._tls is None:
                    self._tls = await trio.to_thread.run_sync(self._make_tls)

    @contextmanager
    def use(self, url: ParsedUrl) -> Iterator[Pool]:
        """The receiver's pool, after `prepare`."""
        key = url.scheme, url.host, url.port
        destination = self._open.get(key) or self._add(key, url)
        self._open.move_to_end(key)
        destination.busy += 1
        try:
            yield destination.pool
        finally:
            destination.busy -= 1
            destination.used_at = trio.current_time()
            if self._open.get(key) is not destination:
                destination.pool.close_idle()

    def tidy(self) -> None:
        """Close what nobody used for IDLE_TIMEOUT."""
        old = trio.current_time() - IDLE_TIMEOUT
        for key, destination in list(self._open.items()):
            if not destination.busy and destination.used_at <= old:
                self._remove(key)

    def close(self) -> None:
        """Close every connection, those in use after their delivery."""
        for key in list(self._open):
            self._remove(key)

    def _add(self, key: Key, url: ParsedUrl) -> Destination:
        while len(self._open) >= MAX_POOLS:
            self._remove(next(iter(self._open)))
        pool = Pool(
            self._guard.dial(url.host, url.port, self._timeout),
            tls=self._tls if url.scheme == "https" else None,
            server_name=url.host,
            max_idle=MAX_IDLE,
            idle_timeout=IDLE_TIMEOUT,
            read_timeout=None,
            write_timeout=None,
        )
        destination = self._open[key] = Destination(pool)
        return destination

    def _remove(self, key: Key) -> None:
        self._open.pop(key).pool.close_idle()

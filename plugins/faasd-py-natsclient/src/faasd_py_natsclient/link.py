"""One connection, from the moment the server has let us in until it is lost: a reader, a writer and a pinger."""

from __future__ import annotations

from collections.abc import Callable

import trio

from faasd_py_natsclient import encode
from faasd_py_natsclient.dial import Opened
from faasd_py_natsclient.errors import Disconnected
from faasd_py_natsclient.message import Broken, Event, Ping, Pong
from faasd_py_natsclient.options import Options
from faasd_py_natsclient.outbox import Outbox
from faasd_py_natsclient.waiters import Waiters


class Link:
    """Hands what comes to `hear`, and sends what is in the outbox."""

    def __init__(self, opened: Opened, outbox: Outbox, options: Options, hear: Callable[[list[Event]], None]) -> None:
        self._opened = opened
        self._outbox = outbox
        self._options = options
        self._hear = hear
        self._scope = trio.CancelScope()
        self._pongs: Waiters[None] = Waiters()
        self._pings_sent = 0
        self._pongs_seen = 0
        self.reason = ""

    async def run(self) -> None:
        """Until the connection is lost; `reason` then says why. The wire is closed."""
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._read)
                    nursery.start_soon(self._write)
                    nursery.start_soon(self._watch)
        finally:
            self._opened.wire.close()
            self._pongs.fail_all(lambda: Disconnected(f"connection lost: {self.reason}"))

    def lose(self, reason: str) -> None:
        """End it; the first reason counts."""
        self.reason = self.reason or reason
        self._scope.cancel()

    async def round_trip(self) -> None:
        """Until the server has read everything that was put before."""
        await self._pongs.wait(self._ping())

    def _ping(self) -> str:
        self._pings_sent += 1
        self._outbox.put_bound(encode.PING)
        return str(self._pings_sent)

    async def _read(self) -> None:
        opened = self._opened
        self._take(opened.events)
        try:
            while data := await opened.wire.receive():
                self._take(opened.parser.feed(data))
        except OSError as error:
            self.lose(error.strerror or str(error))
        self.lose("the server hung up")

    def _take(self, events: list[Event]) -> None:
        """Messages and the like go on; what is between the server and this connection stays here."""
        self._hear(events)
        for event in events:
            kind = type(event)
            if kind is Ping:
                self._outbox.put_bound(encode.PONG)
            elif kind is Pong:
                self._pongs_seen += 1
                self._pongs.answer(str(self._pongs_seen), None)
        if events and isinstance(events[-1], Broken):
            self.lose(events[-1].reason)

    async def _write(self) -> None:
        try:
            while True:
                await self._opened.wire.send_all(await self._outbox.take())
        except OSError as error:
            self.lose(error.strerror or str(error))

    async def _watch(self) -> None:
        """A server that leaves too many pings unanswered is gone, whatever TCP believes."""
        while True:
            await trio.sleep(self._options.ping_interval)
            if self._pings_sent - self._pongs_seen >= self._options.pings_out:
                self.lose(f"{self._options.pings_out} pings without an answer")
            self._ping()

"""One connection, from the moment the server has let us in until it is lost: a reader, a writer and a pinger."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import trio

from faasd_py_natsclient import encode
from faasd_py_natsclient.dial import Opened
from faasd_py_natsclient.errors import Disconnected
from faasd_py_natsclient.message import Broken, Err, Event, Info, Message, Ping, Pong
from faasd_py_natsclient.options import Options
from faasd_py_natsclient.outbox import Outbox
from faasd_py_natsclient.waiters import Waiters

GRACE: Final = 64 * 1024
"""Bytes over the outbox's limit that answers to pings may take; a server that does not read gets no more."""


class Link:
    """Messages go to `deliver`, what the server says of itself to `tell`, and what is in the outbox to the server."""

    def __init__(
        self,
        opened: Opened,
        outbox: Outbox,
        options: Options,
        deliver: Callable[[Message], None],
        tell: Callable[[Info | Err], None],
    ) -> None:
        self._opened = opened
        self._outbox = outbox
        self._options = options
        self._deliver = deliver
        self._tell = tell
        self._scope = trio.CancelScope()
        self._pongs: Waiters[None] = Waiters()
        self._pings_sent = 0
        self._pongs_seen = 0
        self._complaint = ""
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
            self._pongs.fail_all(lambda: Disconnected(f"connection lost: {self.reason or 'left'}"))

    def lose(self, reason: str) -> None:
        """End it; the first reason counts."""
        self.reason = self.reason or reason
        self._scope.cancel()

    async def round_trip(self) -> None:
        """Until the server has read everything that was put before, and we what it had sent by then."""
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
            self._complaint = self._complaint or error.strerror or str(error)
        self.lose(f"the server hung up: {self._complaint}" if self._complaint else "the server hung up")

    def _take(self, events: list[Event]) -> None:
        deliver = self._deliver
        for event in events:
            if type(event) is Message:
                deliver(event)
            else:
                self._control(event)

    def _control(self, event: Event) -> None:
        match event:
            case Ping():
                if self._outbox.size < self._outbox.limit + GRACE:
                    self._outbox.put_bound(encode.PONG)
            case Pong():
                self._pongs_seen += 1
                self._pongs.answer(str(self._pongs_seen), None)
            case Err(text):
                self._complaint = text
                self._tell(event)
            case Info():
                self._tell(event)
            case Broken(reason):
                self.lose(f"not NATS: {reason}")

    async def _write(self) -> None:
        try:
            while True:
                await self._opened.wire.send_all(await self._outbox.take())
        except OSError as error:
            await self._last_words()
            self.lose(error.strerror or str(error))

    async def _last_words(self) -> None:
        """A server that does not take our bytes any more may have said why: the reader ends by itself, or soon."""
        await trio.sleep(0.1)

    async def _watch(self) -> None:
        """A server that leaves too many of these pings unanswered is gone, whatever TCP believes.

        Only these count: any number of `round_trip`s may be under way at once.
        """
        unanswered: list[int] = []
        while True:
            await trio.sleep(self._options.ping_interval)
            unanswered = [number for number in unanswered if number > self._pongs_seen]
            if len(unanswered) >= self._options.pings_out:
                self.lose(f"{len(unanswered)} pings without an answer")
            unanswered.append(int(self._ping()))

"""The server's side of one connection: requests in order, each answered before the next is read."""

from __future__ import annotations

import contextlib
import logging
import re
from math import inf
from typing import TYPE_CHECKING, Final

import trio
from httptools import HttpParserError, HttpRequestParser

from faasd_py.http.body import ChunkedBody, FixedBody
from faasd_py.http.chunked import Dechunker
from faasd_py.http.errors import BadChunk, Refused, WireError
from faasd_py.http.exchange import DRAIN_LIMIT, Exchange
from faasd_py.http.head import MAX_TARGET, RequestHead, refusal_of_head
from faasd_py.http.link import Link
from faasd_py.http.status import one_line
from faasd_py.http.wire import SMALL, Wire

if TYPE_CHECKING:
    from faasd_py.http.server import Server

LINGER: Final = 2.0
"""Seconds that a client has to take an answer before the connection is closed under it."""
LINGER_BYTES: Final = 1024 * 1024
DRAIN_TIME: Final = 5.0
MEMO: Final = 4096
"""Bytes of the longest head that is remembered."""
MAX_BLANK: Final = 64
"""Bytes of blank lines before a request that are put up with (RFC 9112 §2.2)."""
_BLANK: Final = re.compile(rb"(?:\r\n)+")
_log: Final = logging.getLogger("faasd_py.http")


class Connection(Link):
    """One client. `exchange` is the one that is running; `exchange_by` when it must be done."""

    __slots__ = ("_head", "_like", "exchange", "exchange_by", "overdue", "peer", "scope", "server")

    def __init__(self, server: Server, wire: Wire, peer: bytes) -> None:
        limits = server.limits
        super().__init__(wire, server.sweeper, limits.read_timeout, limits.write_timeout)
        self.server = server
        self.peer = peer
        self.exchange: Exchange | None = None
        self.exchange_by = inf
        self.overdue = False
        self._head = b""
        self._like: RequestHead | None = None
        self.scope = trio.CancelScope()

    def due(self) -> float:
        """See Watched."""
        return min(self.receive_by, self.send_by, self.exchange_by)

    def cut(self, now: float) -> None:
        """See Watched: whatever runs here is cancelled."""
        if self.exchange is not None:
            self.exchange.timed_out = self.exchange_by <= now
        self.overdue = True
        self.receive_by = self.send_by = self.exchange_by = inf
        self.scope.cancel()

    def retire(self) -> None:
        """The server drains: an idle connection ends now, unless a request is already on its way."""
        if self.exchange is None and not self.rest and self.wire.quiet():
            self.scope.cancel()

    async def run(self) -> None:
        """Serve until one side is done. Never raises for what the client does."""
        try:
            with self.scope:
                await self._serve()
            if self.overdue and self.scope.cancelled_caught:
                await self._after_cut()
        except (OSError, WireError):
            pass
        except Exception:  # noqa: BLE001 - what is left of a cancelled handler's group; it costs this connection only
            _log.exception("the connection of %r failed", self.peer)
        finally:
            if self.exchange is None or self.exchange.done:
                self.wire.announce_end()
            self.close()
            self.server.forget(self)

    async def _serve(self) -> None:  # noqa: C901 - the hot loop, flat on purpose
        """One request after the other. As few coroutines as can be lie between here and a wait: see wire.py."""
        server, sweeper, wire = self.server, self.sweeper, self.wire
        self.receive_within(server.limits.head_timeout)
        await wire.handshake()
        while True:
            data: bytes | None = self.rest
            if data:
                await self.be_fair()
            elif server.draining:
                data = wire.receive_nowait(SMALL)
            else:
                self.receive_by = when = sweeper.now() + server.limits.idle_timeout
                if when < sweeper.soonest:
                    sweeper.arm(when)
                await wire.readable()
                data = wire.receive_nowait(SMALL)
                if data is None:
                    continue
            try:
                exchange = self._parse(data or b"") or await self._parse_pieces(data or b"")
            except Refused as refused:
                await self._refuse(refused)
                return
            if exchange is None:
                return
            self.exchange = exchange
            server.exchanges += 1
            try:
                await server.handler(exchange)
            except WireError:
                exchange.closing = True
            except Exception:  # noqa: BLE001 - a handler's bug costs its own connection, and is logged in full
                self._record_bug(exchange)
            finally:
                server.exchanges -= 1
            if (exchange.closing or exchange.incoming or not exchange.done) and not await self._settle(
                exchange
            ):
                return
            self.exchange = None
            self.exchange_by = inf

    def _record_bug(self, exchange: Exchange) -> None:
        _log.exception("the handler of %r failed", exchange.target)
        exchange.closing = True
        if not exchange.began and exchange.refusal is None:
            exchange.refusal = Refused(500, "internal error")

    async def _settle(self, exchange: Exchange) -> bool:
        """After an answer that was not the plain case; whether the connection can be used again."""
        if not exchange.done:
            if exchange.refusal is not None and not exchange.began:
                await self._refuse(exchange.refusal)
            return False
        if not exchange.closing and await self._drop_rest(exchange):
            return True
        if (
            self.rest
            or not self.wire.quiet()
            or (exchange.incoming is not None and not exchange.incoming.done)
        ):
            await self._linger()
        return False

    async def _drop_rest(self, exchange: Exchange) -> bool:
        """Read what the handler left of a body, within bounds."""
        self.exchange_by = self.sweeper.now() + DRAIN_TIME
        self.sweeper.arm(self.exchange_by)
        room = DRAIN_LIMIT
        while room >= 0:
            piece = await exchange.read()
            if not piece:
                return True
            room -= len(piece)
        return False

    def _parse(self, data: bytes) -> Exchange | None:
        """The request whose whole head `data` begins with, else None.

        Raises:
            Refused: it breaks a rule.
        """
        if self._like is not None and data.startswith(self._head):
            self.receive_by = inf
            end = len(self._head)
            exchange = Exchange(self)
            exchange.be_like(self._like)
        else:
            end = data.find(b"\r\n\r\n") + 4
            if end == 3 or data[0] == 13:
                return None
            self.receive_by = inf
            if end > self.server.limits.max_head:
                raise _too_long(data[:end])
            exchange = self._read_head(data[:end])
        length = exchange.length
        if length == 0:
            self.rest = data[end:]
        elif length is not None and len(data) - end >= length:
            exchange.body = data[end : end + length]
            self.rest = data[end + length :]
        else:
            self.rest = data[end:]
            self._begin_body(exchange)
        return exchange

    def _read_head(self, head: bytes) -> Exchange:
        """Clients that call in a loop send the same head again and again: from the third time on it is not read."""
        exchange = Exchange(self)
        again = head == self._head
        self.server.scanner.scan(head, exchange)
        if again and not exchange.expects:
            self._like = RequestHead()
            self._like.be_like(exchange)
        else:
            self._head = head if len(head) <= MEMO else b""
            self._like = None
        return exchange

    def remember(self, plan: object) -> None:
        """See Exchange."""
        if self._like is not None:
            self._like.plan = plan

    def forget_head(self) -> None:
        """The rules have changed: the same head may mean something else."""
        self._head = b""
        self._like = None

    async def _parse_pieces(self, data: bytes) -> Exchange | None:
        """The slow way: the head comes in pieces, or behind blank lines (RFC 9112 §2.2). None: the client is gone."""
        limits = self.server.limits
        self.receive_within(limits.head_timeout)
        probe, probed, blank = HttpRequestParser(RequestHead()), 0, 0
        while data:
            if not probed and data[0] == 13:
                data, blank = _without_blank_lines(data, blank)
            if data.find(b"\r\n\r\n", max(0, probed - 3)) >= 0:
                return self._parse(data)
            if len(data) > limits.max_head:
                raise _too_long(data)
            if data not in {b"", b"\r"}:
                _probe(probe, data, probed)
                probed = len(data)
            self.rest = data
            more = await self.wire.receive(SMALL)
            data = data + more if more else b""
        self.rest = b""
        return None

    def _begin_body(self, exchange: Exchange) -> None:
        """The body did not come whole with the head, or is chunked."""
        if exchange.length is None:
            self._try_whole_chunked(exchange)
            return
        if not exchange.expects and exchange.length <= SMALL:
            self.rest += self.wire.receive_nowait(exchange.length - len(self.rest)) or b""
            if len(self.rest) == exchange.length:
                exchange.body, self.rest = self.rest, b""
                return
        exchange.body = None
        exchange.incoming = FixedBody(self, exchange.length)

    def _try_whole_chunked(self, exchange: Exchange) -> None:
        """A chunked body may be all there; one that is seen to be broken goes no further."""
        trial = Dechunker()
        try:
            body = trial.feed(self.rest)
        except BadChunk as error:
            raise Refused(400, f"the request body is malformed: {error}") from None
        if not trial.done:
            exchange.body = None
            exchange.incoming = ChunkedBody(self)
            return
        self.rest = trial.rest
        exchange.body = body
        exchange.expects = False

    async def _refuse(self, refused: Refused) -> None:
        """Answer a request that no handler answers, and see the client off."""
        headers, body = one_line(refused.reason)
        await self._last_answer(refused.status, headers, body)

    async def _last_answer(self, status: int, headers: bytes, body: bytes) -> None:
        exchange = self.exchange
        if exchange is None:
            exchange = Exchange(self)
            exchange.method, exchange.version = b"", b"1.1"
        exchange.keep_alive = False
        with trio.move_on_after(LINGER):
            await exchange.answer(status, headers, body)
        await self._linger()

    async def _after_cut(self) -> None:
        """The sweeper ended it: say why, where there is someone to tell."""
        exchange = self.exchange
        if exchange is None:
            if self.rest:
                await self._refuse(Refused(408, "the request head did not come in time"))
        elif not exchange.began:
            if exchange.timed_out and exchange.timeout_answer is not None:
                await self._last_answer(*exchange.timeout_answer)
            else:
                await self._refuse(Refused(408, "the request body did not come in time"))

    async def _linger(self) -> None:
        """Close so that the answer is not lost: a close with unread bytes would be a reset (RFC 9112 §9.6)."""
        self.rest = b""
        room = LINGER_BYTES
        with trio.move_on_after(LINGER), contextlib.suppress(OSError):
            await self.wire.send_eof()
            while room > 0 and (data := await self.wire.receive(SMALL)):
                room -= len(data)


def _without_blank_lines(data: bytes, before: int) -> tuple[bytes, int]:
    """The data behind the blank lines that it begins with, and how many bytes of them there were in all."""
    blank = _BLANK.match(data)
    end = blank.end() if blank else 0
    if before + end > MAX_BLANK:
        raise Refused(400, "there are too many blank lines before the request")
    if data[end : end + 1] == b"\r" and len(data) > end + 1:
        raise Refused(400, "there is a bare CR before the request")
    return data[end:], before + end


def _probe(probe: HttpRequestParser, data: bytes, start: int) -> None:
    """Refuse an unfinished head as soon as it cannot become a good one."""
    try:
        probe.feed_data(data[start:])
    except HttpParserError as error:
        raise refusal_of_head(data, error) from None


def _too_long(data: bytes) -> Refused:
    line = data.find(b"\r\n")
    if line < 0 or line > MAX_TARGET:
        return Refused(414, f"the request target is over {MAX_TARGET} bytes")
    return Refused(431, "the request head is too large")

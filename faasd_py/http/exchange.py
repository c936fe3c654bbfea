"""One request and its answer, as a handler sees them. It is a source of the body and a reply to write to."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Final

from faasd_py.http import fields
from faasd_py.http.body import Body, BodyCut, FixedBody
from faasd_py.http.chunked import LAST_CHUNK, chunk
from faasd_py.http.errors import BadChunk, ConnectionLost, Refused
from faasd_py.http.head import RequestHead
from faasd_py.http.link import LinkDuplex
from faasd_py.http.relay import End, relay
from faasd_py.http.status import BODILESS, STATUS_LINES

if TYPE_CHECKING:
    from faasd_py.http.connection import Connection

DRAIN_LIMIT: Final = 256 * 1024
"""An unread body up to this size is read and dropped after the answer; a longer one costs the connection."""


class Exchange(RequestHead):
    """A request (see RequestHead) and its answer.

    `body` is the whole body when it came with the head, else None: then `read` gives it piece by piece.
    `extra` are lines that the handler wants on the answer; a line whose name the answer has already is left out. A handler
    that always adds the same names says so in `extra_names`, in lower case: then they need not be looked for.
    `status` is 0 until the answer began; `timed_out` is set before an overdue handler is cancelled.
    The client's going away raises ConnectionLost from every verb.
    """

    body: bytes | None = b""
    incoming: Body | None = None
    """The body, when it did not come whole with the head."""
    extra = b""
    extra_names: tuple[bytes, ...] = ()
    status = 0
    began = False
    done = False
    """The answer is complete."""
    closing = False
    """The connection ends with this answer."""
    timed_out = False
    timeout_answer: tuple[int, bytes, bytes] | None = None
    refusal: Refused | None = None
    """Why the body cannot be read."""
    _taken = False
    _chunked = False
    _half_sent = False
    _left: int | None = None

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    @property
    def peer(self) -> bytes:
        """The client's address: `127.0.0.1:5123`, or `unix`."""
        return self.connection.peer

    @property
    def open_ended(self) -> bool:
        """The answer has begun, and nobody knows where it will end."""
        return self._chunked and not self.done

    def remember(self, plan: object) -> None:
        """Make this the `plan` of every exchange to come whose head is the same, byte for byte, on this connection."""
        self.plan = plan
        self.connection.remember(plan)

    def expect(self, seconds: float, status: int, headers: bytes, body: bytes) -> None:
        """Unless relaxed in time: cancel the handler, give this answer if none began, and close the connection."""
        self.timeout_answer = (status, headers, body)
        connection = self.connection
        connection.exchange_by = when = connection.sweeper.now() + seconds
        if when < connection.sweeper.soonest:
            connection.sweeper.arm(when)

    def relax(self) -> None:
        """Disarm `expect`."""
        self.connection.exchange_by = inf

    async def read(self) -> bytes:
        """The next piece of the body, at most 256 KiB; empty at the end. Tells a waiting client to go on.

        Raises:
            ConnectionLost: the body broke off, or cannot be read.
        """
        incoming = self.incoming
        if incoming is None:
            piece = b"" if self._taken else self.body or b""
            self._taken = True
            return piece
        if self.expects and not self.began and not incoming.done:
            self.expects = False
            await self._send(b"HTTP/1.1 100 Continue\r\n\r\n")
        try:
            return await incoming.read()
        except BadChunk as error:
            self.refusal = Refused(400, str(error))
            raise ConnectionLost(f"the request body is malformed: {error}") from error
        except BodyCut as error:
            raise ConnectionLost("the client closed in the middle of its body") from error
        except OSError as error:
            raise ConnectionLost(f"the client went away: {error}") from error

    async def gather(self, limit: int) -> bytes | None:
        """The whole body when its length is known and at most `limit` bytes; else None, and nothing was read."""
        if self.body is not None:
            return self.body
        if self.length is None or self.length > limit:
            return None
        pieces = []
        while piece := await self.read():
            pieces.append(piece)
        self.body = b"".join(pieces)
        return self.body

    async def answer(self, status: int, headers: bytes, body: bytes) -> None:
        """The whole answer at once: one send."""
        data = self._begin(status, headers, len(body))
        if self.method != b"HEAD" and status not in BODILESS:
            data += body
        connection = self.connection
        try:
            sent = connection.wire.send_nowait(data)
            if sent < len(data):
                await connection.send_rest(data, sent)
        except OSError as error:
            raise ConnectionLost(f"the client went away: {error}") from error
        self.done = True

    async def start(self, status: int, headers: bytes, length: int | None) -> None:
        """Status and headers; they go out at once. `length` None: until `end`."""
        self._left = length
        await self._send(self._begin(status, headers, length))

    async def write(self, data: bytes) -> None:
        """A piece of the body, sent at once.

        Raises:
            ValueError: more than the length that was promised.
        """
        if not data or self._muted():
            return
        if self._left is not None:
            self._left -= len(data)
            if self._left < 0:
                raise ValueError("the answer is longer than its Content-Length")
        await self._send(chunk(data) if self._chunked else data)

    async def end(self) -> None:
        """The body is complete.

        Raises:
            ValueError: less than the length that was promised.
        """
        if not self._muted():
            if self._left:
                raise ValueError("the answer is shorter than its Content-Length")
            await self._send(LAST_CHUNK if self._chunked else b"")
        self.done = True

    async def tunnel(self, headers: bytes, wire: End) -> None:
        """Switch protocols (101), then move bytes both ways until both ends are done."""
        if not fields.has(headers, b"upgrade"):
            headers += b"Upgrade: %b\r\n" % self.upgrade
        self.closing = True
        await self._send(self._begin(101, headers, None))
        await relay(LinkDuplex(self.connection), wire)
        self.done = True

    def _muted(self) -> bool:
        """No body goes with this answer (RFC 9110 §6.4.1)."""
        return self.method == b"HEAD" or self.status in BODILESS

    def _begin(self, status: int, headers: bytes, length: int | None) -> bytes:
        """The answer's head; from now on the answer has begun."""
        if self.began:
            raise RuntimeError("the answer has already begun")
        server = self.connection.server
        known = server.knowledge.of(headers)
        lines = headers
        if self.extra:
            lines += known.missing(self.extra, self.extra_names)
        if not known.dated:
            lines += server.date.line()
        if length is None or length != known.length or status < 200 or status == 204:
            lines = self._framed(status, known.length, lines, length)
        if not self.keep_alive or server.draining or self.closing or self.incoming or self.version != b"1.1":
            lines += self._connection(status)
        self.began = True
        self.status = status
        return b"%b%b\r\n" % (STATUS_LINES[status], lines)

    def _framed(self, status: int, stated: int | None, lines: bytes, length: int | None) -> bytes:
        """The lines, saying where the body ends (RFC 9112 §6)."""
        if status == 101:
            return lines + b"Connection: Upgrade\r\n"
        if status == 204:
            return fields.without(lines, b"content-length")
        mute = status == 304 or self.method == b"HEAD"
        if stated is not None and not mute and length != stated:
            raise ValueError("the answer's Content-Length is not its length")
        if stated is not None or status == 304 or (mute and not length):
            return lines
        if length is not None:
            return lines + b"Content-Length: %d\r\n" % length
        return lines + self._unknown_length()

    def _unknown_length(self) -> bytes:
        if self.version == b"1.0":
            self.closing = True
            return b""
        self._chunked = True
        return b"Transfer-Encoding: chunked\r\n"

    def _connection(self, status: int) -> bytes:
        if status == 101:
            return b""
        if not self.keep_alive or self.connection.server.draining or self._too_much_unread():
            self.closing = True
        if self.closing:
            return b"Connection: close\r\n"
        return b"" if self.version == b"1.1" else b"Connection: keep-alive\r\n"

    def _too_much_unread(self) -> bool:
        incoming = self.incoming
        if incoming is None or incoming.done:
            return False
        return self.expects or (isinstance(incoming, FixedBody) and incoming.left > DRAIN_LIMIT)

    async def _send(self, data: bytes) -> None:
        """All of it or, after a send that was cancelled half-way, never anything again."""
        if self._half_sent:
            raise ConnectionLost("an earlier part of the answer was broken off")
        self._half_sent = True
        try:
            await self.connection.send(data)
        except OSError as error:
            raise ConnectionLost(f"the client went away: {error}") from error
        self._half_sent = False

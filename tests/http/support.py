"""Real sockets, hand-written bytes, and readers that share nothing with the code under test."""

from __future__ import annotations

import os
import re
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial

import msgspec
import trio
import trio.testing

from faasd_py.http.client import Dial, Pool, dial_tcp
from faasd_py.http.errors import ConnectionLost, WireError
from faasd_py.http.server import Exchange, Limits, Server

LOOPBACK = f"127.{1 + os.getpid() % 250}.{os.getpid() // 250 % 250}.1"
"""An address of this process: what others on the machine send to ports they no longer own goes elsewhere."""
PATIENCE = 5.0
"""Seconds after which a wait is a failed test."""
LIMITS = Limits(
    max_connections=64,
    max_head=16384,
    max_headers=64,
    head_timeout=10.0,
    idle_timeout=10.0,
    read_timeout=10.0,
    write_timeout=10.0,
)

Handler = Callable[[Exchange], Awaitable[None]]
STATUS_LINE = re.compile(rb"HTTP/1\.1 ([1-5][0-9]{2}) ([ -~]*)\Z")
FIELD_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\x00-\x08\x0a-\x1f\x7f]*?)[ \t]*\Z")


def limits(**changes: float) -> Limits:
    """The test limits with some of them changed."""
    return msgspec.structs.replace(LIMITS, **changes)


@dataclass
class Answer:
    """What a strict reader makes of an answer."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes = b""
    framing: str = "none"

    def get(self, name: bytes) -> bytes | None:
        """The one value of a field; two are a failed test."""
        values = self.get_all(name)
        assert len(values) <= 1, f"{name!r} came {len(values)} times"
        return values[0] if values else None

    def get_all(self, name: bytes) -> list[bytes]:
        return [value for key, value in self.headers if key.lower() == name.lower()]

    @property
    def closes(self) -> bool:
        return b"close" in (self.get(b"connection") or b"").lower()


class Wire:
    """One end of a connection: what is sent is sent as it is, what comes is read strictly and kept in `seen`."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self.buffer = bytearray()
        self.seen = bytearray()
        self.reset = False

    async def send(self, *pieces: bytes) -> None:
        """Each piece by a call of its own."""
        for piece in pieces:
            await self.stream.send_all(piece)

    async def eof(self) -> None:
        await self.stream.send_eof()  # type: ignore[attr-defined]

    async def more(self) -> bool:
        """Read once; False at the end or after a reset."""
        try:
            with trio.fail_after(PATIENCE):
                data = await self.stream.receive_some(65536)
        except trio.BrokenResourceError:
            self.reset, data = True, b""
        self.buffer += data
        self.seen += data
        return bool(data)

    def take(self, count: int) -> bytes:
        taken = bytes(self.buffer[:count])
        del self.buffer[:count]
        return taken

    async def until(self, mark: bytes) -> bytes:
        while mark not in self.buffer:
            if not await self.more():
                raise EOFError(f"closed before {mark!r}: {bytes(self.buffer[:200])!r}")
        return self.take(self.buffer.index(mark) + len(mark))

    async def exactly(self, count: int) -> bytes:
        while len(self.buffer) < count:
            if not await self.more():
                raise EOFError(f"closed {count - len(self.buffer)} bytes early")
        return self.take(count)

    async def rest(self) -> bytes:
        """Everything up to the end."""
        while await self.more():
            pass
        return self.take(len(self.buffer))

    async def closed(self) -> bool:
        """Nothing more comes, and the peer closed."""
        return not self.buffer and not await self.more()

    async def answer(self, method: bytes = b"GET") -> Answer:
        """Read one answer by the letter of RFC 9112; anything unclean fails the test."""
        answer = read_head(await self.until(b"\r\n\r\n"))
        if method == b"HEAD" or answer.status < 200 or answer.status in (204, 304):
            return answer
        await self._read_body(answer)
        return answer

    async def final(self, method: bytes = b"GET") -> Answer:
        """The first answer that is not 1xx."""
        while (answer := await self.answer(method)).status < 200:
            pass
        return answer

    async def _read_body(self, answer: Answer) -> None:
        length, coding = answer.get(b"content-length"), answer.get(b"transfer-encoding")
        assert length is None or coding is None, "both Content-Length and Transfer-Encoding"
        if coding is not None:
            assert coding == b"chunked"
            answer.framing, answer.body = "chunked", await self.chunks()
        elif length is not None:
            assert re.fullmatch(rb"[0-9]+", length)
            answer.framing, answer.body = "length", await self.exactly(int(length))
        else:
            assert answer.closes, "no framing, and no Connection: close"
            answer.framing, answer.body = "close", await self.rest()

    async def chunks(self) -> bytes:
        """A whole chunked body; its trailer must be empty."""
        body = bytearray()
        while piece := await self.chunk():
            body += piece
        return bytes(body)

    async def chunk(self) -> bytes:
        """One chunk, empty for the last."""
        line = (await self.until(b"\r\n"))[:-2]
        assert re.fullmatch(rb"[0-9a-fA-F]+", line), f"chunk size {line!r}"
        data = await self.exactly(int(line, 16))
        assert await self.exactly(2) == b"\r\n"
        return data

    async def refused(self) -> Answer:
        """An error answer, and then the end of the connection."""
        answer = await self.answer()
        assert 400 <= answer.status < 600, answer
        assert answer.closes, "an error answer that closes says so"
        assert await self.closed()
        return answer


def read_head(head: bytes) -> Answer:
    """The head of an answer, strictly."""
    lines = head[:-4].split(b"\r\n")
    status = STATUS_LINE.fullmatch(lines[0])
    assert status, f"status line {lines[0]!r}"
    fields = [FIELD_LINE.fullmatch(line) for line in lines[1:]]
    assert all(fields), f"a field line of {lines!r}"
    return Answer(int(status[1]), [(match[1], match[2]) for match in fields if match])


def request_head(raw: bytes) -> tuple[bytes, bytes, list[tuple[bytes, bytes]]]:
    """Method, target and fields of a request head that our client wrote, strictly."""
    lines = raw.removesuffix(b"\r\n\r\n").split(b"\r\n")
    match = re.fullmatch(rb"([A-Z]+) ([!-~\x80-\xff]+) HTTP/1\.1", lines[0])
    assert match, f"request line {lines[0]!r}"
    fields = [FIELD_LINE.fullmatch(line) for line in lines[1:]]
    assert all(fields), f"a field line of {lines!r}"
    return match[1], match[2], [(found[1].lower(), found[2]) for found in fields if found]


def listener(host: str = "127.0.0.1", *, sndbuf: int = 0) -> socket.socket:
    """A listening loopback socket on a free port; accepted sockets inherit the send buffer."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if sndbuf:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, sndbuf)
    sock.bind((host, 0))
    sock.listen(128)
    sock.setblocking(False)
    return sock


class Served:
    """A running Server and a way to reach it."""

    def __init__(self, server: Server, sock: socket.socket) -> None:
        self.server = server
        self.port: int = sock.getsockname()[1]
        self.wires: list[Wire] = []

    def dial(self, timeout: float = 2.0) -> Dial:
        return dial_tcp(LOOPBACK, self.port, timeout)

    async def open(self, *, rcvbuf: int = 0) -> Wire:
        """A raw connection; it is closed with the server."""
        sock = trio.socket.socket()
        if rcvbuf:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
        await sock.connect((LOOPBACK, self.port))
        wire = Wire(trio.SocketStream(sock))
        self.wires.append(wire)
        return wire

    async def ask(self, raw: bytes, method: bytes = b"GET") -> Answer:
        """One request on a connection of its own."""
        wire = await self.open()
        await wire.send(raw)
        return await wire.final(method)


@asynccontextmanager
async def serve(
    handler: Handler,
    bounds: Limits = LIMITS,
    *,
    fields: Iterable[bytes] = (),
    tls: ssl.SSLContext | None = None,
    sndbuf: int = 0,
) -> AsyncIterator[Served]:
    """A Server over a real socket until the block ends."""
    sock = listener(LOOPBACK, sndbuf=sndbuf)
    server = Server(handler, bounds, fields=fields, tls=tls)
    served = Served(server, sock)
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(server.run, [sock]))
        try:
            yield served
        finally:
            with trio.CancelScope(shield=True):
                for wire in served.wires:
                    await trio.aclose_forcefully(wire.stream)
            nursery.cancel_scope.cancel()
    sock.close()


async def echo(exchange: Exchange) -> None:
    """Send the body back, piece by piece as it comes."""
    if exchange.body is not None:
        await exchange.answer(200, b"", exchange.body)
        return
    await exchange.start(200, length_line(exchange.length), exchange.length)
    while piece := await exchange.read():
        await exchange.write(piece)
    await exchange.end()


def length_line(length: int | None) -> bytes:
    """The Content-Length line, as `start` wants it."""
    return b"" if length is None else b"Content-Length: %d\r\n" % length


async def whole(exchange: Exchange) -> bytes:
    """The whole body, however it came."""
    if exchange.body is not None:
        return exchange.body
    body = bytearray()
    while piece := await exchange.read():
        assert len(piece) <= 262144
        body += piece
    return bytes(body)


@dataclass
class Seen:
    """A request as a handler saw it."""

    method: bytes
    target: bytes
    host: bytes
    headers: bytes
    length: int | None
    body: bytes
    fields: dict[bytes, bytes]
    upgrade: bytes


@dataclass
class Recorder:
    """A handler that remembers each request and answers 200 with its number."""

    requests: list[Seen] = field(default_factory=list)

    async def __call__(self, exchange: Exchange) -> None:
        body, fields = await whole(exchange), dict(exchange.fields)
        what = (exchange.method, exchange.target, exchange.host, exchange.headers, exchange.length)
        self.requests.append(Seen(*what, body, fields, exchange.upgrade))
        await exchange.answer(200, b"", b"%d" % len(self.requests))


Script = Callable[[Wire, int], Awaitable[None]]


class Upstream:
    """A hand-written peer: `script(wire, n)` runs for the n-th connection, which is closed after it."""

    def __init__(self, script: Script, sock: trio.SocketListener) -> None:
        self.script = script
        self.listener = sock
        self.wires: list[Wire] = []
        self.port: int = sock.socket.getsockname()[1]

    @property
    def connections(self) -> int:
        return len(self.wires)

    def dial(self, timeout: float = 2.0) -> Dial:
        return dial_tcp(LOOPBACK, self.port, timeout)

    async def handle(self, stream: trio.SocketStream) -> None:
        wire = Wire(stream)
        self.wires.append(wire)
        try:
            await self.script(wire, self.connections - 1)
        except (EOFError, trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        finally:
            await trio.aclose_forcefully(stream)


@asynccontextmanager
async def upstream(script: Script) -> AsyncIterator[Upstream]:
    """A scripted peer on a real socket until the block ends."""
    (sock,) = await trio.open_tcp_listeners(0, host=LOOPBACK)
    peer = Upstream(script, sock)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(trio.serve_listeners, peer.handle, [sock]))
        yield peer
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def pooled(peer: Upstream | Dial, *, running: bool = False, **options: object) -> AsyncIterator[Pool]:
    """A Pool to a peer, closed at the end; `running`: with its own task, which keeps its timeouts another way."""
    dial = peer.dial() if isinstance(peer, Upstream) else peer
    settings: dict[str, object] = {"read_timeout": PATIENCE, "write_timeout": PATIENCE, **options}
    pool = Pool(dial, **settings)  # type: ignore[arg-type]
    async with trio.open_nursery() as nursery:
        if running:
            nursery.start_soon(pool.run)
            await trio.testing.wait_all_tasks_blocked()
        try:
            yield pool
        finally:
            with trio.CancelScope(shield=True):
                await pool.aclose()
            nursery.cancel_scope.cancel()


async def forward(pool: Pool, exchange: Exchange) -> None:
    """The proxy: what the gateway does with a synchronous call, without routes."""
    headers = b"Host: " + exchange.host + b"\r\n" + exchange.headers
    body, source = exchange.body, exchange if exchange.body is None else None
    what = (exchange.method, exchange.target, headers, body, exchange.length, source, exchange)
    try:
        await pool.request(*what, exchange.upgrade)
    except ConnectionLost:
        raise
    except WireError:
        if exchange.began:
            raise
        await exchange.answer(502, b"", b"bad gateway\n")


@asynccontextmanager
async def proxied(
    script: Script, bounds: Limits = LIMITS, **options: object
) -> AsyncIterator[tuple[Served, Upstream]]:
    """Server → Pool → scripted peer, all on real sockets."""
    async with (
        upstream(script) as peer,
        pooled(peer, **options) as pool,
        serve(partial(forward, pool), bounds) as served,
    ):
        yield served, peer


async def poll(condition: Callable[[], bool], what: str, patience: float = PATIENCE) -> None:
    """Wait for a real condition, not for time."""
    with trio.move_on_after(patience):
        while not condition():  # noqa: ASYNC110 - a bounded poll on a real condition
            await trio.sleep(0.005)
    assert condition(), f"never became true: {what}"

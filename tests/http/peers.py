"""What peers send, right and wrong, as bytes; and the shortest ways to play them."""

from __future__ import annotations

import socket
import struct

import trio
import trio.testing

from faasd_py.http.client import Pool
from faasd_py.http.collect import Collector

from .support import Script, Wire

HOST = b"Host: a\r\n"


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


LIMIT = 1 << 20


async def ask(pool: Pool, method: bytes = b"GET", body: bytes = b"", headers: bytes = HOST) -> Collector:
    """One request with its whole body at hand."""
    reply = Collector(LIMIT)
    lines = headers + (b"Content-Length: %d\r\n" % len(body) if body else b"")
    await pool.request(method, b"/", lines, body, len(body), None, reply)
    return reply


async def until_gone(wire: Wire) -> None:
    while await wire.more():
        pass


def says(data: bytes, *, then_close: bool = False) -> Script:
    """A peer that answers every request with the same bytes."""

    async def script(wire: Wire, _n: int) -> None:
        while True:
            await wire.until(b"\r\n\r\n")
            await wire.send(data)
            if then_close:
                return

    return script


def reset(wire: Wire) -> None:
    """Make the coming close a reset."""
    wire.stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # type: ignore[attr-defined]


async def settle() -> None:
    """Let everything that is on its way arrive."""
    await trio.testing.wait_all_tasks_blocked(0.02)


BAD_ANSWERS = {
    "garbage": b"hello\r\n\r\n",
    "binary": b"\x00\x01\x02\x03" * 10,
    "an ssh server": b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
    "HTTP/0.9": b"<html>hello</html>",
    "HTTP/2": b"HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
    "status of two digits": b"HTTP/1.1 20 OK\r\nContent-Length: 2\r\n\r\nok",
    "status of four digits": b"HTTP/1.1 2000 OK\r\nContent-Length: 2\r\n\r\nok",
    "status in words": b"HTTP/1.1 OK\r\nContent-Length: 2\r\n\r\nok",
    "status 000": b"HTTP/1.1 000 OK\r\nContent-Length: 2\r\n\r\nok",
    "status 099": b"HTTP/1.1 099 OK\r\nContent-Length: 2\r\n\r\nok",
    "length and chunked": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "differing lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok!",
    "a list of lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2, 3\r\n\r\nok!",
    "negative length": b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nok",
    "plus length": b"HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok",
    "hexadecimal length": b"HTTP/1.1 200 OK\r\nContent-Length: 0x2\r\n\r\nok",
    "huge length": b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999\r\n\r\nok",
    "space before the colon": b"HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nok",
    "bare LF": b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
    "bare CR": b"HTTP/1.1 200 OK\r\nX: a\rb\r\nContent-Length: 2\r\n\r\nok",
    "NUL": b"HTTP/1.1 200 OK\r\nX: a\x00b\r\nContent-Length: 2\r\n\r\nok",
    "obs-fold": b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 2\r\n\r\nok",
    "no colon": b"HTTP/1.1 200 OK\r\nX\r\nContent-Length: 2\r\n\r\nok",
    "bad name": b"HTTP/1.1 200 OK\r\nX X: 1\r\nContent-Length: 2\r\n\r\nok",
    "CR in the reason": b"HTTP/1.1 200 O\rK\r\nContent-Length: 2\r\n\r\nok",
    "unknown coding": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: cow\r\n\r\nok",
    "chunked twice": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "bad chunk size in the first packet": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nok\r\n0\r\n\r\n",
    "101 that was not asked for": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    "a request": b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
}


BROKEN_ENDINGS = {
    "nothing": b"",
    "half a status line": b"HTTP/1.1 20",
    "half a head": b"HTTP/1.1 200 OK\r\nContent-Le",
    "a head without end": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n",
    "half a body": b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
    "no body": b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n",
    "half a chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
    "no last chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    "no end of trailers": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
    "only 100": b"HTTP/1.1 100 Continue\r\n\r\n",
}


BEGUN = {"half a body", "no body", "half a chunk", "no last chunk", "no end of trailers"}


GOOD_ANSWERS = {
    "length": (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", b"hello"),
    "chunked": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n", b"hello"),
    "chunked with a trailer": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: 1\r\n\r\n", b"hello"),
    "chunked with extensions": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0;c\r\n\r\n", b"hello"),
    "no reason": (b"HTTP/1.1 200 \r\nContent-Length: 5\r\n\r\nhello", b"hello"),
    "a long reason": (b"HTTP/1.1 200 " + b"very " * 50 + b"OK\r\nContent-Length: 5\r\n\r\nhello", b"hello"),
    "an unusual status": (b"HTTP/1.1 599 Odd\r\nContent-Length: 5\r\n\r\nhello", b"hello"),
    "100 first": (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", b"hello"),
    "103 first": (b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", b"hello"),
    "several 1xx": (b"HTTP/1.1 102 P\r\n\r\n" * 3 + b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", b"hello"),
    "empty": (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b""),
    "204": (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
    "304 with a length": (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\n\r\n", b""),
    "equal lengths": (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", b"hello"),
}  # fmt: skip


UNTIL_CLOSE = {
    "1.1 without framing": b"HTTP/1.1 200 OK\r\n\r\nhello",
    "1.0 without framing": b"HTTP/1.0 200 OK\r\n\r\nhello",
    "close and no length": b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello",
}


CHATTER = {
    "a second answer": OK + b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
    "one byte": OK + b"x",
    "a line end": OK + b"\r\n",
    "too long a body": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok, and more",
    "a body to 204": b"HTTP/1.1 204 No Content\r\n\r\nevil",
    "a body to 304": b"HTTP/1.1 304 Not Modified\r\nContent-Length: 4\r\n\r\nevil",
    "bytes behind the last chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
}

"""Hand-written receivers: they read one request after the other, and answer the bytes they are told to."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

import trio

from faasd_py.callback.signature import Signer

Behaviour = Callable[[trio.abc.Stream, "Request"], Awaitable[None]]


class Request:
    """What came: the request line, fields by lower-case name, and the body."""

    def __init__(self, head: bytes, body: bytes) -> None:
        self.line, *lines = head.split(b"\r\n")
        self.fields = {}
        for line in lines:
            name, _, value = line.partition(b":")
            self.fields[name.lower()] = value.strip()
        self.body = body


class Receiver:
    """A server on a loopback address; `behave` answers. `got` are the requests, `connections` how many were made."""

    def __init__(self, host: str, behave: Behaviour, ssl=None) -> None:
        self.host = host
        self.behave = behave
        self.ssl = ssl
        self.got: list[Request] = []
        self.connections = 0
        self.open = 0
        self.port = 0
        self.changed = trio.Event()

    def url(self, path: str = "/hook", scheme: str = "http") -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{scheme}://{host}:{self.port}{path}"

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            await self.changed.wait()

    def _notify(self) -> None:
        self.changed.set()
        self.changed = trio.Event()

    async def handle(self, stream: trio.abc.Stream) -> None:
        self.connections += 1
        self.open += 1
        if self.ssl is not None:
            stream = trio.SSLStream(stream, self.ssl, server_side=True, https_compatible=True)
        try:
            rest = b""
            while True:
                request, rest = await read_request(stream, rest)
                if request is None:
                    break
                self.got.append(request)
                self._notify()
                await self.behave(stream, request)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        finally:
            self.open -= 1
            self._notify()
            await trio.aclose_forcefully(stream)


async def read_request(stream, rest: bytes) -> tuple[Request | None, bytes]:
    while b"\r\n\r\n" not in rest:
        more = await stream.receive_some(65536)
        if not more:
            return None, b""
        rest += more
    head, _, rest = rest.partition(b"\r\n\r\n")
    length = int(Request(head, b"").fields.get(b"content-length", b"0"))
    while len(rest) < length:
        more = await stream.receive_some(65536)
        if not more:
            return None, b""
        rest += more
    return Request(head, rest[:length]), rest[length:]


def says(*answers: bytes) -> Behaviour:
    """Send these bytes in turn; the last one for good."""
    left = list(answers)

    async def behave(stream, request) -> None:
        await stream.send_all(left.pop(0) if len(left) > 1 else left[0])

    return behave


def status(code: int, fields: bytes = b"", body: bytes = b"") -> bytes:
    return b"HTTP/1.1 %d Word\r\n%sContent-Length: %d\r\n\r\n%s" % (code, fields, len(body), body)


def closes_after(data: bytes) -> Behaviour:
    """Send these bytes, and close."""

    async def behave(stream, request) -> None:
        await stream.send_all(data)
        await trio.aclose_forcefully(stream)

    return behave


@asynccontextmanager
async def receiving(behave: Behaviour, host: str = "127.0.0.1", ssl=None) -> AsyncIterator[Receiver]:
    """A receiver that is up until the end of the block."""
    receiver = Receiver(host, behave, ssl)
    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(partial(trio.serve_tcp, receiver.handle, 0, host=host))
        receiver.port = listener.socket.getsockname()[1]
        yield receiver
        nursery.cancel_scope.cancel()


def sign(secrets: list[bytes], message: str, timestamp: int, body: bytes) -> bytes:
    """What `webhook-signature` must be for a whole body."""
    signer = Signer(secrets, message, timestamp)
    signer.update(body)
    return signer.value()

"""The TLS wire. Slower than the plain one, and apart from it, so that the plain one pays nothing."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager

import trio

_PIECE = 64 * 1024


class TlsWire:
    """TLS over a connected stream socket; see Wire.

    A peer that closes without close_notify has closed (RFC 9112 §9.8): framing tells whether a message was whole.
    `send_eof` can only end both directions' sending side together with the connection, as TLS libraries do.
    """

    __slots__ = ("_ahead", "_broken", "_ended", "_sock", "_stream", "fd")

    def __init__(
        self, sock: socket.socket, context: ssl.SSLContext, *, server_side: bool, server_name: str = ""
    ) -> None:
        self.fd = sock.fileno()
        self._ahead = b""
        self._broken: OSError | None = None
        self._ended = False
        self._sock = trio.socket.from_stdlib_socket(sock)
        self._stream = trio.SSLStream(
            trio.SocketStream(self._sock),
            context,
            server_side=server_side,
            server_hostname=server_name or None,
            https_compatible=True,
        )

    def receive_nowait(self, limit: int) -> bytes | None:
        """What `readable` has fetched: TLS may have to send before it can receive."""
        ahead = self._ahead
        if not ahead:
            if self._broken is not None:
                raise self._broken
            return b"" if self._ended else None
        self._ahead = ahead[limit:]
        return ahead[:limit]

    async def readable(self) -> None:
        """See Wire; what goes wrong is told by the receive that follows."""
        if self._ahead or self._ended or self._broken is not None:
            return
        try:
            self._ahead = await self._fetch()
            self._ended = not self._ahead
        except OSError as error:
            self._broken = error

    async def receive(self, limit: int) -> bytes:
        """See Wire."""
        await self.readable()
        return self.receive_nowait(limit) or b""

    async def _fetch(self) -> bytes:
        with _broken_as_oserror():
            return bytes(await self._stream.receive_some(_PIECE))

    def send_nowait(self, data: bytes | memoryview) -> int:  # noqa: ARG002 - Wire's shape
        """Never."""
        return 0

    async def send(self, data: bytes | memoryview) -> int:
        """See Wire; in pieces, so that each is progress."""
        piece = bytes(data[:_PIECE])
        with _broken_as_oserror():
            await self._stream.send_all(piece)
        return len(piece)

    async def handshake(self) -> None:
        """See Wire."""
        with _broken_as_oserror():
            await self._stream.do_handshake()

    async def send_eof(self) -> None:
        """Say goodbye; what the peer still sends is not read."""
        with _broken_as_oserror():
            await self._stream.aclose()

    def shutdown(self) -> None:
        """See Wire."""
        try:
            self._sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            return

    def close(self) -> None:
        """See Wire."""
        self._sock.close()


@contextmanager
def _broken_as_oserror() -> Iterator[None]:
    try:
        yield
    except (trio.BrokenResourceError, trio.ClosedResourceError, ssl.SSLError) as error:
        raise ConnectionResetError(f"TLS: {error.__cause__ or error}") from error

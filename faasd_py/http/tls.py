"""The TLS wire: TLS in memory over a plain wire. Apart from the plain one, so that the plain one pays nothing."""

from __future__ import annotations

import contextlib
import socket
import ssl
from typing import Final

from faasd_py.http.wire import SMALL, PlainWire

_PIECE: Final = 64 * 1024
"""How much is encrypted at once: each is progress of its own."""


class TlsWire:
    """TLS over a connected stream socket; see Wire.

    A peer that closes without close_notify has closed, but `cut` is set (RFC 9112 §9.8).
    One task may receive while another sends. What TLS itself wants to say while receiving (a key update) goes out at
    once or with the next send.
    """

    __slots__ = ("_incoming", "_outgoing", "_plain", "_tls", "_unsent", "cut", "fd")

    def __init__(
        self, sock: socket.socket, context: ssl.SSLContext, *, server_side: bool, server_name: str = ""
    ) -> None:
        self.fd = sock.fileno()
        self._plain = PlainWire(sock)
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF
        # Some Pythons set it by default, and then a cut connection looks like a closed one.
        self._tls = context.wrap_bio(
            self._incoming, self._outgoing, server_side=server_side, server_hostname=server_name or None
        )
        self._unsent = b""
        self.cut = False

    async def handshake(self) -> None:
        """See Wire."""
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                await self._flush()
                await self._plain.readable()
                self._pull()
            except ssl.SSLError:
                with contextlib.suppress(OSError):
                    self._flush_nowait()
                raise
            else:
                await self._flush()
                return

    def receive_nowait(self, limit: int) -> bytes | None:
        """See Wire."""
        while True:
            try:
                data = self._tls.read(limit)
            except ssl.SSLWantReadError:
                self._flush_nowait()
                if not self._pull():
                    return None
            except ssl.SSLZeroReturnError:
                return b""
            except ssl.SSLEOFError:
                self.cut = True
                return b""
            else:
                return data

    async def readable(self) -> None:
        """See Wire: of the socket; whether a whole record has come is seen by the receive that follows."""
        if not self._tls.pending() and not self._incoming.pending:
            await self._plain.readable()

    async def receive(self, limit: int) -> bytes:
        """See Wire."""
        while (data := self.receive_nowait(limit)) is None:
            await self._plain.readable()
        return data

    def quiet(self) -> bool:
        """See Wire. Tickets that TLS leaves behind are no noise."""
        try:
            return self.receive_nowait(1) is None
        except OSError:
            return False

    def send_nowait(self, data: bytes | memoryview) -> int:  # noqa: ARG002 - Wire's shape
        """Never: what is encrypted must be sent, and that may have to wait."""
        return 0

    async def send(self, data: bytes | memoryview) -> int:
        """See Wire; returns when a piece is on its way as a whole."""
        await self._flush()
        sent = self._tls.write(data[:_PIECE])
        await self._flush()
        return sent

    async def send_eof(self) -> None:
        """See Wire: close_notify; TLS 1.3 lets the other direction go on."""
        with contextlib.suppress(ssl.SSLError):
            self._tls.unwrap()
        await self._flush()
        await self._plain.send_eof()

    def shutdown(self) -> None:
        """See Wire."""
        self._plain.shutdown()

    def announce_end(self) -> None:
        """See Wire: close_notify, without which an answer until close looks cut (RFC 9112 §9.8)."""
        with contextlib.suppress(OSError):
            self._tls.unwrap()
        with contextlib.suppress(OSError):
            self._flush_nowait()

    def close(self) -> None:
        """See Wire."""
        self._plain.close()

    def _pull(self) -> bool:
        """Hand TLS what has arrived; False when nothing has."""
        data = self._plain.receive_nowait(SMALL)
        if data is None:
            return False
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()
        return True

    def _flush_nowait(self) -> None:
        """Send what TLS has to say, as far as it goes."""
        self._unsent += self._outgoing.read()
        if self._unsent:
            self._unsent = self._unsent[self._plain.send_nowait(self._unsent) :]

    async def _flush(self) -> None:
        """Send all that TLS has to say."""
        self._flush_nowait()
        while self._unsent:
            await self._plain.writable()
            self._flush_nowait()

"""TLS over a plain wire: encrypted in memory, so that reading takes all there is in one turn, as without TLS."""

from __future__ import annotations

import contextlib
import ssl

from faasd_py_natsclient.errors import UnusableCertificate
from faasd_py_natsclient.wire import LARGE, TURN, Wire


def client_context(ca: str | None, certificate: str | None, key: str | None) -> ssl.SSLContext | None:
    """Whom to trust (None: as the system does) and who we are, from PEM files; None without any: TLS if the address says so.

    Raises:
        UnusableCertificate: a file cannot be read, or is none.
    """
    if ca is None and certificate is None:
        return None
    named, path = "ca", ca
    try:
        context = ssl.create_default_context(cafile=ca)
        if certificate is not None:
            named, path = "certificate", certificate
            context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise UnusableCertificate(f"{named}: cannot use {path}: {error}") from None
    return context


class TlsWire:
    """A wire over another. What reading wants to send (a new key's acknowledgement) goes with the next bytes sent."""

    def __init__(self, wire: Wire, context: ssl.SSLContext, name: str) -> None:
        self._wire = wire
        self._in = ssl.MemoryBIO()
        self._out = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._in, self._out, server_hostname=name)

    async def handshake(self) -> None:
        """Before anything else.

        Raises:
            ssl.SSLError: they do not agree, or the certificate is not trusted; the server is told.
        """
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                await self._flush()
                self._feed(await self._wire.receive())
            except ssl.SSLError:
                with contextlib.suppress(OSError):
                    await self._flush()
                raise
            else:
                return await self._flush()

    async def receive(self) -> bytes:
        """An end without TLS's goodbye is an end like any other: NATS frames itself."""
        while True:
            try:
                data = self._read()
            except ssl.SSLEOFError:
                return b""
            if data is not None:
                return data
            self._feed(await self._wire.receive())

    def _read(self) -> bytes | None:
        """All that is here already, empty at the end, None when nothing is. Each read gives a record of 16 KiB at most."""
        pieces: list[bytes] = []
        try:
            while piece := self._tls.read(LARGE):
                pieces.append(piece)
        except ssl.SSLWantReadError:
            return b"".join(pieces) or None
        return b"".join(pieces)

    def _feed(self, data: bytes) -> None:
        if data:
            self._in.write(data)
        else:
            self._in.write_eof()

    async def send_all(self, data: bytes) -> None:
        """A send that is cancelled leaves the connection of no use."""
        view = memoryview(data)
        for at in range(0, len(view), TURN):
            self._tls.write(view[at : at + TURN])
            await self._flush()

    async def _flush(self) -> None:
        if self._out.pending:
            await self._wire.send_all(self._out.read())

    def close(self) -> None:
        """Without TLS's goodbye."""
        self._wire.close()

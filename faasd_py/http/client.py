"""The pooled client: one pool per peer, the connection used last is used next."""

from __future__ import annotations

import ssl
from collections import deque
from math import inf

import trio

from faasd_py.http.dial import Dial, dial_tcp, dial_unix
from faasd_py.http.errors import ConnectFailed
from faasd_py.http.message import Reply, Source, opening
from faasd_py.http.peer import NotSent, Peer
from faasd_py.http.sweeper import Sweeper
from faasd_py.http.tls import TlsWire
from faasd_py.http.wire import PlainWire

__all__ = ["Dial", "Pool", "dial_tcp", "dial_unix"]


class Pool:
    """Connections to one peer.

    `idle_timeout` closes what was not used for so long; `read_timeout` and `write_timeout` bound the time without a
    byte's progress (None: no bound); all in seconds. Without `run` the timeouts cost a cancel scope each, and idle
    connections are closed when the pool is used next; with `run` in a nursery they cost nothing.
    """

    def __init__(
        self,
        dial: Dial,
        *,
        tls: ssl.SSLContext | None = None,
        server_name: str = "",
        max_idle: int = 256,
        idle_timeout: float = 60.0,
        read_timeout: float | None = None,
        write_timeout: float | None = None,
    ) -> None:
        self._dial = dial
        self._tls = tls
        self._server_name = server_name
        self._max_idle = max_idle
        self._idle_timeout = idle_timeout
        self._read_timeout = read_timeout
        self._write_timeout = write_timeout
        self._sweeper = Sweeper()
        self._idle: deque[Peer] = deque()
        self._closed = False
        self._swept = False
        """Somebody else closes what was idle for too long."""

    @property
    def idle(self) -> int:
        """Connections that wait for a request."""
        return len(self._idle)

    async def run(self) -> None:
        """Keep the timeouts, until cancelled. Optional; see the class."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._sweeper.run)
            self._swept = True
            try:
                while True:
                    await trio.sleep(max(self._idle_timeout / 4, 1.0))
                    self._close_expired()
            finally:
                self._swept = False

    async def request(
        self,
        method: bytes,
        target: bytes,
        headers: bytes,
        body: bytes | None,
        length: int | None,
        source: Source | None,
        reply: Reply,
        upgrade: bytes = b"",
    ) -> None:
        """One request; its answer is pushed into `reply`.

        `headers` include Host, and Content-Length when `length` is not None and not 0. A connection that turns out to
        be dead is replaced only while no byte of the request was sent.

        Raises:
            ConnectFailed: nothing was sent.
            PeerClosed: the peer broke off; `began` says whether the reply had begun.
            PeerTimeout: it made no progress in time (a PeerClosed).
            BadAnswer: what it sent is not HTTP.
        """
        if body is not None or length == 0:
            source = None
        data = opening(method, target, headers, body, length, upgrade)
        while True:
            peer = self._take()
            fresh = peer is None
            if peer is None:
                peer = await self._open()
            try:
                keep = await peer.run(data, method, source, length, reply, upgrade)
            except NotSent as error:
                peer.close()
                if fresh:
                    raise ConnectFailed(f"the peer closed at once: {error}") from error
                continue
            except BaseException:
                peer.close()
                raise
            if keep:
                self._give(peer)
            else:
                peer.close()
            return

    def close_idle(self) -> None:
        """Close every connection that waits for a request."""
        while self._idle:
            self._idle.popleft().close()

    async def aclose(self) -> None:
        """Close what is idle now; what is in use closes when it is done."""
        self._closed = True
        self.close_idle()
        await trio.lowlevel.checkpoint()

    def _take(self) -> Peer | None:
        """The idle connection that was used last and is still alive."""
        idle = self._idle
        while idle:
            peer = idle.pop()
            if peer.wire.quiet() and (self._swept or peer.idle_until > self._sweeper.now()):
                return peer
            peer.close()
        return None

    def _give(self, peer: Peer) -> None:
        idle = self._idle
        if self._closed or len(idle) >= self._max_idle:
            peer.close()
            return
        now = self._sweeper.now()
        peer.idle_until = now + self._idle_timeout
        idle.append(peer)
        if not self._swept and idle[0].idle_until <= now:
            self._close_expired()

    def _close_expired(self) -> None:
        """The oldest lie on the left."""
        now, idle = self._sweeper.now(), self._idle
        while idle and idle[0].idle_until <= now:
            idle.popleft().close()

    async def _open(self) -> Peer:
        self._sweeper.use_clock()
        sock = await self._dial()
        if self._tls is None:
            return self._peer(Peer(PlainWire(sock), self._sweeper, self._read_timeout, self._write_timeout))
        wire = TlsWire(sock, self._tls, server_side=False, server_name=self._server_name)
        try:
            with trio.fail_after(inf if self._read_timeout is None else self._read_timeout):
                await wire.handshake()
        except (OSError, trio.TooSlowError) as error:
            wire.close()
            raise ConnectFailed(f"no TLS with {self._server_name or 'the peer'}: {error}") from error
        except BaseException:
            wire.close()
            raise
        return self._peer(Peer(wire, self._sweeper, self._read_timeout, self._write_timeout))

    def _peer(self, peer: Peer) -> Peer:
        self._sweeper.watched.add(peer)
        return peer

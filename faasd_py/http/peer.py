"""The client's side of one connection: a request out, its answer in, at the same time where need be."""

from __future__ import annotations

from math import inf
from typing import Final

import trio

from faasd_py.http import fields
from faasd_py.http.answer import MAX_HEAD, AnswerHead
from faasd_py.http.body import Body, BodyCut, ChunkedBody, FixedBody, UntilClose
from faasd_py.http.chunked import Dechunker
from faasd_py.http.errors import BadAnswer, BadChunk, PeerClosed, PeerTimeout
from faasd_py.http.link import Link, LinkDuplex, OutOfTime
from faasd_py.http.message import Reply, Source
from faasd_py.http.sweeper import Sweeper
from faasd_py.http.upload import Upload
from faasd_py.http.wire import SMALL, Wire

MAX_INTERIM: Final = 16
"""1xx answers before the final one that are put up with."""
MEMO: Final = 4096
"""Bytes of the longest head that is remembered."""


class NotSent(Exception):
    """The connection was dead before a byte of the request went out: another may be tried."""


class Peer(Link):
    """One connection to a peer. `began`: its answer to the request at hand has begun to reach the reply."""

    __slots__ = ("_head", "_head_data", "_unsent", "_upload", "_waiting", "began", "idle_until")

    def __init__(
        self, wire: Wire, sweeper: Sweeper, receive_timeout: float | None, send_timeout: float | None
    ) -> None:
        super().__init__(wire, sweeper, receive_timeout, send_timeout)
        self.began = False
        self.idle_until = 0.0
        self._unsent = b""
        self._head: AnswerHead | None = None
        """Of the answer before, for the same one often comes again, within one second."""
        self._head_data = b""
        self._upload: Upload | None = None
        self._waiting: trio.CancelScope | None = None

    async def run(
        self,
        opening: bytes,
        method: bytes,
        source: Source | None,
        length: int | None,
        reply: Reply,
        upgrade: bytes,
    ) -> bool:
        """Send, and push the answer into `reply`; whether the connection can be used again.

        Raises:
            NotSent, PeerClosed, PeerTimeout, BadAnswer; and whatever `reply` or the source raise.
        """
        self.began = False
        self._open_with(opening)
        try:
            if source is not None or self._unsent:
                return await self._run_duplex(method, source, length, reply, upgrade)
            if self.receive_timeout != inf:
                return await self._answer(b"", method, reply, upgrade)
            await self.wire.readable()
            data, head = self._receive_nowait(), self._head
            if method != b"HEAD" and head is not None and data.startswith(self._head_data):
                end = len(self._head_data)
                if head.length == len(data) - end and head.status >= 200:
                    self.began = True
                    await reply.answer(head.status, head.headers, data[end:])
                    return head.keep_alive
            return await self._answer(data, method, reply, upgrade)
        except OutOfTime:
            raise PeerTimeout("the peer made no progress in time", began=self.began) from None
        except BadChunk as error:
            raise BadAnswer(f"the answer's body is malformed: {error}", began=self.began) from error
        except BodyCut:
            raise PeerClosed("the peer closed in the middle of its answer", began=self.began) from None

    def _receive_nowait(self) -> bytes:
        try:
            data = self.wire.receive_nowait(SMALL)
        except OSError as error:
            raise PeerClosed(f"the peer broke off before its answer: {error}") from error
        if data == b"":
            raise PeerClosed("the peer closed before its answer")
        return data or b""

    def _open_with(self, opening: bytes) -> None:
        try:
            sent = self.wire.send_nowait(opening)
        except OSError as error:
            raise NotSent(str(error)) from error
        if sent < len(opening):
            self._unsent = opening[sent:]

    async def _answer(self, data: bytes, method: bytes, reply: Reply, upgrade: bytes) -> bool:
        """Skip interim answers, then pass the final one on."""
        for _ in range(MAX_INTERIM):
            end = data.find(b"\r\n\r\n") + 4
            if end == 3:
                data = await self._whole_head(data)
                end = data.index(b"\r\n\r\n") + 4
            if end > MAX_HEAD:
                raise BadAnswer(f"the answer's head is over {MAX_HEAD} bytes")
            head = self._read_head(data[:end], method)
            data = data[end:]
            if head.status >= 200:
                self.rest = data
                return await self._pass_on(head, method, reply)
            if head.status == 101:
                self.rest = data
                await self._tunnel(head, reply, upgrade)
                return False
        raise BadAnswer(f"the peer sent more than {MAX_INTERIM} interim answers")

    def _read_head(self, data: bytes, method: bytes) -> AnswerHead:
        head = AnswerHead(data, method)
        if method != b"HEAD" and len(data) <= MEMO:
            self._head, self._head_data = head, data
        return head

    async def _whole_head(self, data: bytes) -> bytes:
        """The slow way: the head comes in pieces, or nothing has come yet."""
        while b"\r\n\r\n" not in data:
            if len(data) > MAX_HEAD:
                raise BadAnswer(f"the answer's head is over {MAX_HEAD} bytes")
            if b"\n\n" in data or not b"HTTP/".startswith(data[:5]):
                raise BadAnswer("the answer is not HTTP")
            try:
                more = await self.await_bytes(SMALL, self.receive_timeout)
            except OSError as error:
                raise PeerClosed(f"the peer broke off before its answer: {error}") from error
            if not more:
                raise PeerClosed("the peer closed before its answer")
            data += more
        return data

    async def _pass_on(self, head: AnswerHead, method: bytes, reply: Reply) -> bool:
        """The whole answer in one piece when it came so, else as it comes."""
        length, rest = head.length, self.rest
        if length is not None and len(rest) >= length:
            keep = head.keep_alive and len(rest) == length
            self.rest = b""
            self.began = True
            if method == b"HEAD" and not fields.has(head.headers, b"content-length"):
                await reply.start(head.status, head.headers, None)
                await reply.end()
            else:
                await reply.answer(head.status, head.headers, rest if keep else rest[:length])
            return keep
        if head.chunked:
            trial = Dechunker()
            body = trial.feed(rest)
            if trial.done:
                self.rest = b""
                self.began = True
                await reply.answer(head.status, head.headers, body)
                return head.keep_alive and not trial.rest
            return await self._stream(head, ChunkedBody(self), reply)
        body_left = UntilClose(self) if length is None else FixedBody(self, length)
        return await self._stream(head, body_left, reply)

    async def _stream(self, head: AnswerHead, body: Body, reply: Reply) -> bool:
        self.began = True
        await reply.start(head.status, head.headers, head.length)
        while piece := await self._piece(body):
            await reply.write(piece)
        await reply.end()
        return head.keep_alive and not self.rest and not isinstance(body, UntilClose)

    async def _piece(self, body: Body) -> bytes:
        try:
            return await body.read()
        except OSError as error:
            raise PeerClosed(f"the peer broke off in its answer: {error}", began=True) from error

    async def _tunnel(self, head: AnswerHead, reply: Reply, upgrade: bytes) -> None:
        if not upgrade or not head.upgrade:
            raise BadAnswer("the peer switched protocols unasked")
        self.began = True
        headers = head.headers + b"Upgrade: %b\r\n" % head.upgrade
        await reply.tunnel(headers, LinkDuplex(self))

    async def _run_duplex(
        self, method: bytes, source: Source | None, length: int | None, reply: Reply, upgrade: bytes
    ) -> bool:
        """Send the body and receive the answer at once: a function may answer while it is still being sent to."""
        self._upload = upload = Upload(self, self._unsent, source, length, self._upload_over)
        self._unsent = b""
        failure: Exception | None = None
        keep = False
        async with trio.open_nursery() as nursery:
            nursery.start_soon(upload.run, nursery.cancel_scope)
            try:
                keep = await self._answer(b"", method, reply, upgrade)
            except Exception as error:  # noqa: BLE001 - raised again below, without a group around it
                failure = error
            nursery.cancel_scope.cancel()
        self._upload = None
        if upload.failure is not None:
            raise upload.failure
        if failure is not None:
            raise failure
        return keep and upload.done

    async def await_bytes(self, limit: int, patience: float) -> bytes:
        """See Link. While we are still sending, the peer's silence is no fault: its time runs from our last byte."""
        upload = self._upload
        if upload is None or upload.over:
            return await super().await_bytes(limit, patience)
        with trio.CancelScope() as self._waiting:
            return await self.wire.receive(limit)
        raise OutOfTime

    def _upload_over(self) -> None:
        if self._waiting is not None:
            self._waiting.deadline = trio.current_time() + self.receive_timeout

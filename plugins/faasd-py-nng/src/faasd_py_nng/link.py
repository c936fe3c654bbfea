"""The spoke's side of a session: connect, prove, send operations in batches, listen; again and again, with pauses.

What was sent and not answered is sent again under the same number: the hub does nothing twice. Only when the hub has
lost the session too (it was started anew, or the link was down for too long) is that memory gone: then leases are
lost, and puts ask the hub to look whether they are there already.
"""

from __future__ import annotations

import logging
import math
import os
import random
import socket
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol

import msgspec
import trio

from faasd_py_nng import wire
from faasd_py_nng.identity import Identity
from faasd_py_nng.nng import Certificates, Connection, ConnectionLost, open_connection
from faasd_py_nng.pending import Pending
from faasd_py_nng.proof import HUB, SPOKE, is_proof, proof
from faasd_py_nng.settings import SpokeOptions
from faasd_py_nng.wire import (
    CHUNK,
    Answers,
    Credit,
    Done,
    Failed,
    Figures,
    Grant,
    Malformed,
    News,
    Op,
    Put,
    Refused,
    Return,
    Settle,
    Start,
    Value,
    Welcome,
)

log: Final = logging.getLogger("faasd_py.nng.spoke")
MANY: Final = 64
"""Operations that wait before a second batch goes on its way beside the first: a message costs more than what is in it."""
TURNS: Final = 3
"""Turns of the loop in which those who got an answer may say what comes next, so that it goes with the next batch."""
BATCH: Final = 256
"""Operations in one message."""


class NotWelcome(Exception):
    """The hub does not want us, or is not who it should be; the text says why."""


class Spoke(Protocol):
    """Whom the link tells."""

    def holding(self) -> list[int]:
        """The leases that are here."""
        ...

    def connected(self, welcome: Welcome) -> None:
        """A session begins, or goes on."""
        ...

    def session_lost(self) -> None:
        """Every lease is somebody else's."""
        ...

    def heard(self, news: News) -> None:
        """There is news."""
        ...

    def granted(self, grants: list[Grant]) -> None:
        """There are calls."""
        ...

    def figures(self, figures: Figures | None) -> None:
        """There are new figures, or the hub has not counted."""
        ...


class Link:
    """`up`: there is a session now; else `why` says why not."""

    def __init__(
        self,
        options: SpokeOptions,
        identity: Identity,
        key: bytes | None,
        certificates: Certificates | None,
        spoke: Spoke,
    ) -> None:
        self._options = options
        self._identity = identity
        self._key = key
        self._certificates = certificates
        self._spoke = spoke
        self._numbers = 0
        self._frames = 0
        self._token = b""
        self._unanswered: dict[int, Pending] = {}
        self._waiting: deque[Pending] = deque()
        self._wakeups = trio.lowlevel.ParkingLot()
        self._nursery: trio.Nursery | None = None
        self._connection: Connection | None = None
        self.up = trio.Event()
        self.why = "it was not reached yet"
        self.down_since = trio.current_time()
        self.sessions = 0

    # -- operations

    def submit(
        self,
        make: Callable[[int], Op],
        size: int = 64,
        *,
        slow: bool = False,
        ordered: bool = False,
        patience: float = math.inf,
        then: Callable[[wire.Answer], None] | None = None,
    ) -> Pending:
        """Send an operation; it is sent again until there is an answer, it is withdrawn, or `patience` seconds are over."""
        self._numbers += 1
        pending = Pending(make(self._numbers), size, slow, ordered, then=then)
        pending.deadline = trio.current_time() + patience
        self._unanswered[self._numbers] = pending
        if not slow:
            self._waiting.append(pending)
            if self._wakeups:
                self._wakeups.unpark_all()
        elif self._nursery is not None:
            self._nursery.start_soon(self._send_slow, pending)
        return pending

    def withdraw(self, pending: Pending) -> None:
        """Nobody waits for the answer: what was not sent is not done, what was sent is not sent again."""
        pending.withdrawn = True
        pending.deadline = math.inf
        if not pending.sent:
            self._unanswered.pop(pending.op.op, None)

    def give_up(self) -> None:
        """Answer those whose time is over, in the hub's place."""
        now = trio.current_time()
        for pending in [pending for pending in self._unanswered.values() if pending.deadline < now]:
            self.withdraw(pending)
            pending.resolve(
                Failed(pending.op.op, "timeout", f"the hub at {self._options.hub} did not confirm in time")
            )

    async def ask(self, request: Callable[[bytes], wire.Request]) -> wire.Reply:
        """A message outside the batches: chunks of large bodies. `request` makes it for the session's token.

        Raises:
            ConnectionLost: there is no session, or it was lost meanwhile.
        """
        if self._connection is None:
            raise ConnectionLost(self.why)
        return wire.decode_reply(await self._connection.ask(wire.encode(request(self._token))))

    # -- the connection

    async def run(self) -> None:
        """Until cancelled."""
        shortest = float(self._options.reconnect_max) / 50
        pause = shortest
        while True:
            sessions = self.sessions
            try:
                await self._connect()
            except (ConnectionLost, Malformed, NotWelcome) as error:
                self._down(str(error))
            pause = (
                shortest if self.sessions > sessions else min(pause * 2, float(self._options.reconnect_max))
            )
            await trio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - only that not all come at once

    def _down(self, why: str) -> None:
        if self.up.is_set():
            self.up = trio.Event()
            self.down_since = trio.current_time()
            log.warning("the link to %s is lost: %s", self._options.hub, why)
        elif why != self.why:
            log.warning("the hub at %s cannot be had: %s", self._options.hub, why)
        self.why = why

    async def _connect(self) -> None:
        patience = float(self._options.connect_timeout)
        async with open_connection(self._options.hub, self._certificates, patience) as connection:
            with trio.move_on_after(patience) as scope:
                welcome = await self._greet(connection)
            if scope.cancelled_caught:
                raise ConnectionLost("the hub does not answer")
            self._begin(connection, welcome)
            try:
                await self._live(connection, welcome)
            finally:
                self._connection = self._nursery = None

    async def _greet(self, connection: Connection) -> Welcome:
        """Raises NotWelcome, also when the hub cannot prove that it knows the key."""
        hello = wire.Hello(
            wire.VERSION, self._identity.spoke, self._identity.incarnation,
            (self._options.name or socket.gethostname())[:128], os.urandom(16), list(self._options.lanes),
        )  # fmt: skip
        challenge = wire.decode_reply(await connection.ask(wire.encode(hello)))
        if not isinstance(challenge, wire.Challenge):
            raise NotWelcome(_refusal(challenge))
        if challenge.keyed is not (self._key is not None):
            have, not_have = ("the hub", "this spoke") if challenge.keyed else ("this spoke", "the hub")
            raise NotWelcome(f"{have} has a key and {not_have} has none (key_file)")
        mine = wire.Proof(proof(self._key, SPOKE, hello, challenge.nonce), self._spoke.holding())
        welcome = wire.decode_reply(await connection.ask(wire.encode(mine)))
        if not isinstance(welcome, Welcome):
            raise NotWelcome(_refusal(welcome))
        if not is_proof(welcome.mac, proof(self._key, HUB, hello, challenge.nonce)):
            raise NotWelcome("the hub does not know the key: it is not the one it should be")
        return welcome

    def _begin(self, connection: Connection, welcome: Welcome) -> None:
        self._connection, self._token, self._frames = connection, welcome.session, 0
        if self.sessions and not welcome.resumed:
            log.warning(
                "the hub at %s has lost our session: what runs here will run again", self._options.hub
            )
            self._spoke.session_lost()
        self._requeue(lost=not welcome.resumed)
        self.sessions += 1
        self.up.set()
        self._spoke.connected(welcome)
        log.info("connected to the hub at %s", self._options.hub)

    def _requeue(self, *, lost: bool) -> None:
        """What was not answered is to be sent again, in its order, as far as it makes sense."""
        self._waiting.clear()
        for number, pending in list(self._unanswered.items()):
            op = pending.op
            if isinstance(op, Return | Credit):
                self._answered(Done(number))
            elif pending.sent and pending.withdrawn:
                del self._unanswered[number]
            elif lost and isinstance(op, Start | Settle):
                self._answered(Failed(number, "lost", "the hub has given the call to others"))
            else:
                if lost and pending.sent and isinstance(op, Put):
                    pending.op = msgspec.structs.replace(op, again=True)
                if not pending.slow:
                    self._waiting.append(pending)

    async def _live(self, connection: Connection, welcome: Welcome) -> None:
        failure: list[Exception] = []

        async def guard(work: Callable[..., Awaitable[None]], *arguments: Any) -> None:
            try:
                await work(*arguments)
            except (ConnectionLost, Malformed, NotWelcome) as error:
                failure.append(error)
                nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            nursery.start_soon(guard, self._listen, connection, welcome.patience)
            nursery.start_soon(guard, self._watch, connection)
            for least in (1, MANY):
                nursery.start_soon(guard, self._send_batches, connection, least)
            for pending in list(self._unanswered.values()):
                if pending.slow:
                    nursery.start_soon(self._send_slow, pending)
        if failure:
            raise failure[0]

    async def _watch(self, connection: Connection) -> None:
        await connection.lost.wait()
        raise ConnectionLost("the connection is closed")

    async def _listen(self, connection: Connection, patience: float) -> None:
        """The hub replies to each Listen within its heartbeat: one that is silent for longer is not there."""
        request = wire.encode(wire.Listen(self._token))
        while True:
            with trio.move_on_after(patience / 2) as scope:
                news = wire.decode_reply(await connection.ask(request))
            if scope.cancelled_caught:
                raise ConnectionLost(f"the hub is silent for {patience / 2:g} s")
            if not isinstance(news, News):
                raise NotWelcome(_refusal(news))
            if news.figures is not None:
                self._spoke.figures(news.figures)
            self._spoke.heard(news)

    async def _send_batches(self, connection: Connection, least: int) -> None:
        while True:
            while len(self._waiting) < least:
                await self._wakeups.park()
            batch = self._pack()
            if batch:
                self._frames += 1
                await self._send(connection, self._frames, batch)
                for _ in range(TURNS):
                    await trio.lowlevel.checkpoint()

    def _pack(self) -> list[Pending]:
        """As many as fit into one message, all ordered or none."""
        batch: list[Pending] = []
        size = 0
        waiting = self._waiting
        while waiting and len(batch) < BATCH:
            pending = waiting[0]
            if batch and (size + pending.size > CHUNK or pending.ordered is not batch[0].ordered):
                break
            waiting.popleft()
            if pending.withdrawn or pending.done.is_set():
                continue
            pending.sent = True
            size += pending.size
            batch.append(pending)
        return batch

    async def _send(self, connection: Connection, number: int, batch: list[Pending]) -> None:
        floor = next(iter(self._unanswered), self._numbers + 1)
        frame = wire.Frame(self._token, number, floor, [pending.op for pending in batch], batch[0].ordered)
        reply = wire.decode_reply(await connection.ask(wire.encode(frame)))
        if not isinstance(reply, Answers):
            raise NotWelcome(_refusal(reply))
        for answer in reply.answers:
            if isinstance(answer, Value) and answer.size:
                await self._fetch_document(connection, answer)
        self._spoke.figures(reply.figures)
        if reply.grants:
            self._spoke.granted(reply.grants)
        for answer in reply.answers:
            self._answered(answer)

    async def _send_slow(self, pending: Pending) -> None:
        """In a message of its own; when the link fails meanwhile, the next session takes it up."""
        if self._connection is None or pending.withdrawn:
            return
        pending.sent = True
        try:
            await self._send(self._connection, 0, [pending])
        except (ConnectionLost, Malformed, NotWelcome):
            return

    async def _fetch_document(self, connection: Connection, answer: Value) -> None:
        chunks: list[bytes] = []
        got = 0
        while got < answer.size:
            reply = wire.decode_reply(
                await connection.ask(wire.encode(wire.Fetch(self._token, 0, answer.op, got)))
            )
            if not isinstance(reply, wire.Data) or not reply.data:
                raise Malformed("an answer that breaks off")
            chunks.append(reply.data)
            got += len(reply.data)
        if pending := self._unanswered.get(answer.op):
            pending.document = b"".join(chunks)

    def _answered(self, answer: wire.Answer) -> None:
        pending = self._unanswered.pop(answer.op, None)
        if pending is not None and not pending.done.is_set():
            pending.resolve(answer)


def _refusal(reply: wire.Reply) -> str:
    return reply.text if isinstance(reply, Refused) else "the hub says something unexpected"

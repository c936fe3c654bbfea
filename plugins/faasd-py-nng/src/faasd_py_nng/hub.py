"""The hub: spokes come, prove who they are, and have their sessions; what the gone ones held is given to others."""

from __future__ import annotations

import logging
import os
from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec
import trio

from faasd_py.api import CRASHED, QueueError, ServiceSite
from faasd_py_nng import wire
from faasd_py_nng.bodies import Bodies, fetch
from faasd_py_nng.granter import Granter
from faasd_py_nng.known_spokes import KnownSpokes
from faasd_py_nng.nng import IncomingRequest, Listener
from faasd_py_nng.operations import Operations
from faasd_py_nng.proof import HUB, SPOKE, is_proof, proof
from faasd_py_nng.session import MOST_REQUESTS, Session, not_heard_since
from faasd_py_nng.settings import HubOptions, serves
from faasd_py_nng.stats_cache import StatsCache
from faasd_py_nng.wire import Credit, Malformed, Refused

log: Final = logging.getLogger("faasd_py.nng.hub")
TICK: Final = 0.2
"""Seconds between two looks at the figures, at lanes that wait, and at spokes that are silent."""
MOST_GRANTERS: Final = 4096
"""Lanes that one spoke takes calls from at once."""
PIGGYBACK: Final = 0.005
"""Seconds that news waits for an answer it may ride on: longer than most commits take, a message of its own is dear."""
HANDSHAKE: Final = 5.0
"""Seconds that who comes has to prove who they are."""
ASK_AGAIN: Final = 5.0
"""Seconds after which a claimed lane is offered to the hub's own workers again: they may have its function by now."""


class Handshake(msgspec.Struct, eq=False):
    """A connection that has no session yet."""

    since: float
    hello: wire.Hello | None = None
    nonce: bytes = b""


class Hub:
    """One daemon's queue, offered."""

    def __init__(self, site: ServiceSite, options: HubOptions, key: bytes | None) -> None:
        self._queue = site.queue
        self._spool = site.spool
        self._options = options
        self._key = key
        self._sessions: dict[bytes, Session] = {}
        self._handshakes: dict[int, Handshake] = {}
        self._granters: dict[tuple[bytes, str], Granter] = {}
        self._claimed: set[str] = set()
        self._known = KnownSpokes(site.directory / "spokes.json")
        self._operations = Operations(
            site.queue, site.spool, noticed=self._noticed, credited=self._credited,
            sessions=lambda: list(self._sessions.values()),
        )  # fmt: skip
        self._stats = StatsCache(site.queue)
        self._bodies = Bodies(site.spool, options.max_body)
        self._nursery: trio.Nursery | None = None
        self.listener: Listener | None = None

    async def serve(self, listener: Listener) -> None:
        """Until cancelled; then what spokes hold is left as a crash would leave it."""
        self.listener = listener
        async with trio.open_nursery() as self._nursery:
            self._nursery.start_soon(self._watch)
            self._nursery.start_soon(self._offer_again)
            for _ in range(2):
                self._nursery.start_soon(self._receive)

    async def _receive(self) -> None:
        assert self._nursery is not None and self.listener is not None  # noqa: S101, PT018 - `serve` opened both
        while True:
            incoming = await self.listener.receive()
            self._nursery.start_soon(self._handle, incoming)

    # -- connections

    def pipe_added(self, pipe: int) -> None:
        """Somebody has connected; they may have spoken already."""
        if pipe in self._handshakes or any(session.pipe == pipe for session in self._sessions.values()):
            return
        if len(self._handshakes) > self._options.max_spokes:
            self._close_pipe(pipe)
        else:
            self._handshakes[pipe] = Handshake(trio.current_time())

    def pipe_removed(self, pipe: int) -> None:
        """A connection has ended: its session has a while to come back."""
        self._handshakes.pop(pipe, None)
        for session in self._sessions.values():
            if session.pipe == pipe:
                session.disconnect()
                log.info("spoke %s: the connection is lost", session.name)

    def _close_pipe(self, pipe: int) -> None:
        if self.listener is not None:
            self.listener.close_pipe(pipe)

    async def _handle(self, incoming: IncomingRequest) -> None:
        """One message. Whatever is wrong with it is the end of who sent it, and of nobody else."""
        try:
            reply = await self._reply(incoming.pipe, incoming.data)
        except Malformed as error:
            log.warning("a connection is ended, it sent what is no message: %s", error)
            await self._end_pipe(incoming.pipe)
            reply = None
        except Exception:
            log.exception("a message cannot be handled; its connection is ended")
            await self._end_pipe(incoming.pipe)
            reply = None
        if reply is None:
            incoming.drop()
        else:
            await incoming.reply(wire.encode(reply))

    async def _end_pipe(self, pipe: int) -> None:
        for session in [session for session in self._sessions.values() if session.pipe == pipe]:
            await self._end(session, "it sent what is no message")
        self._close_pipe(pipe)

    async def _reply(self, pipe: int, data: bytes) -> wire.Reply | None:
        request = wire.decode_request(data)
        if isinstance(request, wire.Hello):
            return self._hello(pipe, request)
        if isinstance(request, wire.Proof):
            return await self._proof(pipe, request)
        session = self._sessions.get(request.session)
        if session is None or session.pipe != pipe:
            return Refused("session", "there is no such session")
        session.heard = trio.current_time()
        if session.requests >= MOST_REQUESTS:
            raise Malformed("too many messages at once")
        session.requests += 1
        try:
            return await self._serve(session, pipe, request)
        finally:
            session.requests -= 1

    async def _serve(self, session: Session, pipe: int, request: Any) -> wire.Reply | None:
        if isinstance(request, wire.Frame):
            return await self._frame(session, pipe, request)
        if isinstance(request, wire.Listen):
            return await self._listen(session, pipe)
        if isinstance(request, wire.Chunk):
            return await self._bodies.chunk(session, request)
        if isinstance(request, wire.Fetch):
            return await fetch(session, request)
        await self._end(session, "it has left")
        return wire.Received()

    async def _frame(self, session: Session, pipe: int, frame: wire.Frame) -> wire.Answers | None:
        """Calls that were granted meanwhile ride on the reply."""
        session.frames += 1
        try:
            answers = await self._operations.frame(session, frame)
        finally:
            session.frames -= 1
        if answers is None or session.pipe != pipe:
            return None
        room = wire.CHUNK - 512 * len(answers)
        return wire.Answers(
            answers, self._figures(session), session.take_grants(room) if frame.number else []
        )

    # -- the handshake

    def _hello(self, pipe: int, hello: wire.Hello) -> wire.Reply:
        if hello.version != wire.VERSION:
            return Refused(
                "version", f"the hub speaks version {wire.VERSION} of the protocol, not {hello.version}"
            )
        handshake = self._handshakes.setdefault(pipe, Handshake(trio.current_time()))
        if handshake.hello is not None or any(session.pipe == pipe for session in self._sessions.values()):
            raise Malformed("a greeting that is not the first word")
        handshake.hello, handshake.nonce = hello, os.urandom(16)
        return wire.Challenge(wire.VERSION, handshake.nonce, self._key is not None)

    async def _proof(self, pipe: int, request: wire.Proof) -> wire.Reply:
        handshake = self._handshakes.pop(pipe, None)
        if handshake is None or handshake.hello is None:
            raise Malformed("a proof that nobody asked for")
        hello = handshake.hello
        if not is_proof(request.mac, proof(self._key, SPOKE, hello, handshake.nonce)):
            log.warning("spoke %r is refused: it does not know the key", hello.name)
            return Refused("key", "the hub does not accept the key (key_file)")
        session = await self._again(pipe, hello)
        if isinstance(session, Refused):
            return session
        resumed = session is not None
        if session is None:
            if len(self._sessions) >= self._options.max_spokes:
                return Refused("full", f"the hub has {len(self._sessions)} spokes already (max_spokes)")
            session = Session(os.urandom(16), hello, pipe, self._options.lanes)
            self._sessions[session.token] = session
        await self._known.saw(session)
        return await self._welcome(session, hello, handshake.nonce, request.holding, resumed=resumed)

    async def _again(self, pipe: int, hello: wire.Hello) -> Session | Refused | None:
        """The session that goes on, if there is one; of one spoke, the latest life takes the place of earlier ones."""
        for session in [one for one in self._sessions.values() if one.spoke == hello.spoke]:
            if session.incarnation > hello.incarnation:
                return Refused(
                    "superseded", "another daemon with the same state directory took this one's place"
                )
            if session.incarnation == hello.incarnation:
                if session.pipe is not None:
                    self._close_pipe(session.pipe)
                session.patterns = hello.lanes
                session.connect(pipe)
                return session
            await self._end(session, "it has started anew")
        return None

    async def _welcome(
        self, session: Session, hello: wire.Hello, nonce: bytes, holding: list[int], *, resumed: bool
    ) -> wire.Welcome:
        kept = set(holding)
        for number in [number for number in session.held if number not in kept]:
            await self._release(session, number)
        lost = [number for number in holding if number not in session.held]
        log.info(
            "spoke %s %s; it serves %s",
            session.name,
            "is back" if resumed else "has come",
            session.patterns or "no lanes",
        )
        capabilities = self._queue.capabilities
        most = int(min(capabilities.max_body or self._options.max_body, self._options.max_body))
        capabilities = msgspec.to_builtins(msgspec.structs.replace(capabilities, max_body=most))
        patience = float(self._options.lease_timeout)
        return wire.Welcome(
            session.token, proof(self._key, HUB, hello, nonce), resumed, lost, patience / 4, patience, capabilities,
            session.figures(self._queue.stats(), self._queue.trouble()),
            session.numbers,
        )  # fmt: skip

    # -- leases

    async def _release(self, session: Session, number: int) -> None:
        held = session.take_out(number)
        if held is not None:
            await self._operations.end(held, CRASHED)
            self._noticed(held.lease.call.lane)

    async def _end(self, session: Session, why: str) -> None:
        """The session is over: what it held is READY again, and what it ran counts as an attempt."""
        if session.ended:
            return
        session.ended = True
        self._sessions.pop(session.token, None)
        session.disconnect()
        if session.held:
            log.warning("spoke %s: %s; %d calls go back into the queue", session.name, why, len(session.held))
        else:
            log.info("spoke %s: %s", session.name, why)
        for number in list(session.held):
            await self._release(session, number)
        await session.drop_uploads(self._spool)

    def _credited(self, session: Session, credit: Credit) -> None:
        key = session.token, credit.lane
        if credit.total is None:
            if scope := session.granters.pop(credit.lane, None):
                scope.cancel()
            session.left(credit.lane)
            self._noticed(credit.lane)
            return
        if not session.may_serve(credit.lane) or session.ended or session.pipe is None:
            return
        if credit.lane not in session.granters:
            if len(session.granters) >= MOST_GRANTERS:
                return
            self._granters[key] = Granter(credit.lane, session, self._queue, self._operations)
            session.granters[credit.lane] = scope = trio.CancelScope()
            assert self._nursery is not None  # noqa: S101 - whoever is asked serves
            self._nursery.start_soon(self._grant, key, self._granters[key], scope)
        self._granters[key].set_total(credit.total)

    async def _grant(self, key: tuple[bytes, str], granter: Granter, scope: trio.CancelScope) -> None:
        with scope:
            await self._retrying(granter.run)
        if self._granters.get(key) is granter:
            del self._granters[key]

    async def _retrying(self, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await work()
            except QueueError as error:
                log.warning("a lane cannot be fed now: %s", error)
                await trio.sleep(error.retry_after)

    def _noticed(self, lane: str) -> None:
        """Calls have come, or come back: tell those who serve the lane and may not know; at the latest the clock does."""
        able = [session for session in self._sessions.values() if session.wants(lane)]
        stats = self._stats.now() if able else None
        if stats is not None and lane in stats.lanes and stats.lanes[lane].ready:
            for session in able:
                session.announce(lane)

    def claim(self, lane: str, ours: bool) -> bool:
        """Whether the hub's own workers are to leave this lane to the spokes: they have no function for it, somebody has."""
        if not serves(self._options.lanes, lane):
            return False
        able = [session for session in self._sessions.values() if session.may_serve(lane)]
        for session in able:
            session.announce(lane)
        if ours or not (able or self._known.serve(lane)):
            return False
        self._claimed.add(lane)
        return True

    async def _offer_again(self) -> None:
        while True:
            await trio.sleep(ASK_AGAIN)
            claimed, self._claimed = self._claimed, set()
            for lane in claimed:
                self._queue.leave(lane)

    # -- news

    def _figures(self, session: Session) -> wire.Figures | None:
        stats = self._stats.now()
        return None if stats is None else session.figures(stats, self._queue.trouble())

    async def _listen(self, session: Session, pipe: int) -> wire.Reply | None:
        patience = float(self._options.lease_timeout) / 4
        with trio.move_on_after(patience):
            while not session.has_news() and session.pipe == pipe and not session.ended:
                if session.differs(self._stats.latest, self._queue.trouble()):
                    break
                await session.changed.park()
                if session.frames:
                    await trio.sleep(PIGGYBACK)
        if session.ended:
            return Refused("session", "the session is over")
        if session.pipe != pipe:
            return None
        return session.news(self._stats.now(), self._queue.trouble())

    # -- the clock

    async def _watch(self) -> None:
        while True:
            await trio.sleep(TICK)
            stats, trouble = self._stats.now() or self._stats.latest, self._queue.trouble()
            waiting = [name for name, lane in stats.lanes.items() if lane.ready]
            for session in list(self._sessions.values()):
                for name in waiting:
                    session.announce(name)
                if session.pipe is not None and session.differs(stats, trouble):
                    session.notify()
            self._turn_away()
            for session in not_heard_since(self._sessions.values(), float(self._options.lease_timeout)):
                await self._end(session, f"it was not heard for {self._options.lease_timeout}")

    def _turn_away(self) -> None:
        """Those who do not say who they are."""
        deadline = trio.current_time() - HANDSHAKE
        for pipe in [pipe for pipe, handshake in self._handshakes.items() if handshake.since < deadline]:
            del self._handshakes[pipe]
            self._close_pipe(pipe)

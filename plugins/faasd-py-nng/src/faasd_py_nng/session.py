"""One spoke as the hub sees it: what it holds, what it may be given, what it was answered, what it is to be told."""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import AsyncExitStack
from typing import Any, Final

import msgspec
import trio

from faasd_py.api import Lease, QueueStats, Spooled
from faasd_py_nng.settings import serves
from faasd_py_nng.wire import CHUNK, INLINE, Answer, Figures, Grant, Hello, News, figures_of

MOST_REQUESTS: Final = 24
"""Messages of one spoke that are in hand at once; it sends fewer."""
MOST_UPLOADS: Final = 32
MOST_LANES: Final = 512
"""Lanes whose figures go with one message; the others' go with the next."""


class Held(msgspec.Struct, eq=False):
    """A lease in the spoke's hands."""

    number: int
    lease: Lease
    started: bool = False
    starting: trio.Event | None = None
    """Set when its start is on record, or refused."""

    def is_starting(self) -> bool:
        """Its start is under way."""
        return self.starting is not None and not self.starting.is_set()


class Slot(msgspec.Struct, eq=False):
    """An operation: being done, or answered and the answer kept until the spoke has it."""

    answer: Answer | None = None
    document: bytes = b""
    ended: bool = False
    _event: trio.Event | None = None

    async def wait(self) -> None:
        """Until it is answered, or never will be."""
        if not self.ended:
            self._event = self._event or trio.Event()
            await self._event.wait()

    def end(self) -> None:
        """Whoever sent it again goes on."""
        self.ended = True
        if self._event is not None:
            self._event.set()


class Upload(msgspec.Struct, eq=False):
    """A large body that comes in chunks."""

    stack: AsyncExitStack
    writer: Any
    size: int = 0
    body: Spooled | None = None


class Turns:
    """Frames of one connection are begun in the order of their numbers, whatever order they come in."""

    def __init__(self) -> None:
        self._next = 1
        self._changed = trio.Event()
        self.over = False

    async def wait(self, number: int) -> bool:
        """Whether it is this frame's turn; False when the connection is over."""
        while self._next != number and not self.over:
            await self._changed.wait()
        return not self.over

    def pass_on(self) -> None:
        """The next, please."""
        self._next += 1
        self._notify()

    def end(self) -> None:
        """Nobody gets a turn any more."""
        self.over = True
        self._notify()

    def _notify(self) -> None:
        changed, self._changed = self._changed, trio.Event()
        changed.set()


class Session:
    """`token` names it; it outlives its connection for a while."""

    def __init__(self, token: bytes, hello: Hello, pipe: int, allowed: list[str]) -> None:
        self.token = token
        self.spoke = hello.spoke
        self.incarnation = hello.incarnation
        self.name = hello.name or hello.spoke.hex()[:8]
        self.patterns = hello.lanes
        self.pipe: int | None = pipe
        self.turns = Turns()
        self.heard = trio.current_time()
        self.requests = 0
        self.frames = 0
        self.held: dict[int, Held] = {}
        self.mine: dict[str, int] = {}
        self.answers: dict[int, Slot] = {}
        self.uploads: dict[int, Upload] = {}
        self.granters: dict[str, trio.CancelScope] = {}
        self.scope = trio.CancelScope()
        self.changed = trio.lowlevel.ParkingLot()
        self.recall = 0
        self.recalled = 0
        self.ended = False
        self._allowed = allowed
        self.numbers = 0
        self._grants: list[Grant] = []
        self._ready: dict[str, None] = {}
        self._announced: set[str] = set()
        self._recall_told = 0
        self._sent: dict[str, tuple[Any, ...]] = {}
        self._sent_rest: tuple[Any, ...] = ()
        self._figures = 0

    def __repr__(self) -> str:
        return f"<Session of {self.name}: {len(self.held)} leases>"

    def may_serve(self, lane: str) -> bool:
        """The spoke has asked for it, and the hub allows it."""
        return serves(self.patterns, lane) and serves(self._allowed, lane)

    # -- the connection

    def connect(self, pipe: int) -> None:
        """It goes on over another connection: what was on its way may not have arrived, and is told anew."""
        self.disconnect()
        self.pipe = pipe
        self.heard = trio.current_time()
        self.turns = Turns()
        self._grants.clear()
        self._announced.clear()
        self._sent.clear()
        self._sent_rest = ()
        self.recalled = self._recall_told = self.recall

    def disconnect(self) -> None:
        """There is no connection for now."""
        self.pipe = None
        self.turns.end()
        for granter in self.granters.values():
            granter.cancel()
        self.granters.clear()
        self.notify()

    def notify(self) -> None:
        """There may be news, or whoever waits for them must look up."""
        if self.changed:
            self.changed.unpark_all()

    # -- leases

    def grant(self, lease: Lease) -> None:
        """The spoke has the lease from now on; it is told with the next news."""
        self.numbers += 1
        self.held[self.numbers] = Held(self.numbers, lease)
        lane = lease.call.lane
        self.mine[lane] = self.mine.get(lane, 0) + 1
        self._grants.append(_grant(self.numbers, lease))
        self.notify()

    def take_out(self, number: int) -> Held | None:
        """The spoke has this lease no longer."""
        held = self.held.pop(number, None)
        if held is not None:
            lane = held.lease.call.lane
            self.mine[lane] -= 1
            if not self.mine[lane]:
                del self.mine[lane]
        return held

    def has_unstarted(self) -> bool:
        """Some lease may be at hand at the spoke, where no worker has it."""
        return any(not held.started for held in self.held.values())

    # -- answers

    def forget_answers(self, floor: int) -> None:
        """The spoke has all answers below."""
        for number in [number for number, slot in self.answers.items() if number < floor and slot.ended]:
            del self.answers[number]

    # -- news

    def wants(self, lane: str) -> bool:
        """It may serve the lane, and does not know that it has calls."""
        known = lane in self._announced or lane in self.granters
        return not known and self.pipe is not None and self.may_serve(lane)

    def announce(self, lane: str) -> None:
        """The lane has calls; told once until the spoke has left it."""
        if self.wants(lane):
            self._announced.add(lane)
            self._ready[lane] = None
            self.notify()

    def left(self, lane: str) -> None:
        """It may be announced again."""
        self._announced.discard(lane)

    def has_news(self) -> bool:
        """There is something to tell."""
        return bool(self._grants or self._ready or self.recall > self._recall_told)

    def news(self, stats: QueueStats | None, trouble: str | None) -> News:
        """What is to be told now, as far as it fits into one message."""
        grants = self.take_grants(CHUNK)
        ready, self._ready = list(self._ready), {}
        self._recall_told = self.recall if not self._grants else self._recall_told
        figures = None if stats is None else self.figures(stats, trouble)
        return News(grants, ready, self._recall_told, figures, self.numbers)

    def take_grants(self, room: int) -> list[Grant]:
        """Those that fit into so many bytes; one goes in any case."""
        size = count = 0
        for grant in self._grants:
            size += grant.call.size + 512
            if count and size > room:
                break
            count += 1
        grants, self._grants = self._grants[:count], self._grants[count:]
        return grants

    def differs(self, stats: QueueStats, trouble: str | None) -> bool:
        """The spoke's figures are not these."""
        if self._sent_rest != (stats.bytes, stats.quarantined, trouble) or len(self._sent) != len(
            stats.lanes
        ):
            return True
        return any(self._of(name, stats) != self._sent.get(name) for name in stats.lanes)

    def _of(self, name: str, stats: QueueStats) -> tuple[Any, ...]:
        return figures_of(stats.lanes[name], self.mine.get(name, 0))

    def figures(self, stats: QueueStats, trouble: str | None) -> Figures:
        """What has changed since they were told last."""
        self._figures += 1
        changed: dict[str, Any] = {}
        for name in stats.lanes:
            now = self._of(name, stats)
            if now != self._sent.get(name):
                changed[name] = self._sent[name] = now
            if len(changed) >= MOST_LANES:
                break
        for name in [name for name in self._sent if name not in stats.lanes]:
            changed[name] = None
            del self._sent[name]
        self._sent_rest = (stats.bytes, stats.quarantined, trouble)
        return Figures(self._figures, changed, stats.bytes, stats.quarantined, trouble)

    async def drop_uploads(self, spool: Any) -> None:
        """Nobody will use them."""
        uploads, self.uploads = list(self.uploads.values()), {}
        for upload in uploads:
            await close_upload(upload)
            if upload.body is not None:
                await spool.remove(upload.body)


async def close_upload(upload: Upload) -> None:
    """Close its file; one that is not complete is removed."""
    with trio.CancelScope(shield=True):
        await upload.stack.aclose()


def _grant(number: int, lease: Lease) -> Grant:
    call, body = lease.call, lease.call.body
    size, file = 0, isinstance(body, Spooled)
    if isinstance(body, Spooled):
        size = body.size
    elif len(body) > INLINE:
        size = len(body)
    if size or file:
        call = msgspec.structs.replace(call, body=b"")
    return Grant(number, lease.id, lease.attempt, lease.crashed, call, size, file)


def not_heard_since(sessions: Iterable[Session], patience: float) -> list[Session]:
    """Those that are gone."""
    deadline = trio.current_time() - patience
    return [session for session in sessions if session.heard < deadline]


def today() -> int:
    """In days since 1970."""
    return int(time.time() // 86_400)

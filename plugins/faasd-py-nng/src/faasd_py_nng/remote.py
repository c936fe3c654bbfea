"""The queue of another daemon, as if it were here: keeps `faasd_py.api.Queue` over a link."""

from __future__ import annotations

import logging
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec
import trio

from faasd_py.api import (
    Accepted,
    BadOption,
    Call,
    Capabilities,
    IllegalMove,
    Lease,
    Move,
    Outcome,
    QueueStats,
    QueueUnavailable,
    Spooled,
    State,
    Verdict,
    after,
)
from faasd_py_nng.hub_stats import Change, HubStats
from faasd_py_nng.identity import Identity, capabilities_of
from faasd_py_nng.inspection import Inspection
from faasd_py_nng.lane_buffer import Entry, Phase
from faasd_py_nng.lanes import Lanes
from faasd_py_nng.link import Link
from faasd_py_nng.nng import Certificates, ConnectionLost
from faasd_py_nng.pending import Pending, error_of
from faasd_py_nng.settings import SpokeOptions
from faasd_py_nng.transfer import Transfer, is_large
from faasd_py_nng.wire import (
    Answer,
    Failed,
    Figures,
    Flush,
    Grant,
    Leave,
    Malformed,
    News,
    Put,
    Settle,
    Start,
    Taken,
    Welcome,
)

log: Final = logging.getLogger("faasd_py.nng.spoke")
SLOWEST: Final = 1 << 20
"""Bytes per second below which a large body is given up."""
RELEASE: Final = Verdict(move=Move.RELEASE)


class RemoteQueue(Inspection):
    """The spoke: puts and leases at the hub."""

    def __init__(
        self, options: SpokeOptions, identity: Identity, key: bytes | None, certificates: Certificates | None,
        directory: Path, max_result: int,
    ) -> None:  # fmt: skip
        self._options = options
        self._identity = identity
        self._max_result = max_result
        self._capabilities = identity.capabilities
        self._lanes = Lanes(list(options.lanes), options.prefetch)
        self._hub_stats = HubStats(self._lanes.taken)
        self._link = Link(options, identity, key, certificates, self)
        self._transfer = Transfer(self._link, directory / "bodies")
        self._lanes.link, self._lanes.transfer = self._link, self._transfer
        self._settling: dict[Entry, Change] = {}
        self._settlers = trio.lowlevel.ParkingLot()
        self._nursery: trio.Nursery | None = None
        self.next_lane = self._lanes.next_lane
        self.leave = self._lanes.leave
        self.wait_ready = self._lanes.wait_ready
        self.lease_nowait = self._lanes.lease_nowait

    def __repr__(self) -> str:
        return f"<RemoteQueue at {self._options.hub}: {'up' if self.is_up else self._link.why}>"

    # -- the link's

    @property
    def is_up(self) -> bool:
        """There is a session now."""
        return self._link.up.is_set()

    async def wait_up(self) -> None:
        """Until there is a session."""
        while not self.is_up:
            await self._link.up.wait()

    async def run(self) -> None:
        """Keep the link, until cancelled."""
        await trio.to_thread.run_sync(self._transfer.open)
        async with trio.open_nursery() as self._nursery:
            await self._lanes.run(self._link.run)

    async def close(self, patience: float) -> None:
        """Say what is to be said, as far as there is somebody to hear it."""
        with trio.move_on_after(patience):
            if self.is_up:
                await self._settled()
                with suppress(ConnectionLost, Malformed):
                    await self._link.ask(Leave)

    def holding(self) -> list[int]:
        """See Spoke."""
        return list(self._lanes.entries)

    def connected(self, welcome: Welcome) -> None:
        """See Spoke."""
        self._identity.learn(welcome.capabilities)
        self._capabilities = capabilities_of(welcome.capabilities)
        if not welcome.resumed:
            self._hub_stats.forget()
        self._hub_stats.update(welcome.figures)
        self._lanes.connected(welcome.lost, welcome.granted)

    def session_lost(self) -> None:
        """See Spoke."""
        self._lanes.lose_all()

    def heard(self, news: News) -> None:
        """See Spoke."""
        self._lanes.heard(news)

    def granted(self, grants: list[Grant]) -> None:
        """See Spoke."""
        self._lanes.granted(grants)

    def figures(self, figures: Figures | None) -> None:
        """See Spoke."""
        self._hub_stats.update(figures)

    # -- the life cycle

    @property
    def capabilities(self) -> Capabilities:
        """The hub's queue's, as it told last."""
        return self._capabilities

    def _check_up(self) -> None:
        if not self.is_up and trio.current_time() - self._link.down_since >= float(self._options.put_timeout):
            raise QueueUnavailable(f"the hub at {self._options.hub} is away: {self._link.why}")

    async def put(self, call: Call) -> Accepted:
        """See `Queue.put`."""
        await trio.lowlevel.checkpoint_if_cancelled()
        self._check_up()
        return await self.put_within(call, float(self._options.put_timeout) + call.size / SLOWEST)

    async def put_within(
        self, call: Call, patience: float, *, again: bool = False, ordered: bool = False
    ) -> Accepted:
        """Put; `again`: it may have been put before. What is raised as QueueUnavailable may have been put.

        Raises:
            QueueError, BadOption, IdempotencyConflict: as `Queue.put`.
        """
        limit = self._capabilities.max_body
        if limit is not None and call.size > limit + len(call.headers) + len(call.target):
            raise BadOption(f"the hub takes bodies of at most {limit} bytes")
        if is_large(call.body):
            answer = await self._put_large(call, patience, again=again, ordered=ordered)
        else:
            answer = await self._put(call, patience, again=again, ordered=ordered)
        if not isinstance(answer, Taken):
            raise error_of(answer)
        if isinstance(call.body, Spooled) and not answer.duplicate:
            self._transfer.remove(call.body.path)
        return Accepted(id=answer.id, call_id=answer.call_id, duplicate=answer.duplicate)

    async def _put(
        self, call: Call, patience: float, *, again: bool, ordered: bool, upload: int = 0, file: bool = False
    ) -> object:
        pending = self._link.submit(
            lambda number: Put(number, call, upload, file, again), call.size + 256, ordered=ordered, patience=patience
        )  # fmt: skip
        return await self._answer(pending)

    async def _put_large(self, call: Call, patience: float, *, again: bool, ordered: bool) -> object:
        """The body first; once more, when the hub has lost it meanwhile."""
        sent, file = msgspec.structs.replace(call, body=b""), isinstance(call.body, Spooled)
        with trio.move_on_after(patience):
            while True:
                upload = await self._transfer.upload(call.body)
                answer = await self._put(
                    sent, patience, again=again, ordered=ordered, upload=upload, file=file
                )
                if not isinstance(answer, Failed) or answer.kind != "upload":
                    return answer
        return None

    async def _answer(self, pending: Pending) -> object:
        """The answer; if nobody waits for it any more, it is withdrawn."""
        try:
            await pending.done.wait()
        except trio.Cancelled:
            self._link.withdraw(pending)
            raise
        return pending.answer

    async def start(self, lease: Lease) -> None:
        """See `Queue.start`."""
        await trio.lowlevel.checkpoint_if_cancelled()
        entry = _held(lease)
        if entry.phase is Phase.STARTED:
            raise IllegalMove("cannot start a call that is started already")
        if entry.lost:
            raise QueueUnavailable("the hub has given the call to others")
        entry.phase = Phase.STARTED
        patience = float(self._options.put_timeout)
        answer = await self._answer(
            self._link.submit(lambda number: Start(number, entry.number), patience=patience)
        )
        if isinstance(answer, Failed):
            entry.phase = Phase.HELD
            raise QueueUnavailable(answer.text)

    async def settle(
        self, lease: Lease, verdict: Verdict, outcome: Outcome | None = None, callback: Call | None = None
    ) -> None:
        """See `Queue.settle`."""
        entry = _held(lease)
        after(State.LEASED, verdict.move)
        entry.phase = Phase.OVER
        if entry.lost:
            log.warning(
                "call %s: the hub has given it to others, what became of it here is dropped", entry.id
            )
            self._lanes.over(entry)
            return
        self._settling[entry] = change = Change(entry.lane, verdict.move, entry.size)
        self._hub_stats.expect(change)
        outcome = self._bounded(outcome)
        if (outcome is not None and is_large(outcome.body)) or (
            callback is not None and is_large(callback.body)
        ):
            assert self._nursery is not None  # noqa: S101 - an open queue runs
            self._nursery.start_soon(self._settle_large, entry, verdict, outcome, callback)
        else:
            self._settle(entry, verdict, outcome, callback)
        await trio.lowlevel.checkpoint()

    def _bounded(self, outcome: Outcome | None) -> Outcome | None:
        """Without a body that is not kept in any case."""
        if outcome is None or (isinstance(outcome.body, bytes) and len(outcome.body) <= self._max_result):
            return outcome
        size = outcome.size or (outcome.body.size if isinstance(outcome.body, Spooled) else len(outcome.body))
        return msgspec.structs.replace(outcome, body=b"", complete=False, size=size)

    def _settle(
        self,
        entry: Entry,
        verdict: Verdict,
        outcome: Outcome | None,
        callback: Call | None,
        uploads: tuple[int, int] = (0, 0),
        file: str = "",
    ) -> None:
        """Tell the hub; `file` holds the callback's body, which is the hub's afterwards."""

        def confirmed(answer: Answer) -> None:
            if isinstance(answer, Failed):
                log.warning("call %s: the hub does not take its end: %s", entry.id, answer.text)
            self._confirmed(entry, file)

        self._link.submit(
            lambda number: Settle(
                number, entry.number, verdict.move, verdict.reason[:512], verdict.wait, outcome, uploads[0],
                callback, uploads[1], bool(file),
            ),
            512 + _size(outcome) + (0 if callback is None else callback.size),
            then=confirmed,
        )  # fmt: skip

    def _confirmed(self, entry: Entry, file: str) -> None:
        self._hub_stats.confirmed(self._settling.pop(entry))
        self._lanes.over(entry)
        if file:
            self._transfer.remove(file)
        if self._settlers:
            self._settlers.unpark_all()

    async def _settle_large(
        self, entry: Entry, verdict: Verdict, outcome: Outcome | None, callback: Call | None
    ) -> None:
        """In the queue's own task: what a worker has settled is settled, also when the worker is gone."""
        uploads, file = [0, 0], ""
        try:
            if outcome is not None and is_large(outcome.body):
                uploads[0] = await self._transfer.upload(outcome.body)
                outcome = msgspec.structs.replace(outcome, body=b"")
            if callback is not None and is_large(callback.body):
                file = callback.body.path if isinstance(callback.body, Spooled) else ""
                uploads[1] = await self._transfer.upload(callback.body)
                callback = msgspec.structs.replace(callback, body=b"")
        except QueueUnavailable as error:
            log.warning("call %s: its end cannot be told to the hub, it will run again: %s", entry.id, error)
            verdict, outcome, callback, uploads = RELEASE, None, None, [0, 0]
        self._settle(entry, verdict, outcome, callback, (uploads[0], uploads[1]), file)

    async def _settled(self) -> None:
        """Until everything settled so far is confirmed."""
        waiting = list(self._settling)
        while any(entry in self._settling for entry in waiting):
            await self._settlers.park()

    async def flush(self) -> None:
        """See `Queue.flush`.

        Raises:
            QueueUnavailable: the hub is away; what was settled is told to it when it is back.
        """
        with trio.move_on_after(float(self._options.ask_timeout)):
            await self._settled()
            answer = await self._answer(self._link.submit(Flush, slow=True))
            if isinstance(answer, Failed):
                raise error_of(answer)
            return
        raise QueueUnavailable(f"the hub at {self._options.hub} did not confirm in time")

    def stats(self) -> QueueStats:
        """See `Queue.stats`: as the hub told last, at most a quarter of a second ago."""
        return self._hub_stats.stats()

    def trouble(self) -> str | None:
        """See `Queue.trouble`."""
        if not self.is_up:
            return f"the hub at {self._options.hub} is away: {self._link.why}"
        return self._hub_stats.trouble


def _held(lease: Lease) -> Entry:
    entry = lease.token
    if not isinstance(entry, Entry) or entry.phase not in {Phase.HELD, Phase.STARTED}:
        raise IllegalMove("cannot settle or start a lease that is settled already")
    return entry


def _size(outcome: Outcome | None) -> int:
    if outcome is None or not isinstance(outcome.body, bytes):
        return 0
    return len(outcome.body) + len(outcome.headers)

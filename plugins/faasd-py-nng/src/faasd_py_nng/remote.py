"""The queue of another daemon, as if it were here: keeps `faasd_py.api.Queue` over a link."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec
import trio
from faasd_py.api import (
    Accepted,
    BadOption,
    Call,
    Capabilities,
    Filter,
    IllegalMove,
    Lease,
    Outcome,
    QueueStats,
    QueueUnavailable,
    Record,
    Spooled,
    State,
    Verdict,
    after,
)

from faasd_py_nng.basket import Entry, Phase
from faasd_py_nng.board import Board, Change
from faasd_py_nng.identity import Identity, capabilities_of
from faasd_py_nng.lanes import Lanes
from faasd_py_nng.link import Link
from faasd_py_nng.nng import Certificates, LineLost
from faasd_py_nng.pending import Pending, error_of
from faasd_py_nng.settings import SpokeOptions
from faasd_py_nng.transfer import Transfer, is_large
from faasd_py_nng.wire import Ask, Bye, Failed, Figures, Flush, Malformed, News, Put, Settle, Start, Taken, Value, Welcome

log: Final = logging.getLogger("faasd_py.nng.spoke")
SLOWEST: Final = 1 << 20
"""Bytes per second below which a large body is given up."""
T = TypeVar("T")


class RemoteQueue:
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
        self._board = Board(self._lanes.taken)
        self._link = Link(options, identity, key, certificates, self)
        self._transfer = Transfer(self._link, directory / "bodies")
        self._lanes.link, self._lanes.transfer = self._link, self._transfer
        self._settling: dict[Entry, trio.Event] = {}
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
                with suppress(LineLost, Malformed):
                    await self._link.ask(Bye)

    def holding(self) -> list[int]:
        """See Spoke."""
        return list(self._lanes.entries)

    def connected(self, welcome: Welcome) -> None:
        """See Spoke."""
        self._identity.learn(welcome.capabilities)
        self._capabilities = capabilities_of(welcome.capabilities)
        if not welcome.resumed:
            self._board.forget()
        self._board.told(welcome.figures)
        self._lanes.connected(welcome.lost)

    def session_lost(self) -> None:
        """See Spoke."""
        self._lanes.lose_all()

    def heard(self, news: News) -> None:
        """See Spoke."""
        self._lanes.heard(news)

    def figures(self, figures: Figures) -> None:
        """See Spoke."""
        self._board.told(figures)

    # -- the road

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

    async def put_within(self, call: Call, patience: float, *, again: bool = False, ordered: bool = False) -> Accepted:
        """Put; `again`: it may have been put before. What is raised as QueueUnavailable may have been put.

        Raises:
            QueueError, BadOption, IdempotencyConflict: as `Queue.put`.
        """
        limit = self._capabilities.max_body
        if limit is not None and call.size > limit + len(call.headers) + len(call.target):
            raise BadOption(f"the hub takes bodies of at most {limit} bytes")
        with trio.move_on_after(patience):
            answer = await self._put(call, again=again, ordered=ordered)
            accepted = Accepted(id=answer.id, call_id=answer.call_id, duplicate=answer.duplicate)
            if isinstance(call.body, Spooled) and not answer.duplicate:
                self._transfer.remove(call.body.path)
            return accepted
        raise QueueUnavailable(f"the hub at {self._options.hub} did not confirm in time")

    async def _put(self, call: Call, *, again: bool, ordered: bool) -> Taken:
        large = is_large(call.body)
        sent = msgspec.structs.replace(call, body=b"") if large else call
        file = isinstance(call.body, Spooled)
        while True:
            upload = await self._transfer.upload(call.body) if large else 0
            size = sent.size + 256
            pending = self._link.submit(
                lambda number: Put(number, sent, upload, file, again), size, ordered=ordered  # noqa: B023 - at once
            )  # fmt: skip
            answer = await self._answer(pending)
            if isinstance(answer, Taken):
                return answer
            if not isinstance(answer, Failed) or answer.kind != "upload":
                raise error_of(answer) if isinstance(answer, Failed) else QueueUnavailable("the hub answers oddly")

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
        answer: object = None
        with trio.move_on_after(float(self._options.put_timeout)):
            answer = await self._answer(self._link.submit(lambda number: Start(number, entry.number)))
        if answer is None or isinstance(answer, Failed):
            entry.phase = Phase.HELD
            raise QueueUnavailable(answer.text if isinstance(answer, Failed) else "the hub did not confirm in time")

    async def settle(
        self, lease: Lease, verdict: Verdict, outcome: Outcome | None = None, callback: Call | None = None
    ) -> None:
        """See `Queue.settle`."""
        entry = _held(lease)
        after(State.LEASED, verdict.move)
        entry.phase = Phase.OVER
        if entry.lost:
            log.warning("call %s: the hub has given it to others, what became of it here is dropped", entry.id)
            self._lanes.over(entry)
            return
        change = Change(entry.lane, verdict.move, entry.size)
        self._board.expect(change)
        self._settling[entry] = trio.Event()
        assert self._nursery is not None  # noqa: S101 - an open queue runs
        outcome = self._bounded(outcome)
        self._nursery.start_soon(self._settle, entry, change, verdict, outcome, callback)
        await trio.lowlevel.checkpoint()

    def _bounded(self, outcome: Outcome | None) -> Outcome | None:
        """Without a body that is not kept in any case."""
        if outcome is None or (isinstance(outcome.body, bytes) and len(outcome.body) <= self._max_result):
            return outcome
        size = outcome.size or (outcome.body.size if isinstance(outcome.body, Spooled) else len(outcome.body))
        return msgspec.structs.replace(outcome, body=b"", complete=False, size=size)

    async def _settle(
        self, entry: Entry, change: Change, verdict: Verdict, outcome: Outcome | None, callback: Call | None
    ) -> None:
        """In the queue's own task: what a worker has settled is settled, also when the worker is gone."""
        file: Spooled | None = None
        try:
            outcome_upload = callback_upload = 0
            if outcome is not None and is_large(outcome.body):
                outcome_upload = await self._transfer.upload(outcome.body)
                outcome = msgspec.structs.replace(outcome, body=b"")
            if callback is not None and is_large(callback.body):
                file = callback.body if isinstance(callback.body, Spooled) else None
                callback_upload = await self._transfer.upload(callback.body)
                callback = msgspec.structs.replace(callback, body=b"")
            pending = self._link.submit(
                lambda number: Settle(
                    number, entry.number, verdict.move, verdict.reason[:512], verdict.wait, outcome, outcome_upload,
                    callback, callback_upload, file is not None,
                ),
                256 + (0 if outcome is None else len(outcome.body) + len(outcome.headers)) + (callback.size if callback else 0),  # type: ignore[arg-type]
            )  # fmt: skip
            await pending.done.wait()
            if isinstance(pending.answer, Failed):
                log.warning("call %s: the hub does not take its end: %s", entry.id, pending.answer.text)
        except QueueUnavailable as error:
            log.error("call %s: its end cannot be told to the hub: %s", entry.id, error)
        finally:
            self._board.confirmed(change)
            self._lanes.over(entry)
            self._settling.pop(entry).set()
            if file is not None:
                self._transfer.remove(file.path)

    async def _settled(self) -> None:
        """Until everything settled so far is confirmed."""
        for event in list(self._settling.values()):
            await event.wait()

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

    # -- inspection

    async def _ask(self, kind: Any, what: str, **fields: Any) -> Any:
        self._check_up()
        with trio.move_on_after(float(self._options.ask_timeout)):
            await self._settled()
            pending = self._link.submit(lambda number: Ask(number, what, **fields), slow=True)
            answer = await self._answer(pending)
            if isinstance(answer, Failed):
                raise error_of(answer)
            if isinstance(answer, Value):
                return _decode(pending.document or answer.value, kind)
        raise QueueUnavailable(f"the hub at {self._options.hub} did not answer in time")

    async def _state(self, what: str, call: str) -> State | None:
        state: State | None = await self._ask(State | None, what, call=call[:512])
        return state

    async def cancel(self, call: str) -> State | None:
        """See `Queue.cancel`."""
        return await self._state("cancel", call)

    async def requeue(self, call: str) -> State | None:
        """See `Queue.requeue`."""
        return await self._state("requeue", call)

    async def forget(self, call: str) -> State | None:
        """See `Queue.forget`."""
        return await self._state("forget", call)

    async def find(self, call: str) -> Record | None:
        """See `Queue.find`."""
        found: Record | None = await self._ask(Record | None, "find", call=call[:512])
        return found

    async def records(self, which: Filter, limit: int = 100) -> Sequence[Record]:
        """See `Queue.records`."""
        found: list[Record] = await self._ask(list[Record], "records", **_which(which), limit=limit)
        return found

    async def request(self, call: str) -> Call | None:
        """See `Queue.request`; a large body's path is one on the hub's machine."""
        found: Call | None = await self._ask(Call | None, "request", call=call[:512])
        return found

    async def result(self, call: str) -> Outcome | None:
        """See `Queue.result`."""
        found: Outcome | None = await self._ask(Outcome | None, "result", call=call[:512])
        return found

    async def requeue_all(self, which: Filter, limit: int = 1000) -> int:
        """See `Queue.requeue_all`."""
        count: int = await self._ask(int, "requeue_all", **_which(which), limit=limit)
        return count

    async def purge(self, which: Filter, limit: int = 1000) -> int:
        """See `Queue.purge`."""
        count: int = await self._ask(int, "purge", **_which(which), limit=limit)
        return count

    def stats(self) -> QueueStats:
        """See `Queue.stats`: as the hub told last, at most a quarter of a second ago."""
        return self._board.stats()

    def trouble(self) -> str | None:
        """See `Queue.trouble`."""
        if not self.is_up:
            return f"the hub at {self._options.hub} is away: {self._link.why}"
        return self._board.trouble


def _held(lease: Lease) -> Entry:
    entry = lease.token
    if not isinstance(entry, Entry) or entry.phase not in {Phase.HELD, Phase.STARTED}:
        raise IllegalMove("cannot settle or start a lease that is settled already")
    return entry


def _which(which: Filter) -> dict[str, Any]:
    return {
        "lane": None if which.lane is None else which.lane[:512],
        "state": None if which.state is None else int(which.state),
        "before": None if which.before is None else which.before[:512],
    }


def _decode(data: bytes, kind: Any) -> Any:
    try:
        return msgspec.msgpack.decode(data, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise QueueUnavailable(f"the hub's answer makes no sense: {error}") from error

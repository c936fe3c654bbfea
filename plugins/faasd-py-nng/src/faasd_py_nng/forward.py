"""Store and forward: while the link is down calls are accepted into a durable queue here, and go to the hub when it is up.

    link up, nothing waits here   put goes to the hub, as in mode remote
    otherwise                     put goes into the local queue; the forwarder sends what waits, oldest first

Each forwarded call carries an idempotency key, so that it is put once however often a reply is lost.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final

import msgspec
import trio

from faasd_py.api import (
    Accepted,
    BadOption,
    Call,
    Capabilities,
    Filter,
    IdempotencyConflict,
    Lease,
    Move,
    Outcome,
    Queue,
    QueueError,
    QueueFull,
    QueueStats,
    QueueUnavailable,
    Record,
    State,
    Verdict,
)
from faasd_py_nng.envelope import LANE, keyed, pack, unpack
from faasd_py_nng.remote import RemoteQueue

log: Final = logging.getLogger("faasd_py.nng.spoke")
AT_ONCE: Final = 256
"""Calls of the local queue that are on their way to the hub."""
DONE: Final = Verdict(move=Move.DONE)
RELEASE: Final = Verdict(move=Move.RELEASE)
FORWARDED: Final = b"X-Hub-Id: "


class ForwardQueue:
    """A RemoteQueue with a queue in front of it for what cannot go there now."""

    def __init__(self, remote: RemoteQueue, local: Queue, spoke: bytes, put_timeout: float) -> None:
        self._remote = remote
        self._local = local
        self._spoke = spoke
        self._put_timeout = put_timeout
        self.next_lane = remote.next_lane
        self.leave = remote.leave
        self.wait_ready = remote.wait_ready
        self.lease_nowait = remote.lease_nowait
        self.start = remote.start
        self.settle = remote.settle
        self.requeue_all = remote.requeue_all

    def __repr__(self) -> str:
        return f"<ForwardQueue: {self._backlog()} wait for {self._remote!r}>"

    @property
    def capabilities(self) -> Capabilities:
        """The hub's queue's; a call that waits here is durable in any case, but not the less so at the hub."""
        return self._remote.capabilities

    def _backlog(self) -> int:
        lane = self._local.stats().lanes.get(LANE)
        return 0 if lane is None else lane.ready + lane.leased + lane.delayed

    # -- accepting

    async def put(self, call: Call) -> Accepted:
        """See `Queue.put`: at the hub, or here when it cannot be had or does not confirm in time."""
        await trio.lowlevel.checkpoint_if_cancelled()
        again = False
        if self._remote.is_up and not self._backlog():
            try:
                return await self._remote.put_within(call, self._put_timeout)
            except QueueFull:
                raise
            except QueueUnavailable as error:
                again = True
                log.warning("a call is kept here: %s", error)
        return await self._local.put(pack(call, again=again))

    async def forward(self) -> None:
        """Send what waits here, oldest first; until cancelled."""
        while True:
            await self._local.wait_ready(LANE)
            await self._remote.wait_up()
            leases: list[Lease] = []
            while len(leases) < AT_ONCE and (lease := self._local.lease_nowait(LANE)):
                leases.append(lease)
            if leases and not await self._send(leases):
                await trio.sleep(1.0)
            await trio.lowlevel.checkpoint()

    async def _send(self, leases: list[Lease]) -> bool:
        """Whether all were taken; those that were not are here again, in their order."""
        went = [False] * len(leases)

        async def one(place: int) -> None:
            went[place] = await self._send_one(leases[place])

        async with trio.open_nursery() as nursery:
            for place in range(len(leases)):
                nursery.start_soon(one, place)
                await trio.lowlevel.checkpoint()
        return all(went)

    async def _send_one(self, lease: Lease) -> bool:
        envelope = unpack(lease.call)
        call = keyed(envelope.call, self._spoke, lease.id)
        verdict, outcome = RELEASE, None
        try:
            accepted = await self._remote.put_within(
                call, self._put_timeout * 4, again=envelope.again, ordered=True
            )
            head = FORWARDED + accepted.id.encode("latin-1") + b"\r\n"
            verdict, outcome = DONE, Outcome(status=202, headers=head)
        except (IdempotencyConflict, BadOption) as error:
            log.warning("call %s is refused by the hub and buried here: %s", lease.id, error)
            verdict = Verdict(move=Move.BURY, reason="refused")
            outcome = Outcome(
                status=error.status, body=str(error).encode(), size=len(str(error).encode()), internal="queue"
            )
        except QueueError as error:
            log.warning("call %s waits on: %s", lease.id, error)
        finally:
            with trio.CancelScope(shield=True):
                await self._local.settle(lease, verdict, outcome)
        return verdict is not RELEASE

    # -- inspection

    async def _hub_id(self, call: str) -> str:
        """The hub's id of a call that was forwarded; of another, what was asked for."""
        outcome = await self._local.result(call)
        if outcome is None or not outcome.headers.startswith(FORWARDED):
            return call
        return outcome.headers[len(FORWARDED) :].strip().decode("latin-1")

    async def _here(self, call: str) -> Record | None:
        """The record, when the call waits here or was refused by the hub."""
        record = await self._local.find(call)
        return None if record is None or record.state is State.DONE else record

    async def find(self, call: str) -> Record | None:
        """See `Queue.find`: a call that was accepted here keeps the id that was told."""
        if (record := await self._here(call)) is not None:
            return await self._seen(record)
        record = await self._remote.find(await self._hub_id(call))
        local = await self._local.find(call)
        if record is None or local is None or local.id != call:
            return record
        return msgspec.structs.replace(record, id=call, call_id=local.call_id)

    async def _seen(self, record: Record) -> Record:
        """Under its own lane, not ours."""
        kept = await self._local.request(record.id)
        if kept is None:
            return record
        call = unpack(kept).call
        return msgspec.structs.replace(
            record, lane=call.lane, size=call.size, priority=call.priority, callback_url=call.callback_url,
            expires_at=call.expires_at, state=State.READY if record.state is State.LEASED else record.state,
        )  # fmt: skip

    async def cancel(self, call: str) -> State | None:
        """See `Queue.cancel`."""
        if await self._here(call) is not None:
            found = await self._local.cancel(call)
            if found is not State.DONE:
                return found
        return await self._remote.cancel(await self._hub_id(call))

    async def requeue(self, call: str) -> State | None:
        """See `Queue.requeue`: what the hub refused is sent once more."""
        if await self._here(call) is not None:
            return await self._local.requeue(call)
        return await self._remote.requeue(await self._hub_id(call))

    async def forget(self, call: str) -> State | None:
        """See `Queue.forget`."""
        if await self._here(call) is not None:
            return await self._local.forget(call)
        return await self._remote.forget(await self._hub_id(call))

    async def request(self, call: str) -> Call | None:
        """See `Queue.request`."""
        if await self._here(call) is not None:
            kept = await self._local.request(call)
            return None if kept is None else unpack(kept).call
        return await self._remote.request(await self._hub_id(call))

    async def result(self, call: str) -> Outcome | None:
        """See `Queue.result`."""
        if await self._here(call) is not None:
            return await self._local.result(call)
        return await self._remote.result(await self._hub_id(call))

    async def records(self, which: Filter, limit: int = 100) -> Sequence[Record]:
        """See `Queue.records`: the hub's; before them, on the first page, those that wait here."""
        here: list[Record] = []
        if which.before is None and self._backlog():
            for state in (State.READY, State.LEASED, State.DEAD):
                here += [
                    await self._seen(one) for one in await self._local.records(Filter(state=state), limit)
                ]
        here = [one for one in here if which.lane in {None, one.lane} and which.state in {None, one.state}]
        here.sort(key=lambda one: one.id, reverse=True)
        here = here[:limit]
        return here + list(await self._remote.records(which, limit - len(here)) if len(here) < limit else [])

    async def purge(self, which: Filter, limit: int = 1000) -> int:
        """See `Queue.purge`: the hub's; what waits here is cancelled one by one."""
        return await self._remote.purge(which, limit)

    async def flush(self) -> None:
        """See `Queue.flush`."""
        await self._local.flush()
        await self._remote.flush()

    def stats(self) -> QueueStats:
        """See `Queue.stats`: the hub's, and the lane `forward` for what waits here."""
        hub, here = self._remote.stats(), self._local.stats()
        lanes = dict(hub.lanes)
        if (lane := here.lanes.get(LANE)) and (lane.ready or lane.leased or lane.dead):
            lanes[LANE] = msgspec.structs.replace(lane, ready=lane.ready + lane.leased, leased=0)
        return msgspec.structs.replace(hub, lanes=lanes, bytes=hub.bytes + here.bytes)

    def trouble(self) -> str | None:
        """See `Queue.trouble`: calls are accepted while the hub is away."""
        return self._local.trouble() or (self._remote.trouble() if self._remote.is_up else None)

"""What the hub granted, by lane: given out to workers here, asked for in time, handed back when nobody wants it."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

import msgspec
import trio

from faasd_py.api import Lease, QueueUnavailable, Spooled
from faasd_py_nng.lane_buffer import Entry, LaneBuffer, Phase
from faasd_py_nng.link import Link
from faasd_py_nng.nng import ConnectionLost
from faasd_py_nng.settings import serves
from faasd_py_nng.transfer import Transfer
from faasd_py_nng.wire import Credit, Grant, News, Return

log: Final = logging.getLogger("faasd_py.nng.spoke")
TIDY: Final = 0.25
"""Seconds between two looks at what nobody wants."""
IDLE: Final = 0.5
"""Seconds after which calls that nobody takes go back to the hub."""


class Lanes:
    """The lanes that this spoke serves."""

    def __init__(self, patterns: list[str], prefetch: int) -> None:
        self._patterns = patterns
        self._prefetch = prefetch
        self._buffers: dict[str, LaneBuffer] = {}
        self._announced: dict[str, None] = {}
        self._seekers = trio.lowlevel.ParkingLot()
        self._recalled = 0
        self._recall = 0, 0
        self._granted = 0
        self._early: dict[int, Grant] = {}
        self._fetching: dict[str, list[tuple[Grant, Entry]]] = {}
        self._nursery: trio.Nursery | None = None
        self.entries: dict[int, Entry] = {}
        """Every lease that is ours, by the hub's number."""
        self.link: Link
        self.transfer: Transfer

    def taken(self, lane: str) -> int:
        """Leases of the lane that workers have."""
        lane_buffer = self._buffers.get(lane)
        return 0 if lane_buffer is None else lane_buffer.taken

    def _get(self, name: str) -> LaneBuffer:
        lane_buffer = self._buffers.get(name)
        if lane_buffer is None:
            lane_buffer = self._buffers[name] = LaneBuffer(name, self._prefetch)
            lane_buffer.ours = serves(self._patterns, name)
        return lane_buffer

    # -- workers

    async def next_lane(self) -> str:
        """See `Queue.next_lane`."""
        while True:
            while self._announced:
                name = next(iter(self._announced))
                del self._announced[name]
                lane_buffer = self._get(name)
                if not lane_buffer.served:
                    lane_buffer.served = True
                    return name
            await self._seekers.park()

    def leave(self, lane: str) -> None:
        """See `Queue.leave`."""
        lane_buffer = self._buffers.get(lane)
        if lane_buffer is None or not lane_buffer.served:
            return
        lane_buffer.served = False
        self._announced.pop(lane, None)
        self._hand_back([lane_buffer])
        lane_buffer.reset()
        self.link.submit(lambda number: Credit(number, lane, None))

    async def wait_ready(self, lane: str) -> None:
        """See `Queue.wait_ready`."""
        while not (lane_buffer := self._get(lane)).at_hand:
            lane_buffer.waiting += 1
            self.ask(lane_buffer)
            try:
                await lane_buffer.lot.park()
            finally:
                lane_buffer.waiting -= 1

    def lease_nowait(self, lane: str) -> Lease | None:
        """See `Queue.lease_nowait`."""
        lane_buffer = self._buffers.get(lane)
        entry = None if lane_buffer is None else lane_buffer.take()
        if entry is None or lane_buffer is None:
            return None
        self.ask(lane_buffer)
        if lane_buffer.at_hand and lane_buffer.lot:
            lane_buffer.lot.unpark()
        return Lease(
            key=entry.number,
            id=entry.id,
            call=entry.call,
            attempt=entry.attempt,
            crashed=entry.crashed,
            token=entry,
        )

    def ask(self, lane_buffer: LaneBuffer) -> None:
        """Tell the hub how many more may come, if it does not know."""
        if not lane_buffer.ours or not self.link.up.is_set():
            return
        total = lane_buffer.credit()
        if total is not None:
            self.link.submit(lambda number: Credit(number, lane_buffer.name, total))

    def over(self, entry: Entry) -> None:
        """The hub has confirmed the end of a lease, or has taken it away: nobody has it here."""
        if self.entries.pop(entry.number, None) is not None and entry.phase is not Phase.AT_HAND:
            self._get(entry.lane).taken -= 1
        if entry.path:
            self.transfer.remove(entry.path)
            entry.path = ""

    # -- the hub

    def heard(self, news: News) -> None:
        """Take what it grants, and give back what it wants."""
        self.granted(news.grants)
        for name in news.ready:
            if not self._get(name).served:
                self._announced[name] = None
                self._seekers.unpark()
        if news.recall > self._recalled:
            self._recall = news.recall, news.granted
            self._heed_recall()

    def _heed_recall(self) -> None:
        """As soon as everything that was granted before it is here."""
        number, granted = self._recall
        if number > self._recalled and self._granted >= granted:
            self._recalled = number
            self._hand_back(self._buffers.values(), recall=number)

    def granted(self, grants: list[Grant]) -> None:
        """More calls that are ours; in the order of their numbers, whichever message is read first."""
        for grant in grants:
            self._early[grant.lease] = grant
        while (next_one := self._early.pop(self._granted + 1, None)) is not None:
            self._granted += 1
            self._receive(next_one)
        self._heed_recall()

    def _receive(self, grant: Grant) -> None:
        call = grant.call
        entry = Entry(
            grant.lease, grant.id, call.lane, call, grant.attempt, grant.crashed, call.size + grant.size
        )  # fmt: skip
        self.entries[entry.number] = entry
        self._get(call.lane).received += 1
        fetching = self._fetching.get(call.lane)
        if fetching is not None:
            fetching.append((grant, entry))
        elif grant.size or grant.file:
            self._fetching[call.lane] = [(grant, entry)]
            assert self._nursery is not None  # noqa: S101 - `run` opened it before there was a link
            self._nursery.start_soon(self._fetch_all, call.lane)
        else:
            self._arrived(entry)

    def _arrived(self, entry: Entry) -> None:
        lane_buffer = self._get(entry.lane)
        lane_buffer.at_hand.append(entry)
        if lane_buffer.lot:
            lane_buffer.lot.unpark()

    async def _fetch_all(self, lane: str) -> None:
        """Bodies of one lane come one after the other, so that its calls stay in their order."""
        waiting = self._fetching[lane]
        while waiting:
            grant, entry = waiting.pop(0)
            if self.entries.get(entry.number) is entry and await self._fetch(grant, entry):
                self._arrived(entry)
        del self._fetching[lane]

    async def _fetch(self, grant: Grant, entry: Entry) -> bool:
        if not grant.size and not grant.file:
            return True
        try:
            body = await self.transfer.fetch(grant.lease, grant.size, file=grant.file)
        except (ConnectionLost, QueueUnavailable) as error:
            log.warning("the body of call %s does not come: %s", entry.id, error)
            if self.entries.pop(entry.number, None) is not None:
                self.link.submit(lambda number: Return(number, [entry.number]))
            return False
        entry.call = msgspec.structs.replace(entry.call, body=body)
        entry.path = body.path if isinstance(body, Spooled) else ""
        if self.entries.get(entry.number) is not entry:
            self.over(entry)
            return False
        return True

    def _hand_back(self, buffers: Iterable[LaneBuffer], recall: int = 0) -> None:
        """What no worker has is the hub's again."""
        names = {lane_buffer.name for lane_buffer in buffers}
        back = [
            entry for entry in self.entries.values() if entry.phase is Phase.AT_HAND and entry.lane in names
        ]
        for entry in back:
            self.over(entry)
        for name in names:
            self._get(name).at_hand.clear()
        if back or recall:
            numbers = [entry.number for entry in back]
            self.link.submit(lambda number: Return(number, numbers, recall))

    def connected(self, lost: list[int], granted: int) -> None:
        """A session begins or goes on: credit is counted anew, and what the hub gave away is not ours."""
        self._recalled = 0
        self._recall = 0, 0
        self._granted = granted
        self._early.clear()
        for number in lost:
            if (entry := self.entries.get(number)) and entry.phase is not Phase.OVER:
                self._lose(entry)
        for lane_buffer in self._buffers.values():
            lane_buffer.reset()
            self.ask(lane_buffer)

    def lose_all(self) -> None:
        """The hub has lost the session."""
        for entry in list(self.entries.values()):
            self._lose(entry)

    def _lose(self, entry: Entry) -> None:
        entry.lost = True
        if entry.phase is Phase.AT_HAND:
            lane_buffer = self._get(entry.lane)
            if entry in lane_buffer.at_hand:
                lane_buffer.at_hand.remove(entry)
            self.over(entry)
        else:
            self.entries.pop(entry.number, None)
            self._get(entry.lane).taken -= 1

    async def run(self, link: Callable[[], Awaitable[None]]) -> None:
        """Beside the link, until cancelled."""
        async with trio.open_nursery() as self._nursery:
            self._nursery.start_soon(link)
            while True:
                await trio.sleep(TIDY)
                self.link.give_up()
                self._tidy()

    def _tidy(self) -> None:
        """Calls that nobody takes are others' to run; credit that nobody needs is taken back."""
        for lane_buffer in list(self._buffers.values()):
            if lane_buffer.is_idle(IDLE):
                if (total := lane_buffer.revoke()) is not None and self.link.up.is_set():
                    self._revoke(lane_buffer.name, total)
                if lane_buffer.at_hand:
                    self._hand_back([lane_buffer])
                self._forget(lane_buffer)
            else:
                self.ask(lane_buffer)

    def _revoke(self, lane: str, total: int) -> None:
        self.link.submit(lambda number: Credit(number, lane, total))

    def _forget(self, lane_buffer: LaneBuffer) -> None:
        if not (
            lane_buffer.served
            or lane_buffer.taken
            or lane_buffer.received
            or lane_buffer.at_hand
            or lane_buffer.name in self._announced
        ):
            del self._buffers[lane_buffer.name]

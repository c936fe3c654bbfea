"""How many calls wait, and how much they weigh: what we hold, and what is under way to us through the channels."""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import Final

from faasd_py.api import QueueStats
from faasd_py_nats_streaming.entry import Entry
from faasd_py_nats_streaming.envelope import Envelope
from faasd_py_nats_streaming.journal import Journal
from faasd_py_nats_streaming.lanes import Lane, Lanes

log: Final = logging.getLogger("faasd_py_nats_streaming")


class Counters:
    """`depth` and `bytes` are of everything that waits or runs. Not `counting`: nothing will come back to us."""

    def __init__(self, journal: Journal, *, counting: bool) -> None:
        self.lanes = Lanes()
        self.depth = 0
        self.bytes = 0
        self._journal = journal
        self._counting = counting
        for name, (coming, late, size) in journal.figures.items() if counting else ():
            lane = self.lanes.get(name)
            lane.coming, lane.late, lane.coming_bytes = coming, late, size
            self.depth += coming + late
            self.bytes += size

    def sent(self, envelope: Envelope) -> None:
        """A call is on its way through a channel."""
        if self._counting:
            lane, size = self.lanes.get(envelope.call.lane), envelope.call.size
            if envelope.due is None:
                lane.coming += 1
            else:
                lane.late += 1
            lane.fresh += 1
            lane.coming_bytes += size
            self.depth += 1
            self.bytes += size

    def unsent(self, envelope: Envelope) -> None:
        """It is not."""
        lane = self.lanes.named.get(envelope.call.lane)
        if lane is not None and self._expected(lane, envelope):
            self.depth -= 1
            self.bytes -= self._arrived_bytes(lane, envelope.call.size)

    def came(self, envelope: Envelope, entry: Entry) -> None:
        """A call has come: one that was under way to us, or one of somebody else."""
        lane = entry.lane
        entry.late = envelope.due is not None
        if self._expected(lane, envelope):
            self.depth -= 1
            self.bytes -= self._arrived_bytes(lane, entry.size)
        self.resumed(entry)

    @staticmethod
    def _expected(lane: Lane, envelope: Envelope) -> bool:
        """Whether one was under way, which it is now no longer."""
        if envelope.due is None and lane.coming:
            lane.coming -= 1
        elif envelope.due is not None and lane.late:
            lane.late -= 1
        else:
            return False
        return True

    @staticmethod
    def _arrived_bytes(lane: Lane, size: int) -> int:
        """What this one added to the counters; the last one clears them."""
        weighed = min(size, lane.coming_bytes) if lane.outside else lane.coming_bytes
        lane.coming_bytes -= weighed
        return weighed

    def finished(self, entry: Entry) -> None:
        """A call that we held waits and runs no longer."""
        self._hold(entry, -1)

    def resumed(self, entry: Entry) -> None:
        """A call that we hold waits."""
        self._hold(entry, 1)

    def _hold(self, entry: Entry, count: int) -> None:
        lane, size = entry.lane, count * entry.size
        lane.held[entry.late] += count
        lane.held_bytes += size
        self.depth += count
        self.bytes += size

    def clear_outside(self) -> None:
        """What is under way longer than since the last time does not come: others have it, or the server dropped it."""
        for lane in self.lanes.named.values():
            excess = lane.outside - lane.fresh
            lane.fresh = 0
            if excess > 0:
                log.info("lane %s: %d calls went elsewhere", lane.name, excess)
                weight = lane.coming_bytes * excess // lane.outside
                late = min(lane.late, max(0, excess - lane.coming))
                lane.coming, lane.late = lane.coming - (excess - late), lane.late - late
                lane.coming_bytes -= weight
                self.depth -= excess
                self.bytes -= weight

    def keep_outside(self) -> None:
        """More may be under way than we are given: nothing is known to have gone elsewhere."""
        for lane in self.lanes.named.values():
            lane.fresh = 0

    def disown(self, identity: str) -> None:
        """Its caller was told that it was not kept: should it come, it does not run."""
        with suppress(OSError):
            self._journal.disown(identity)

    @property
    def delayed(self) -> int:
        """Calls that wait for their time."""
        return sum(lane.delayed + lane.late for lane in self.lanes.named.values())

    def figures(self) -> dict[str, list[int]]:
        """What would be under way to our next life: by lane, what comes, what comes late, and bytes."""
        return {
            name: [lane.coming + lane.held[0], lane.late + lane.held[1], lane.coming_bytes + lane.held_bytes]
            for name, lane in self.lanes.named.items()
            if lane.outside or any(lane.held)
        }

    def stats(self) -> QueueStats:
        """See `faasd_py.api.Queue`."""
        return QueueStats(
            lanes={name: lane.stats() for name, lane in self.lanes.named.items()}, bytes=max(0, self.bytes)
        )

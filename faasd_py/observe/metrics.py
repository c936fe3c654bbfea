"""The counters of the whole daemon. The rooms bump plain numbers; `page.render` makes lines of them when somebody asks for it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from typing import Any, Protocol

import msgspec

from faasd_py.core.annotations import DEFAULT_QUEUE
from faasd_py.observe.flow import Flow
from faasd_py.observe.leavers import Leavers
from faasd_py.observe.logbook.words import Figures
from faasd_py.observe.meter import Meter, Timings


class LaneFigures(Protocol):
    """What the queue knows of one lane (`queue.contract.LaneStats` is one)."""

    ready: int
    leased: int
    delayed: int
    dead: int
    oldest_at: float | None


class QueueFigures(Protocol):
    """What the queue knows of itself (`queue.contract.QueueStats` is one)."""

    @property
    def lanes(self) -> Mapping[str, LaneFigures]:
        """By lane."""
        ...

    @property
    def bytes(self) -> int:
        """What waits, leased included."""
        ...

    @property
    def quarantined(self) -> int:
        """Records that could not be read."""
        ...


class ServiceFigures(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one function besides its calls: replicas, and what its processes use.

    `least` are the replicas that there are always, `target` is the load that one is for.
    """

    wanted: int
    available: int
    least: int = 1
    target: float | None = None
    cpu_seconds: float | None = None
    memory_bytes: int | None = None


class Metrics:
    """Counters by what they count; labels are `NAME.NAMESPACE`. One thread writes; another may read."""

    def __init__(self) -> None:
        self.meters: dict[str, Meter] = {}
        self.requests: dict[tuple[str, str], Timings] = {}
        """By method and path, the path with its parameters in braces: what was asked of the gateway itself."""
        self.queues: dict[str, str] = {}
        """The named queues of functions that are not in the default one."""
        self.submitted_by: dict[str, int] = {DEFAULT_QUEUE: 0}
        self.processed_by: dict[str, int] = {DEFAULT_QUEUE: 0}
        self.attempts_by: dict[tuple[str, int], int] = {}
        self.dead_by: dict[tuple[str, str], int] = {}
        self.callbacks_by: dict[str, int] = {}
        self.refused_by: dict[str, int] = {}
        self.auth_failures_by = dict.fromkeys(("credentials", "scope", "cross-site", "host"), 0)
        self.scheduled_by: dict[tuple[str, str], int] = {}
        self.logs = Figures()
        """What was kept of the functions' lines: whoever opens the logbook sets it."""
        self.connections: Callable[[], int] = int
        """How many connections are open: whoever opens the door sets it."""
        self.paused: Callable[[], Mapping[str, float]] = dict
        """The lanes that are paused: whoever pauses them sets it."""
        self.flow = Flow(time.time())
        self._leavers = Leavers()
        self._left_queues = Leavers()

    def meter(self, label: str) -> Meter:
        """The meter of a function; the same one whenever it is asked for, also after a reload."""
        meter = self.meters.get(label)
        if meter is None:
            meter = self.meters[label] = Meter(label)
        return meter

    def request(self, method: str, path: str) -> Timings:
        """The timings of a route; the same ones whenever they are asked for."""
        timings = self.requests.get((method, path))
        if timings is None:
            timings = self.requests[method, path] = Timings()
        return timings

    def heed(self, queues: Mapping[str, str], now: float) -> None:
        """The functions that there are, each with its named queue; `now` is any clock's that does not go back.

        What was counted for a function that is gone is forgotten after a while.
        """
        self.queues = {label: queue for label, queue in queues.items() if queue != DEFAULT_QUEUE}
        by_label = (self.attempts_by, self.dead_by, self.scheduled_by)
        labels = {*self.meters, *(label for counts in by_label for label, _ in counts)}
        if gone := set(self._leavers.look(labels, queues.keys(), now)):
            for label in gone:
                self.meters.pop(label, None)
            for counts in by_label:
                _forget(counts, gone)
        here = {DEFAULT_QUEUE, *self.queues.values()}
        for queue in self._left_queues.look({*self.submitted_by, *self.processed_by}, here, now):
            self.submitted_by.pop(queue, None)
            self.processed_by.pop(queue, None)

    def attempts(self, label: str, status: int) -> None:
        """An attempt of an asynchronous call ended with this status."""
        key, queue = (label, status), self.queues.get(label, DEFAULT_QUEUE)
        self.attempts_by[key] = self.attempts_by.get(key, 0) + 1
        self.processed_by[queue] = self.processed_by.get(queue, 0) + 1

    def dead(self, label: str, reason: str) -> None:
        """A call became a dead letter."""
        key = (label, reason)
        self.dead_by[key] = self.dead_by.get(key, 0) + 1

    def callback(self, outcome: str) -> None:
        """An attempt to deliver a callback ended: `delivered`, `retry`, `dead`, or another word."""
        self.callbacks_by[outcome] = self.callbacks_by.get(outcome, 0) + 1

    def accepted(self, label: str) -> None:
        """A call was answered 202."""
        self.flow.put(label)
        queue = self.queues.get(label, DEFAULT_QUEUE)
        self.submitted_by[queue] = self.submitted_by.get(queue, 0) + 1

    def refused(self, reason: str) -> None:
        """A call was not taken into the queue; `reason` is the name of the error (`QueueFull`, `BadOption`, …)."""
        self.refused_by[reason] = self.refused_by.get(reason, 0) + 1

    def auth_failed(self, reason: str) -> None:
        """Somebody was not let in: wrong `credentials`, a token without the `scope`, a `cross-site` request, a strange `host`."""
        self.auth_failures_by[reason] += 1

    def scheduled(self, label: str, outcome: str) -> None:
        """A function came due by its schedule: `put`, `duplicate`, `refused` or `missed`."""
        key = (label, outcome)
        self.scheduled_by[key] = self.scheduled_by.get(key, 0) + 1


def _forget(counts: dict[tuple[str, Any], int], gone: AbstractSet[str]) -> None:
    for key in [key for key in counts if key[0] in gone]:
        del counts[key]

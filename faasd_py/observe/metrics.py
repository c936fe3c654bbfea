"""The counters of the whole daemon. The rooms bump plain numbers; `render` makes the page when somebody asks for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from faasd_py.observe.logbook.words import Figures
from faasd_py.observe.meter import Meter


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


class ReplicaFigures(Protocol):
    """How many there should be, and how many answer (`runtime.contract.Replicas` is one)."""

    @property
    def wanted(self) -> int:
        """Desired."""
        ...

    @property
    def available(self) -> int:
        """Ready."""
        ...


class Metrics:
    """Counters by what they count; labels are `NAME.NAMESPACE`. One thread writes; another may read."""

    def __init__(self) -> None:
        self.meters: dict[str, Meter] = {}
        self.attempts_by: dict[tuple[str, int], int] = {}
        self.dead_by: dict[tuple[str, str], int] = {}
        self.callbacks_by: dict[str, int] = {}
        self.accepted_by: dict[str, int] = {}
        self.refused_by: dict[str, int] = {}
        self.scheduled_by: dict[tuple[str, str], int] = {}
        self.logs = Figures()
        """What was kept of the functions' lines: whoever opens the logbook sets it."""
        self.connections: Callable[[], int] = int
        """How many connections are open: whoever opens the door sets it."""

    def meter(self, label: str) -> Meter:
        """The meter of a function; the same one whenever it is asked for, also after a reload."""
        meter = self.meters.get(label)
        if meter is None:
            meter = self.meters[label] = Meter(label)
        return meter

    def attempts(self, label: str, status: int) -> None:
        """An attempt of an asynchronous call ended with this status."""
        key = (label, status)
        self.attempts_by[key] = self.attempts_by.get(key, 0) + 1

    def dead(self, label: str, reason: str) -> None:
        """A call became a dead letter."""
        key = (label, reason)
        self.dead_by[key] = self.dead_by.get(key, 0) + 1

    def callback(self, outcome: str) -> None:
        """An attempt to deliver a callback ended: `delivered`, `retry`, `dead`, or another word."""
        self.callbacks_by[outcome] = self.callbacks_by.get(outcome, 0) + 1

    def accepted(self, label: str) -> None:
        """A call was answered 202."""
        self.accepted_by[label] = self.accepted_by.get(label, 0) + 1

    def refused(self, reason: str) -> None:
        """A call was not taken into the queue; `reason` is the name of the error (`QueueFull`, `BadOption`, …)."""
        self.refused_by[reason] = self.refused_by.get(reason, 0) + 1

    def scheduled(self, label: str, outcome: str) -> None:
        """A function came due by its schedule: `put`, `duplicate`, `refused` or `missed`."""
        key = (label, outcome)
        self.scheduled_by[key] = self.scheduled_by.get(key, 0) + 1

    def render(
        self,
        queue: QueueFigures | None = None,
        replicas: Mapping[str, ReplicaFigures] | None = None,
        *,
        now: float = 0.0,
    ) -> bytes:
        """The page in Prometheus' text format. `now` is the wall clock, for ages; replicas are by label."""
        from faasd_py.observe import page  # noqa: PLC0415  # prometheus_client is not on the way to the first call

        return page.render(self, queue, replicas or {}, now)

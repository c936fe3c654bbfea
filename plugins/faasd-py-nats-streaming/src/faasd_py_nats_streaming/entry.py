"""A call in our hands: delivered to us and not acknowledged. It is also the token of its lease."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

from faasd_py.api import Call, Lease

if TYPE_CHECKING:
    from faasd_py_nats_streaming.intake import Intake
    from faasd_py_nats_streaming.lanes import Lane


class Phase(IntEnum):
    """Where an entry stands."""

    WAITING = 1
    """In its lane, READY."""
    DELAYED = 2
    HELD = 3
    """Leased."""
    STARTED = 4
    CLOSING = 5
    """Settled; what follows from that is being published."""
    OVER = 6


class Entry:
    """`intake`, `sequence` and `timestamp` (ns) are where it stands at the broker; `rank` is its place in the lane."""

    __slots__ = (
        "attempts", "call", "crashed", "due", "hop", "id", "intake", "lane", "late", "lease", "mark", "phase", "rank", "sequence",
        "size", "spooled", "timestamp",
    )  # fmt: skip

    def __init__(
        self,
        identity: str,
        call: Call,
        lane: Lane,
        intake: Intake,
        sequence: int,
        timestamp: int,
        hop: int,
        spooled: bool,
    ) -> None:
        self.id = identity
        self.call = call
        self.lane = lane
        self.intake = intake
        self.sequence = sequence
        self.timestamp = timestamp
        self.hop = hop
        self.spooled = spooled
        self.size = call.size
        self.rank = timestamp
        self.attempts = 0
        self.crashed = False
        self.due: float | None = None
        self.phase = Phase.OVER
        self.lease: Lease | None = None
        self.mark = 0
        self.late = False
        """It came from the channel of what waits for its time."""

    def __repr__(self) -> str:
        return f"<Entry {self.id} {self.lane.name} {self.phase.name} {self.intake.name}#{self.sequence}>"

    def __lt__(self, other: Entry) -> bool:
        """Never asked for two of one place; a heap wants it."""
        return self.sequence < other.sequence

    @property
    def guid(self) -> str:
        """The publication that brought it."""
        return f"{self.id}.{self.hop}" if self.hop else self.id

    @property
    def key(self) -> tuple[str, int, int]:
        """Where it stands at the broker, in whatever life of the broker's store."""
        return self.intake.name, self.sequence, self.timestamp

"""What one channel has handed us and we have not acknowledged yet."""

from __future__ import annotations

from faasd_py_nats_streaming.channel import Channel
from faasd_py_nats_streaming.entry import Entry


class Intake:
    """`held` is by sequence, oldest first; `bytes` is all that ever came. Sequences that others have are gaps."""

    __slots__ = ("arrived_at", "bytes", "channel", "gaps", "held", "last", "name")

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.name = channel.subject
        self.held: dict[int, Entry] = {}
        self.last = 0
        self.bytes = 0
        self.gaps = 0
        self.arrived_at = 0.0

    def __repr__(self) -> str:
        return f"<Intake {self.name} held={len(self.held)} last={self.last}>"

    @property
    def saturated(self) -> bool:
        """The server gives us no more before we acknowledge some."""
        return len(self.held) >= self.channel.max_in_flight

    def note(self, sequence: int, size: int, *, redelivered: bool, now: float) -> int:
        """A message has come; how many between it and the last one were never seen. `now` is trio's."""
        self.arrived_at = now
        self.bytes += size
        missing = 0
        if sequence > self.last:
            if self.last and not redelivered:
                missing = sequence - self.last - 1
            self.last = sequence
        self.gaps += missing
        return missing

    def span(self) -> tuple[int, int]:
        """Messages and bytes in the channel since the oldest that we hold: what the server must not drop."""
        for entry in self.held.values():
            return self.last - entry.sequence + 1, self.bytes - entry.mark
        return 0, 0

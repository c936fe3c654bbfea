"""What one channel has handed us and we have not acknowledged yet."""

from __future__ import annotations

from typing import Final

from faasd_py_nats_streaming.channel import Channel
from faasd_py_nats_streaming.entry import Entry

MOST: Final = 100_000
"""Skipped at once, it is no gap but another life of the channel."""


class Intake:
    """`held` is by sequence, oldest first; `bytes` is all that ever came; `missing` is what was skipped, and when."""

    __slots__ = ("bytes", "channel", "held", "last", "missing", "name")

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.name = channel.subject
        self.held: dict[int, Entry] = {}
        self.last = 0
        self.bytes = 0
        self.missing: dict[int, float] = {}

    def __repr__(self) -> str:
        return f"<Intake {self.name} held={len(self.held)} last={self.last}>"

    @property
    def saturated(self) -> bool:
        """The server gives us no more before we acknowledge some."""
        return len(self.held) >= self.channel.max_in_flight

    def note(self, sequence: int, size: int, *, redelivered: bool, now: float) -> None:
        """A message has come; what was skipped may yet come. `now` is trio's."""
        self.bytes += size
        if sequence > self.last:
            if self.last and not redelivered and sequence - self.last <= MOST:
                self.missing.update(dict.fromkeys(range(self.last + 1, sequence), now))
            self.last = sequence
        elif self.missing:
            self.missing.pop(sequence, None)

    def lost(self, before: float) -> int:
        """How many were skipped before then and never came; each is told once."""
        lost = [sequence for sequence, since in self.missing.items() if since < before]
        for sequence in lost:
            del self.missing[sequence]
        return len(lost)

    def span(self) -> tuple[int, int]:
        """Messages and bytes in the channel since the oldest that we hold: what the server must not drop."""
        for entry in self.held.values():
            return self.last - entry.sequence + 1, self.bytes - entry.mark
        return 0, 0

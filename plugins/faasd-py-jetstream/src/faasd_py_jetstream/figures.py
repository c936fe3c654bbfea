"""What waits in the whole queue, counted as it happens and corrected by what the broker says."""

from __future__ import annotations

import msgspec
import trio


class Figures(msgspec.Struct, eq=False):
    """`depth` are waiting calls, leased included; `bytes` theirs. `moved_at`: when anything changed, by trio's clock."""

    depth: int = 0
    bytes: int = 0
    quarantined: int = 0
    moved_at: float = 0.0

    def add(self, size: int) -> None:
        """A call waits."""
        self.depth += 1
        self.bytes += size
        self.moved_at = trio.current_time()

    def take(self, size: int) -> None:
        """A call waits no longer."""
        self.depth = max(0, self.depth - 1)
        self.bytes = max(0, self.bytes - size) if self.depth else 0
        self.moved_at = trio.current_time()

    def moved(self) -> None:
        """Something changed its state."""
        self.moved_at = trio.current_time()

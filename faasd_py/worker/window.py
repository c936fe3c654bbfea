"""Pure. How many attempts a lane may run at once: additive increase, multiplicative decrease (semantics: "Concurrency").

A 429 halves the window, down to 1; each success adds a part, so that a window full of successes adds one, up to
the limit. Attempts that ran side by side and are all told 429 count as one: only those begun after the last decrease
can cause the next.
"""

from __future__ import annotations


class Window:
    """The lane's present size, between 1 and `limit`."""

    __slots__ = ("_size", "epoch", "limit", "size")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._size = float(limit)
        self.size = limit
        self.epoch = 0
        """Counts the decreases; an attempt remembers the one it began in."""

    def __repr__(self) -> str:
        return f"<Window {self.size} of {self.limit}>"

    def resize(self, limit: int) -> None:
        """The limit changed; a window that was wide open stays so."""
        if limit != self.limit:
            open_ = self._size >= self.limit
            self.limit = limit
            self._set(limit if open_ else min(self._size, limit))

    def widen(self) -> None:
        """An attempt succeeded."""
        if self._size < self.limit:
            self._set(min(self.limit, self._size + 1 / self._size))

    def narrow(self, epoch: int) -> None:
        """An attempt that began in `epoch` was told 429."""
        if epoch == self.epoch:
            self.epoch += 1
            self._set(max(1.0, self.size / 2))

    def _set(self, size: float) -> None:
        self._size = size
        self.size = int(size)

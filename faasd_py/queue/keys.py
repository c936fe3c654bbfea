"""The ids that one store gives: growing keys, and the same as text."""

from __future__ import annotations

from faasd_py.core.identity import from_text, next_key, to_text


class Keys:
    """`node` is the store's own number; `last` the greatest key it has given."""

    __slots__ = ("last", "node")

    def __init__(self, node: int, last: int = 0) -> None:
        self.node = node
        self.last = last

    def new(self, now: float) -> int:
        """The next key; `now` is in seconds since 1970."""
        self.last = key = next_key(self.last, int(now * 1000))
        return key

    def text(self, key: int) -> str:
        """The id of a key."""
        return to_text(key, self.node)

    def key(self, text: str) -> int | None:
        """The key of an id that this store gave, else None."""
        return from_text(text, self.node)

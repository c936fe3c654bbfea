"""The ids that one store gives: growing keys, and the same as text."""

from __future__ import annotations

from faasd_py.core.identity import from_text, next_key, to_text


class Keys:
    """`node` is the store's own number; `last` the greatest key it has given."""

    __slots__ = ("_tails", "last", "node")

    def __init__(self, node: int, last: int = 0) -> None:
        self.node = node
        self.last = last
        self._tails = tuple(to_text(counter, node)[18:] for counter in range(8))

    def new(self, now: float) -> int:
        """The next key; `now` is in seconds since 1970."""
        self.last = key = next_key(self.last, int(now * 1000))
        return key

    def text(self, key: int) -> str:
        """The id of a key: `identity.to_text`, put together from what is always the same for this node."""
        return f"{key >> 31:08x}-{key >> 15 & 0xFFFF:04x}-7{key >> 3 & 0xFFF:03x}{self._tails[key & 7]}"

    def key(self, text: str) -> int | None:
        """The key of an id that this store gave, else None."""
        return from_text(text, self.node)

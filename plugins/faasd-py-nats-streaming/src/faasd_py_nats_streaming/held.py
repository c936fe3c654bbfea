"""The calls in our hands by their ids, so that one that was published twice runs once."""

from __future__ import annotations

from typing import Final

from faasd_py_nats_streaming.entry import Entry, Phase

PAST: Final = 16_384
"""Publications that are known again after their calls are over."""


class Held:
    """The latest publication of each call that we hold, and those that we held lately."""

    def __init__(self) -> None:
        self._calls: dict[str, Entry] = {}
        self._past: dict[str, None] = {}

    def __len__(self) -> int:
        return len(self._calls)

    def knows(self, identity: str, hop: int, guid: str) -> bool:
        """We hold this publication or a later one of the call, or held it lately."""
        here = self._calls.get(identity)
        return (here is not None and here.hop >= hop) or guid in self._past

    def older(self, identity: str) -> Entry | None:
        """What we hold of a call that was published anew by a life that died before it could acknowledge this one."""
        here = self._calls.get(identity)
        return here if here is not None and here.phase in {Phase.WAITING, Phase.DELAYED} else None

    def add(self, entry: Entry) -> None:
        """We hold it."""
        self._calls[entry.id] = entry

    def remove(self, entry: Entry) -> None:
        """We do not hold it any longer."""
        if self._calls.get(entry.id) is entry:
            del self._calls[entry.id]
        self._past[entry.guid] = None
        if len(self._past) > PAST:
            del self._past[next(iter(self._past))]

"""Pure. The slots of named queues: OpenFaaS' annotation `com.openfaas.queue` puts a function into one (wire contract §2.5).

A group that `[workers.groups]` gives a number has slots of its own, apart from the house's; all others share the house's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Generic, TypeVar

from faasd_py.worker.slots import Slots

W = TypeVar("W")


class Pools(Generic[W]):
    """`limit` slots for the house, and those of `groups` by their names."""

    def __init__(self, limit: int, groups: Mapping[str, int]) -> None:
        self._house: Slots[W] = Slots(limit)
        self._groups: dict[str, Slots[W]] = {name: Slots(own) for name, own in groups.items()}

    def __repr__(self) -> str:
        return f"<Pools {self._house!r} {self._groups!r}>"

    def of(self, group: str) -> Slots[W]:
        """Where the lanes of a group find their slots."""
        return self._groups.get(group, self._house)

    def resize(self, limit: int, groups: Mapping[str, int]) -> list[tuple[Slots[W], list[W]]]:
        """Other numbers; those who have a slot now, to be woken, by their slots.

        A group that has a number no longer lives on until its holders have given back; its lanes are to be moved.
        """
        woken = [(self._house, self._house.resize(limit))]
        for name, own in groups.items():
            slots = self._groups.get(name)
            if slots is None:
                self._groups[name] = Slots(own)
            else:
                woken.append((slots, slots.resize(own)))
        for name in self._groups.keys() - groups.keys():
            del self._groups[name]
        return woken

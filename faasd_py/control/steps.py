"""Work in steps, so that no call waits for the whole of it: trio runs one step of every other task in between."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from itertools import islice
from typing import TypeVar

import trio

_Item = TypeVar("_Item")


async def in_steps(items: Iterable[_Item], size: int) -> AsyncIterator[list[_Item]]:
    """The items, so many at a time; between two of these lists the loop is given up for a moment."""
    left = iter(items)
    while some := list(islice(left, size)):
        yield some
        await trio.lowlevel.checkpoint()

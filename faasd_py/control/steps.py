"""Work in steps, so that no call waits for the whole of it: trio runs one step of every other task in between."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from itertools import islice
from typing import TypeVar

import msgspec
import trio

_Item = TypeVar("_Item")


async def in_steps(items: Iterable[_Item], size: int) -> AsyncIterator[list[_Item]]:
    """The items, so many at a time; between two of these lists the loop is given up for a moment."""
    left = iter(items)
    while some := list(islice(left, size)):
        yield some
        await trio.lowlevel.checkpoint()


async def encoded(items: Iterable[object], size: int) -> bytes:
    """The items as a JSON array, so many at a time."""
    pieces = [msgspec.json.encode(some)[1:-1] async for some in in_steps(items, size)]
    return b"[%b]" % b",".join(pieces)

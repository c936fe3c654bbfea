"""A queue's file with very many calls in it, written in bulk from calls that the queue put itself; and a clock that hears the loop."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import apsw
import trio

from faasd_py.core.call import Call
from faasd_py.core.lifecycle import State
from faasd_py.hookspecs import QueueSite
from faasd_py.queue.sqlite import open_queue

BIG = "big.openfaas-fn"
SMALL = tuple(f"small-{number}.openfaas-fn" for number in range(20))
"""Lanes with one call in two hundred together: what is rare must not be looked for among the others."""
RARE = State.CANCELLED
"""One call in a thousand; the states of the others are mixed."""
_COPY = """
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)
INSERT INTO calls
SELECT key + i, lane, state, rank + i, due, attempts, flags, size, NULL, head, NULL,
    NULL, NULL, NULL, NULL, 0, NULL, NULL
FROM (
    SELECT i, CASE WHEN i % 199 = 7 THEN i / 199 % 20 + 1 ELSE 0 END AS number,
        CASE WHEN i % 1000 = 3 THEN 5 WHEN i / 7 % 10 < 5 THEN 3 WHEN i / 7 % 10 < 7 THEN 4 WHEN i / 7 % 10 < 8 THEN 2 ELSE 0 END AS state,
        CASE WHEN i / 7 % 10 = 7 THEN 4000000000000 ELSE NULL END AS due
    FROM n
) JOIN (SELECT key, rank, attempts, flags, size, head FROM calls ORDER BY key DESC LIMIT 1)
JOIN (SELECT id AS lane, row_number() OVER (ORDER BY name) - 1 AS row FROM lanes) ON row = number
"""
_FIGURES = """
UPDATE lanes SET
    ready = (SELECT count(*) FROM calls WHERE lane = id AND state = 0),
    delayed = (SELECT count(*) FROM calls WHERE lane = id AND state = 2),
    dead = (SELECT count(*) FROM calls WHERE lane = id AND state = 4),
    bytes = (SELECT ifnull(sum(size), 0) FROM calls WHERE lane = id AND state < 3)
"""


async def fill(site: QueueSite, count: int) -> Path:
    """At least `count` calls; where they are."""
    async with open_queue(site) as queue:
        for lane in (BIG, *SMALL):
            await queue.put(Call(lane=lane, target=b"/", body=b"x"))
    path = site.directory / "queue.sqlite"
    connection = apsw.Connection(str(path))
    connection.execute("PRAGMA cache_size = -200000")
    connection.execute("PRAGMA synchronous = OFF")
    with connection:
        connection.execute(_COPY, (count,))
        connection.execute(_FIGURES)
    connection.close()
    return path


@asynccontextmanager
async def ticking() -> AsyncIterator[list[float]]:
    """A task that ticks each millisecond; the seconds between its ticks."""
    gaps: list[float] = []

    async def tick() -> None:
        while True:
            begun = time.perf_counter()
            await trio.sleep(0.001)
            gaps.append(time.perf_counter() - begun)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(tick)
        yield gaps
        nursery.cancel_scope.cancel()

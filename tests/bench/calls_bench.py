"""What the calls API's questions and changes cost with very many calls on record: time, and the longest gap in the loop.

    python -m tests.bench.calls_bench [--calls 1000000]

Each line is one page, or one change, of a thousand calls. Both figures have what else the machine did in them.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import trio

from faasd_py.config import QueueSettings
from faasd_py.core.lifecycle import State
from faasd_py.hookspecs import QueueSite
from faasd_py.queue.contract import Filter
from faasd_py.queue.sqlite import open_queue
from faasd_py.queue.sqlite.queue import SqliteQueue
from tests.queue.many import BIG, fill, ticking

PAGE = 1000


def tasks(queue: SqliteQueue) -> Iterator[tuple[str, Callable[[], Awaitable[object]]]]:
    """What is asked, by what it is called."""
    for lane in (None, BIG):
        of = "" if lane is None else " of one function"
        for state in (None, *State):
            which = Filter(lane=lane, state=state)
            word = "all" if state is None else state.name.lower()
            yield f"list {word}{of}", lambda which=which: queue.records(which, PAGE)  # type: ignore[misc]
        done = Filter(lane=lane, state=State.DONE)
        yield f"requeue{of}", lambda lane=lane: queue.requeue_all(Filter(lane=lane), PAGE)  # type: ignore[misc]
        yield f"purge{of}", lambda done=done: queue.purge(done, PAGE)  # type: ignore[misc]


async def measure(calls: int, directory: Path) -> None:
    """The table."""
    (directory / "spool").mkdir()
    settings = QueueSettings(max_depth=2 * calls, max_bytes=1 << 40)
    site = QueueSite(settings=settings, directory=directory / "queue", spool=directory / "spool")
    await fill(site, calls)
    async with open_queue(site) as queue, ticking() as gaps:
        assert isinstance(queue, SqliteQueue)
        for name, task in tasks(queue):
            gaps.clear()
            begun = time.perf_counter()
            await task()
            took = time.perf_counter() - begun
            await trio.sleep(0.005)
            print(f"{name:<36} {took * 1e3:7.1f} ms, the loop stood still for {max(gaps) * 1e3:5.1f} ms")


def main() -> None:
    """Words to figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=1_000_000)
    with tempfile.TemporaryDirectory() as place:
        trio.run(measure, parser.parse_args().calls, Path(place))


if __name__ == "__main__":
    main()

"""What a line of a function costs, in CPU time of all threads.

    python -m tests.bench.logs_bench [--rounds 5] [--lines 50000]

Lines come in batches, no faster than they are written. Prints microseconds a line: nothing kept
and nothing echoed, kept, echoed into the daemon's own log, both; and what a reader costs. CPU time hardly moves when the
machine has other work.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

import msgspec
import trio

from faasd_py.config.settings import LogSettings, LogsSettings
from faasd_py.core.durations import Size
from faasd_py.observe import log
from faasd_py.observe.functionlog import FunctionLogger
from faasd_py.observe.logbook import Logbook, Wanted, open_logbook

LINE = "2026-11-24 10:00:00 INFO request 4711 took 12.3 ms, status 200, 1534 bytes"
BATCH = 1000
KINDS = {"neither": (False, False), "kept": (True, False), "echoed": (False, True), "both": (True, True)}


async def write(book: Logbook, lines: int) -> float:
    """Microseconds a line until the last one is on its way to the disk's cache."""
    function = FunctionLogger("bench.openfaas-fn", book)
    before = time.process_time()
    for number in range(lines):
        function.line(LINE, instance="4711", call_id="0199a2f4-7c1e-7d5e-b9a0-5f1c2d3e4f50")
        if number % BATCH == 0:
            await book.is_known(function.label)
    await book.is_known(function.label)
    return (time.process_time() - before) / lines * 1e6


async def read(book: Logbook) -> float:
    """Microseconds a line, of all there are."""
    before, count = time.process_time(), 0
    async for page in await book.pages("bench.openfaas-fn", Wanted(), follow=False):
        count += len(page)
    return (time.process_time() - before) / count * 1e6


async def measure(rounds: int, lines: int, directory: Path) -> None:
    """The table."""
    words = LogsSettings(per_function=Size(64 << 20), total=Size(128 << 20))
    found: dict[str, list[float]] = {kind: [] for kind in (*KINDS, "read")}
    async with open_logbook(directory, words) as book:
        for _ in range(rounds):
            for kind, (enabled, echo) in KINDS.items():
                book.reconfigure(msgspec.structs.replace(words, enabled=enabled, echo=echo))
                found[kind].append(await write(book, lines))
            found["read"].append(await read(book))
        lost = book.figures.overload + book.figures.disk
    for kind, figures in found.items():
        print(f"{kind:<8} {statistics.median(figures):6.2f} us a line")
    print(f"lost     {lost}")


def main() -> None:
    """Words to figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--lines", type=int, default=50_000)
    words = parser.parse_args()
    with Path(os.devnull).open("w") as nothing, tempfile.TemporaryDirectory() as place:
        log.setup(LogSettings(), nothing)
        trio.run(measure, words.rounds, words.lines, Path(place))


if __name__ == "__main__":
    main()

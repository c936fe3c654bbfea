"""`make bench`: every target of the project's, measured against what a stranger can install.

python -m tests.bench            some six minutes, writes tests/bench/RESULTS.md
python -m tests.bench --long     a quarter of an hour: more rounds, 5 million waiting; writes it too
python -m tests.bench --quick    about two minutes, prints only
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.bench import backends, backlog, control, life, proxy, report, stream
from tests.bench.place import HERE, Missing, Place, check_tools
from tests.bench.rounds import Rounds, say
from tests.bench.target import Row

RESULTS = HERE / "RESULTS.md"
Part = Callable[["Effort", Place], tuple[list[Row], Mapping[str, Rounds | str]]]


class Effort(NamedTuple):
    """How long is measured."""

    rounds: int
    seconds: float
    streams: int
    starts: int
    drained: int
    idle: float
    depths: tuple[int, ...]
    backlog_rounds: int
    backend_rounds: int


FULL = Effort(5, 2, 3, 5, 200_000, 10, (1_000_000,), 2, 3)
LONG = Effort(7, 2, 5, 7, 1_000_000, 15, (1_000_000, 5_000_000), 5, 3)
QUICK = Effort(3, 1, 3, 3, 50_000, 4, (100_000,), 2, 1)


def small(effort: Effort, place: Place) -> tuple[list[Row], dict[str, Rounds]]:
    rounds = proxy.measure(place, effort.rounds, effort.seconds)
    return proxy.rows(rounds), {"Small calls (128 bytes; forks 1 KiB)": rounds}


def large(effort: Effort, place: Place) -> tuple[list[Row], dict[str, Rounds]]:
    try:
        rounds = stream.measure(place, effort.streams)
    except Missing as missing:
        return stream.rows(missing), {}
    return stream.rows(rounds), {"Large bodies (rate in GB/s, CPU in µs a GB)": rounds}


def lives(effort: Effort, place: Place) -> tuple[list[Row], dict[str, Rounds]]:
    rounds = life.measure(place, effort.starts, effort.drained, effort.idle)
    return life.rows(rounds), {"Start, memory, idling (seconds, bytes, share of a core)": rounds}


def waiting(effort: Effort, place: Place) -> tuple[list[Row], dict[str, Rounds]]:
    found = backlog.measure(place, effort.depths, effort.backlog_rounds)
    return backlog.rows(found), {f"{depth:,} calls waiting": rounds for depth, rounds in found.items()}


def operators(effort: Effort, place: Place) -> tuple[list[Row], dict[str, Rounds]]:
    rounds = control.measure(place, effort.rounds, effort.seconds)
    return control.rows(rounds), {"Synchronous calls beside operators": rounds}


def queues(effort: Effort, place: Place) -> tuple[list[Row], dict[str, str]]:
    found = backends.measure(place, effort.backend_rounds, effort.seconds)
    return backends.rows(found), {"Queue backends": backends.page(found)}


PARTS: dict[str, Part] = {
    "small": small,
    "large": large,
    "life": lives,
    "backlog": waiting,
    "operators": operators,
    "backends": queues,
}


def main(words: Sequence[str]) -> int:
    """0: measured, whatever came out; 2: something must be installed first."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="two minutes, writes nothing")
    parser.add_argument("--long", action="store_true", help="a quarter of an hour")
    parser.add_argument("--only", choices=list(PARTS), action="append", help="only this part; writes nothing")
    given = parser.parse_args(words)
    try:
        check_tools()
        text = run(
            QUICK if given.quick else LONG if given.long else FULL,
            given.only or list(PARTS),
            " ".join(["make bench", *words]),
        )
    except Missing as missing:
        sys.stderr.write(f"{missing}\n")
        return 2
    sys.stdout.write(text)
    if not given.quick and not given.only:
        RESULTS.write_text(text)
        say(f"written: {RESULTS.relative_to(Path.cwd())}")
    return 0


def run(effort: Effort, parts: Sequence[str], command: str) -> str:
    """Measure these parts, one after the other; the page."""
    place = Place()
    _prepare(place)
    began = time.monotonic()
    rows: list[Row] = []
    tables: dict[str, Rounds | str] = {}
    for part in parts:
        found, more = PARTS[part](effort, place)
        rows += found
        tables |= more
    return report.render(rows, tables, command, time.monotonic() - began)


def _prepare(place: Place) -> None:
    """Build on all cores, then keep to the client's; whatever is started from here inherits that."""
    try:
        for program in ("revproxy", "execserver", "peer"):
            place.go_binary(program)
    except Missing as missing:
        say(str(missing))
    os.sched_setaffinity(0, {place.client_core})


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

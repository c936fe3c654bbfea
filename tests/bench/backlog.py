"""A daemon with a million calls waiting, beside one with none: start, accept, lease, memory."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence

from tests.bench import life, proxy, target, variants
from tests.bench.place import Place
from tests.bench.processes import Server
from tests.bench.rounds import Rounds, Sample, Series, say
from tests.bench.target import Row
from tests.bench.wrk import load

MB = 1 << 20
BLOCKED, FAST = "/async-function/blocked", "/async-function/fast"
ALLOWED = {1_000_000: 0.1, 5_000_000: 0.2}
"""Seconds that a start may take longer, by how many wait."""
Measured = dict[int, Rounds]


def measure(place: Place, depths: Sequence[int], count: int) -> Measured:
    """For each depth, ascending: fill up to it, then `count` rounds against an empty daemon."""
    found: Measured = {}
    with variants.upstream(place) as upstream, proxy.black_hole() as hole:
        full = _daemon(place, "backlog-full", upstream, hole)
        waiting = 0
        for depth in depths:
            waiting += _fill(full, depth - waiting)
            found[waiting] = _against_empty(place, upstream, hole, full, count)
            waiting += sum(map(int, found[waiting].series("full", "put").values))
    return found


def _daemon(place: Place, name: str, upstream: Server, hole: int) -> variants.Daemon:
    """`blocked` never ends its first call, `fast` runs whatever comes."""
    functions = {
        "blocked": {
            "url": f"http://127.0.0.1:{hole}",
            "exec_timeout": "0s",
            "read_timeout": "1d",
            "max_inflight": 1,
        },
        "fast": {"url": upstream.url, "max_inflight": 64},
    }
    return variants.Daemon(place, name, functions, workers={"max_inflight": 65, "grace": "0s"})


def _fill(daemon: variants.Daemon, wanted: int) -> int:
    """Put at least so many calls of `blocked`; how many it were."""
    done = 0
    with daemon.up() as server:
        while done < wanted:
            done += load(server.url + BLOCKED, connections=64, seconds=5).good
            say(f"waiting calls: {done:,} more of {wanted:,}")
    return done


def _against_empty(place: Place, upstream: Server, hole: int, full: variants.Daemon, count: int) -> Rounds:
    rounds = Rounds()
    for number in range(count):
        say(f"backlog: round {number + 1} of {count}")
        empty = _daemon(place, "backlog-empty", upstream, hole)
        rounds.add("empty", _sample(empty, upstream))
        rounds.add("full", _sample(full, upstream))
        shutil.rmtree(empty.directory)
    return rounds


def _sample(daemon: variants.Daemon, upstream: Server) -> Sample:
    """A start; calls accepted and run of another function; calls accepted behind those that wait."""
    took = life.start(daemon, "/function/fast")["first call"]
    with daemon.up() as server:
        whole = proxy.whole_slice(server, upstream, 1, FAST)()
        memory = server.memory()
        accept = load(server.url + BLOCKED, connections=proxy.MANY, seconds=1)
    return {"start": took, "run": whole["rate"], "accept": accept.rate, "bytes": memory, "put": accept.good}


def rows(found: Measured) -> list[Row]:
    return [row for waiting, rounds in found.items() for row in _rows(waiting, rounds)]


def _rows(waiting: int, rounds: Rounds) -> list[Row]:
    what = f"with {waiting:,} calls waiting"
    allowed = next((bound for depth, bound in sorted(ALLOWED.items()) if waiting <= depth * 1.5), 0.2)
    longer = _each(rounds, "start", lambda full, empty: full - empty)
    memory = _each(rounds, "bytes", lambda full, empty: (full - empty) / MB)
    return [
        target.at_most(f"{what}: start takes longer by", allowed, longer, "s"),
        target.at_least(f"{what}: accept, to an empty queue", 0.9, rounds.ratio("full", "empty", "accept")),
        target.at_least(
            f"{what}: accept, lease, run and settle of another function, to an empty queue",
            0.9,
            rounds.ratio("full", "empty", "run"),
        ),
        target.at_most(f"{what}: memory more by", 30, memory, "MB"),
    ]


def _each(rounds: Rounds, figure: str, combine: Callable[[float, float], float]) -> Series:
    pairs = zip(rounds.series("full", figure).values, rounds.series("empty", figure).values, strict=True)
    return Series([combine(full, empty) for full, empty in pairs])

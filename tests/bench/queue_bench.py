"""How fast the SQLite queue is: `python tests/bench/queue_bench.py [--full] [--seconds S] [--directory DIR]`.

puts       durable puts a second (each waited for), with 1, 32 and 256 producers
cycles     put → lease → start → settle, a worker for each producer
waiting    a store with many waiting calls: time to open, accept and lease rates beside an empty one, memory
"""

from __future__ import annotations

import argparse
import resource
import shutil
import tempfile
import time
from pathlib import Path

import trio

from faasd_py.config import QueueSettings
from faasd_py.core.call import Call
from faasd_py.core.outcome import DONE, Outcome
from faasd_py.hookspecs import QueueSite
from faasd_py.queue.contract import Queue
from faasd_py.queue.sqlite import open_queue

LANE = "bench.openfaas-fn"
HEAD = b"Content-Type: application/octet-stream\r\nUser-Agent: bench\r\nAccept: */*\r\n"
CALL = Call(lane=LANE, target=b"/", host=b"127.0.0.1:8080", headers=HEAD, body=b"x" * 128)
ANSWER = Outcome(status=200, headers=b"Content-Type: text/plain\r\n", body=b"y" * 64, size=64)
PRODUCERS = (1, 32, 256)


def site(directory: Path) -> QueueSite:
    """A site without limits that would get in the way."""
    settings = QueueSettings(max_depth=50_000_000, max_bytes=1 << 40)
    (directory / "spool").mkdir(parents=True, exist_ok=True)
    return QueueSite(settings=settings, directory=directory / "queue", spool=directory / "spool")


class Load:
    """Producers and workers on one queue, for a while; counts what they finish."""

    def __init__(self, queue: Queue, producers: int, *, work: bool) -> None:
        self.queue = queue
        self.producers = producers
        self.work = work
        self.puts = 0
        self.cycles = 0
        self.cpu = 0.0

    async def run(self, seconds: float) -> float:
        """Run; the seconds it really took."""
        began, cpu = time.perf_counter(), time.process_time()
        loop = time.thread_time()
        with trio.move_on_after(seconds):
            async with trio.open_nursery() as nursery:
                for _ in range(self.producers):
                    nursery.start_soon(self._cycle if self.work else self._produce)
        self.cpu = time.process_time() - cpu
        self.loop = time.thread_time() - loop
        return time.perf_counter() - began

    async def _produce(self) -> None:
        while True:
            await self.queue.put(CALL)
            self.puts += 1

    async def _cycle(self) -> None:
        """A client that waits for its 202, and a worker beside it."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._work)
            await self._produce()

    async def _work(self) -> None:
        queue = self.queue
        while True:
            await queue.wait_ready(LANE)
            lease = queue.lease_nowait(LANE)
            if lease is not None:
                await queue.start(lease)
                await queue.settle(lease, DONE, ANSWER)
                self.cycles += 1


def print_row(*cells: object) -> None:
    """One line of the table."""
    print("  ".join(f"{cell!s:>14}" for cell in cells), flush=True)


async def rates(directory: Path, seconds: float) -> None:
    """Puts and cycles with each number of producers."""
    print_row("what", "producers", "per second", "cpu us", "loop cpu us")
    for work in (False, True):
        for producers in PRODUCERS:
            shutil.rmtree(directory, ignore_errors=True)
            async with open_queue(site(directory)) as queue:
                load = Load(queue, producers, work=work)
                took = await load.run(seconds)
                count = load.cycles if work else load.puts
            figures = f"{count / took:.0f}", f"{load.cpu / count * 1e6:.1f}", f"{load.loop / count * 1e6:.1f}"
            print_row("cycles" if work else "puts", producers, *figures)


async def fill(queue: Queue, count: int) -> None:
    """Put many calls, as fast as it goes."""

    async def some(number: int) -> None:
        for _ in range(number):
            await queue.put(CALL)

    async with trio.open_nursery() as nursery:
        for _ in range(500):
            nursery.start_soon(some, count // 500)


async def waiting(directory: Path, count: int, seconds: float) -> None:
    """A store with so many waiting calls, beside an empty one."""
    shutil.rmtree(directory, ignore_errors=True)
    async with open_queue(site(directory)) as queue:
        began = time.perf_counter()
        await fill(queue, count)
        filled = time.perf_counter() - began
    began = time.perf_counter()
    async with open_queue(site(directory)) as queue:
        opened = time.perf_counter() - began
        if count:
            await queue.next_lane()
            await queue.wait_ready(LANE)
        first = time.perf_counter() - began
        load = Load(queue, 32, work=True)
        cycles_took = await load.run(seconds)
        puts = Load(queue, 32, work=False)
        puts_took = await puts.run(seconds)
    rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    size = sum(path.stat().st_size for path in (directory / "queue").iterdir() if path.is_file()) >> 20
    print_row(
        f"{count:,}", f"{filled:.1f} s", f"{opened * 1000:.1f} ms", f"{first * 1000:.1f} ms",
        f"{load.cycles / cycles_took:.0f}", f"{puts.puts / puts_took:.0f}", f"{rss} MB", f"{size} MB",
    )  # fmt: skip


async def main(options: argparse.Namespace) -> None:
    """Measure and print."""
    directory = Path(tempfile.mkdtemp(prefix="queue-bench-", dir=options.directory))
    try:
        await rates(directory, options.seconds)
        print()
        print_row("waiting", "filled in", "open", "first at hand", "cycles/s", "puts/s", "peak RSS", "file")
        for count in (0, 1_000_000, 5_000_000) if options.full else (0, 50_000):
            await waiting(directory, count, options.seconds)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true", help="one and five million waiting calls")
    parser.add_argument("--seconds", type=float, default=1.0, help="for each figure")
    parser.add_argument("--directory", default=None, help="where the store lies (a real disk)")
    trio.run(main, parser.parse_args())

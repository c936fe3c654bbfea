"""kill -9 of everything, under load: what was acknowledged runs, what was refused does not."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import trio

from faasd_py.api import Call, Move, QueueError, Verdict
from faasd_py_nats_streaming import upkeep

from .stan_ground import CALL, LANE, opened, take, until

DONE = Verdict(move=Move.DONE)
BOX = "callback:box:80"
DAEMON = """
import json, os, random, sys
import trio
from faasd_py.api import Call, Move, QueueError, Verdict
from faasd_py_nats_streaming import open_queue
sys.path.insert(0, sys.argv[1])
from stan_ground import site_of
from pathlib import Path

directory, options = Path(sys.argv[2]), json.loads(sys.argv[3])
books = os.open(directory / "books", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
LANE = "f.openfaas-fn"
DONE, RETRY = Verdict(move=Move.DONE), Verdict(move=Move.RETRY, wait=0.01, reason="status 500")

def note(word, name):
    os.write(books, f"{word} {name}\\n".encode())

async def produce(queue, life, number):
    for count in range(100_000):
        name = f"{life}-{number}-{count}"
        try:
            await queue.put(Call(lane=LANE, body=name.encode()))
        except QueueError:
            note("refused", name)
            await trio.sleep(0.01)
        else:
            note("accepted", name)

async def work(queue, lane):
    while True:
        await queue.wait_ready(lane)
        lease = queue.lease_nowait(lane)
        if lease is None:
            await trio.lowlevel.checkpoint()
            continue
        await queue.start(lease)
        note("ran" if lane == LANE else "told", lease.call.body.decode())
        wanted = lane == LANE and lease.call.body.endswith(b"7")
        callback = Call(lane="callback:box:80", body=lease.call.body) if wanted else None
        retry = lease.attempt == 1 and random.random() < 0.1
        await queue.settle(lease, RETRY if retry else DONE, None, None if retry else callback)

async def main():
    async with open_queue(site_of(directory, options)) as queue, trio.open_nursery() as nursery:
        print("ready", flush=True)
        for number in range(4):
            nursery.start_soon(produce, queue, sys.argv[4], number)
        for _ in range(4):
            nursery.start_soon(work, queue, LANE)
        nursery.start_soon(work, queue, "callback:box:80")

trio.run(main)
"""


class Books:
    """What a daemon wrote down, in all its lives."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "books"

    def read(self) -> dict[str, Counter[str]]:
        found = {"accepted": Counter(), "refused": Counter(), "ran": Counter(), "told": Counter()}
        for line in self.path.read_text().splitlines() if self.path.exists() else []:
            word, name = line.split(" ")
            found[word][name] += 1
        return found


def daemon(directory: Path, options: dict, life: str) -> subprocess.Popen:
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "log").open("ab") as log:
        process = subprocess.Popen(
            [
                sys.executable,
                "-c",
                DAEMON,
                str(Path(__file__).parent),
                str(directory),
                json.dumps(options),
                life,
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
        )
    assert process.stdout.readline() == b"ready\n", (directory / "log").read_text()
    return process


def end(process: subprocess.Popen) -> None:
    process.kill()
    process.wait(10)
    process.stdout.close()


async def drain(directory, options, books):
    """One last life that only works."""
    found = books.read()
    async with opened(directory, options) as queue, trio.open_nursery() as nursery:

        async def work(lane, word):
            while True:
                lease = await take(queue, lane, within=120)
                await queue.start(lease)
                name = lease.call.body.decode()
                found[word][name] += 1
                wanted = word == "ran" and name.endswith("7")
                callback = Call(lane=BOX, body=lease.call.body) if wanted else None
                await queue.settle(lease, DONE, None, callback)

        for _ in range(16):
            nursery.start_soon(work, "f.openfaas-fn", "ran")
            nursery.start_soon(work, BOX, "told")
        await until(lambda: set(found["accepted"]) <= set(found["ran"]), within=60)
        await until(
            lambda: {name for name in found["ran"] if name.endswith("7")} <= set(found["told"]), within=60
        )
        await until(lambda: queue._parts.counters.depth == 0, within=30)
        nursery.cancel_scope.cancel()
    return found


async def test_nothing_acknowledged_is_lost_whoever_dies(tmp_path, make_broker, capsys, monkeypatch):
    """The daemon, the STAN server and the nats-server are killed in turn, under load, again and again."""
    monkeypatch.setattr(upkeep, "QUIET", 1)
    dice = random.Random(5)
    broker = make_broker("--dup-timeout", "0.1")
    options = broker.options(ping_interval="200ms", reconnect_wait="50ms", put_timeout="1s", ack_wait="2s")
    directory, kills = tmp_path / "daemon", Counter()
    begun = time.monotonic()
    process = daemon(directory, options, "0")
    try:
        for number in range(1, 7):
            time.sleep(dice.uniform(0.2, 0.5))
            victim = ("daemon", "stan", "nats")[number % 3]
            kills[victim] += 1
            if victim == "daemon":
                end(process)
                process = daemon(directory, options, str(number))
            elif victim == "stan":
                broker.stan.restart()
            else:
                broker.nats.restart()
            assert process.poll() is None, (directory / "log").read_text()[-3000:]
    finally:
        end(process)
    killed = time.monotonic() - begun
    found = await drain(directory, options, Books(directory))
    accepted, refused, ran = found["accepted"], found["refused"], found["ran"]
    duplicates = sum(ran.values()) - len(ran)
    with capsys.disabled():
        print(
            f"\n{dict(kills)} kills in {killed:.0f} s: {len(accepted)} accepted, {len(refused)} refused, "
            f"{sum(ran.values())} runs of {len(ran)} calls, {duplicates} more than once (a tenth are retries), {len(found['told'])} told"
        )
    assert len(accepted) > 1000
    assert set(accepted) <= set(ran)
    assert not set(refused) & set(ran)
    assert "Traceback" not in (directory / "log").read_text()


async def test_ten_thousand_are_accepted_and_everything_dies_at_once(tmp_path, broker):
    """Power off for all three processes (not for the disk): every one of them runs, most of them once."""
    options = broker.options(ping_interval="200ms", reconnect_wait="50ms", max_in_flight=500)
    ids: list[str] = []
    async with opened(tmp_path / "a", options) as queue:

        async def produce():
            for _ in range(100):
                try:
                    ids.append((await queue.put(CALL)).id)
                except QueueError:
                    await trio.sleep(0.01)

        async with trio.open_nursery() as nursery:
            for _ in range(100):
                nursery.start_soon(produce)
        queue._parts.session.nats.publish = lambda *_, **__: None  # dead from here on
        broker.stop()
    assert len(ids) == 10_000
    broker.start()
    ran: Counter[str] = Counter()
    async with opened(tmp_path / "a", options) as queue, trio.open_nursery() as nursery:

        async def work():
            while True:
                lease = await take(queue, LANE, within=60)
                await queue.start(lease)
                ran[lease.id] += 1
                await queue.settle(lease, DONE)

        for _ in range(16):
            nursery.start_soon(work)
        await until(lambda: len(ran) == 10_000, within=60)
        nursery.cancel_scope.cancel()
    assert set(ran) == set(ids)
    assert sum(ran.values()) == 10_000

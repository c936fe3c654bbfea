"""Run by the tests as a process: `hub ROOT OPTIONS`, or `spoke ROOT OPTIONS PUTS WORKERS SECONDS`; options are JSON.

A hub says {"ready": 1}. A spoke puts PUTS calls a second at most, numbered, says {"put": N} for each that was
confirmed and {"ran": N} for each it ran; a line `stop` ends the putting, `stats` says its figures.
"""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path

import trio

from faasd_py.api import (
    Call,
    Move,
    Outcome,
    QueueError,
    QueueSettings,
    QueueSite,
    ServiceSite,
    Spool,
    Verdict,
    open_sqlite_queue,
)
from faasd_py_nng import open_queue, service

LANE = "crash.openfaas-fn"


def say(**what: object) -> None:
    print(json.dumps(what), flush=True)


async def hub(root: Path, options: dict) -> None:
    for name in ("spool", "service"):
        (root / name).mkdir(parents=True, exist_ok=True)
    site = QueueSite(settings=QueueSettings(), directory=root / "queue", spool=root / "spool")
    async with open_sqlite_queue(site) as queue, trio.open_nursery() as nursery:
        own = ServiceSite(
            options=options, queue=queue, spool=Spool(root / "spool"), directory=root / "service"
        )
        await nursery.start(lambda task_status: service.run(own, task_status=task_status))
        say(ready=1)


async def spoke(root: Path, options: dict, rate: int, workers: int, seconds: float) -> None:
    (root / "spool").mkdir(parents=True, exist_ok=True)
    settings = QueueSettings(options=options)
    stopped = trio.Event()
    async with open_queue(
        QueueSite(settings=settings, directory=root / "queue", spool=root / "spool")
    ) as queue:
        say(ready=1)
        async with trio.open_nursery() as nursery:
            for _ in range(workers):
                nursery.start_soon(work, queue, seconds)
            for number in range(8 if rate else 0):
                nursery.start_soon(produce, queue, number, rate / 8, stopped)
            nursery.start_soon(listen, queue, stopped)


async def listen(queue, stopped: trio.Event) -> None:
    async for line in trio.wrap_file(sys.stdin):
        if line.strip() == "stop":
            stopped.set()
        elif line.strip() == "stats":
            lanes = queue.stats().lanes
            say(
                stats={name: lane.ready + lane.leased for name, lane in lanes.items()},
                trouble=queue.trouble(),
            )


async def produce(queue, number: int, rate: float, stopped: trio.Event) -> None:
    while not stopped.is_set():
        number += 8
        body = b"%d" % number
        try:
            await queue.put(Call(lane=LANE, body=body, accepted_at=trio.current_time() + number))
        except QueueError:
            say(refused=number)
        else:
            say(put=number)
        await trio.sleep(1 / rate)


async def work(queue, seconds: float) -> None:
    while True:
        await queue.wait_ready(LANE)
        lease = queue.lease_nowait(LANE)
        if lease is None:
            await trio.lowlevel.checkpoint()
            continue
        try:
            await queue.start(lease)
        except QueueError:
            await queue.settle(lease, Verdict(move=Move.RELEASE))
            continue
        say(ran=int(lease.call.body), attempt=lease.attempt, crashed=lease.crashed)
        await trio.sleep(seconds)
        await queue.settle(lease, Verdict(move=Move.DONE), Outcome(status=200))


if __name__ == "__main__":
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(name)s: %(message)s")
    words = sys.argv[2:]
    if sys.argv[1] == "hub":
        trio.run(hub, Path(words[0]), json.loads(words[1]))
    else:
        trio.run(spoke, Path(words[0]), json.loads(words[1]), int(words[2]), int(words[3]), float(words[4]))

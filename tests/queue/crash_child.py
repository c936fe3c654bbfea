"""Run by test_crash.py in a process of its own, to be killed: puts and works until then.

Prints, unbuffered, `put ID` when a put returned, `ran ID ATTEMPT` when an attempt was started, `end ID` when it was
settled. What was printed before the kill is what the world was told.
"""

from __future__ import annotations

import os
import random
import sys
from pathlib import Path

import trio

from faasd_py.config import QueueSettings
from faasd_py.core.call import Call
from faasd_py.core.lifecycle import Move
from faasd_py.core.outcome import DONE, Outcome, Verdict
from faasd_py.hookspecs import QueueSite
from faasd_py.queue.sqlite import open_queue

LANE = "f.x"


def tell(*words):
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


async def produce(queue):
    while True:
        accepted = await queue.put(Call(lane=LANE, body=os.urandom(random.choice((10, 500, 5000)))))
        tell("put", accepted.id)


async def work(queue):
    while True:
        await queue.wait_ready(LANE)
        lease = queue.lease_nowait(LANE)
        if lease is None:
            await trio.lowlevel.checkpoint()
            continue
        await queue.start(lease)
        tell("ran", lease.id, lease.attempt)
        if random.random() < 0.2:
            await queue.settle(lease, Verdict(move=Move.RETRY, wait=0.001), Outcome(status=500))
            continue
        await queue.settle(
            lease, DONE, Outcome(status=200, body=b"x"), Call(lane="callback:a", origin=lease.id)
        )
        if random.random() < 0.05:
            await queue.flush()
            tell("end", lease.id)


async def main(directory):
    site = QueueSite(settings=QueueSettings(), directory=directory / "queue", spool=directory / "spool")
    async with open_queue(site) as queue, trio.open_nursery() as nursery:
        tell("open")
        for _ in range(8):
            nursery.start_soon(produce, queue)
        for _ in range(4):
            nursery.start_soon(work, queue)


if __name__ == "__main__":
    trio.run(main, Path(sys.argv[1]))

"""kill -9 in the middle of everything: what was told stays true."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

import faasd_py
from faasd_py.core.lifecycle import State
from faasd_py.core.outcome import DONE
from faasd_py.queue.contract import Filter
from faasd_py.queue.sqlite import open_queue
from faasd_py.testing.queue_conformance.ground import stands, take

CHILD = Path(__file__).with_name("crash_child.py")
ROUNDS = 4


def run_and_kill(directory):
    """Run the child on the store, kill it at a random moment; the lines it printed."""
    environment = {**os.environ, "PYTHONPATH": str(Path(faasd_py.__file__).parents[1])}
    command = [sys.executable, CHILD, directory]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as child:
        assert child.stdout.readline() == b"open\n"
        time.sleep(random.uniform(0.05, 0.4))
        child.kill()
        lines = child.stdout.read().decode().split("\n")
    return [line.split() for line in lines[:-1]]


@pytest.mark.crash
async def test_nothing_that_was_told_is_lost(site, tmp_path):
    """After each kill: every put is on record; what was ended stays ended; started attempts count; books agree."""
    put, ended, ran, origins = set(), set(), {}, []
    (tmp_path / "spool").mkdir()
    for _ in range(ROUNDS):
        for kind, identity, *rest in run_and_kill(tmp_path):
            if kind == "put":
                put.add(identity)
            elif kind == "ran":
                ran[identity] = max(ran.get(identity, 0), int(rest[0]))
            else:
                ended.add(identity)
        async with open_queue(site()) as queue:
            for identity in put:
                record = await queue.find(identity)
                assert record is not None, "a call that was accepted is lost"
                assert record.state in {State.READY, State.DELAYED, State.DONE}
                assert record.attempts >= ran.get(identity, 0), "an attempt that began does not count"
            for identity in ended:
                assert (await stands(queue, identity)).state is State.DONE
    assert len(put) > 20
    async with open_queue(site()) as queue:
        waiting = queue.stats().lanes["f.x"]
        for _ in range(waiting.ready + waiting.delayed):
            lease = await take(queue, "f.x")
            assert lease.attempt > ran.get(lease.id, 0)
            await queue.start(lease)
            await queue.settle(lease, DONE)
        done = await queue.records(Filter(lane="f.x", state=State.DONE), limit=1_000_000)
        assert put <= {record.id for record in done}
        callbacks = queue.stats().lanes["callback:a"].ready
        for _ in range(callbacks):
            lease = await take(queue, "callback:a")
            origins.append(lease.call.origin)
            await queue.settle(lease, DONE)
        assert len(set(origins)) == len(origins), "a callback was put twice"
        assert ended <= set(origins), "an outcome was kept without its callback"
        await queue.flush()
        assert queue.stats().bytes == 0

"""JetStream keeps the contract of queues, on a real nats-server."""

from __future__ import annotations

from contextlib import asynccontextmanager

import msgspec
import pytest
import trio

from faasd_py.testing.queue_conformance import QueueConformance
from faasd_py_jetstream import open_queue


class TestJetStream(QueueConformance):
    """Each test has a namespace of its own."""

    @pytest.fixture(autouse=True)
    def place(self, tmp_path, broker):
        self.directory = tmp_path
        self.options = {"servers": [broker], "namespace": tmp_path.name[-64:], "ack_wait": "500ms"}
        self.open_now = []

    def site(self, **settings):
        return super().site(options=self.options, **settings)

    @asynccontextmanager
    async def open_queue(self, site):
        async with open_queue(site) as queue:
            self.open_now.append(queue)
            try:
                yield queue
            finally:
                self.open_now.remove(queue)

    @asynccontextmanager
    async def open_after_crash(self, site):
        """The open one is struck dumb: nothing it says gets out, so its calls are free when their time is over."""
        for queue in self.open_now:
            queue._context.client.publish = lambda *_, **__: None
            queue.close = trio.lowlevel.checkpoint
        copy = self.directory / "after-crash"
        later = msgspec.structs.replace(site, directory=copy / "queue", spool=copy / "spool")
        await trio.sleep(0.55)
        async with self.open_queue(later) as queue:
            await _looked_around(queue)
            yield queue


async def _looked_around(queue):
    """Until what the dead daemon held has been given to this one, and looked into."""
    with trio.fail_after(10):
        while True:
            await queue._watch.look_once()
            lanes = list(queue._lanes.named.values())
            if not any(lane.others or lane.coming for lane in lanes):
                return
            for lane in lanes:
                lane.starve(trio.current_time())
            await trio.sleep(0.1)

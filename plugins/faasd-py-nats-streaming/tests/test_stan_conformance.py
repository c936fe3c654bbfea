"""The contract of every queue, kept by this one as far as its capabilities go."""

from __future__ import annotations

from contextlib import asynccontextmanager

import msgspec
import pytest

from faasd_py.testing import QueueConformance
from faasd_py_nats_streaming import open_queue
from faasd_py_nats_streaming.proto import CloseRequest


class TestNative(QueueConformance):
    """Each test has a subject of its own on one broker."""

    @pytest.fixture(autouse=True)
    def place(self, tmp_path, shared_broker):
        self.directory = tmp_path
        self.options = shared_broker.options()
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
        """The server is told that the open one is gone, so that what it held comes to the next at once."""
        for queue in self.open_now:
            session = queue._parts.session
            data = CloseRequest(clientID=session._options.client_id).SerializeToString()
            await session.nats.request(session._prefixes.closeRequests, data, timeout=5)
        options = self.options | {"client_id": f"{self.options['client_id']}-next"}
        settings = msgspec.structs.replace(site.settings, options=options)
        async with super().open_after_crash(msgspec.structs.replace(site, settings=settings)) as queue:
            yield queue

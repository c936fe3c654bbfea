"""The contract, at a spoke: in mode remote with memory and sqlite behind the hub."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from faasd_py.testing.queue_conformance import QueueConformance
from faasd_py_nng import open_queue

from .conftest import EVERYTHING, address_of, open_hub, spoke_site


class Remote(QueueConformance):
    """A hub and a spoke in one process, over ipc."""

    backend: str
    mode = "remote"

    @pytest.fixture(autouse=True)
    def place(self):
        self.directory = Path(tempfile.mkdtemp(prefix="nng-"))
        yield
        shutil.rmtree(self.directory)

    @asynccontextmanager
    async def open_queue(self, site):
        async with open_hub(site, self.backend), self.spoke(site) as queue:
            yield queue

    def open_after_crash(self, site):
        """The next life of the spoke: the hub is still there."""
        return self.spoke(site)

    def spoke(self, site):
        options = {"hub": address_of(site.directory), "mode": self.mode, "lanes": EVERYTHING}
        return open_queue(spoke_site(site.directory / "spoke", site.spool, site.settings, **options))

    def files(self) -> int:
        """At the spoke and at the hub."""
        site = self.site()
        forward = site.directory / "spoke/forward/bodies"
        places = [
            site.spool,
            forward,
            site.directory / "spoke/bodies",
            site.directory / "hub/queue/bodies",
            site.directory / "hub/spool",
        ]
        return sum(1 for place in places if place.exists() for _ in place.iterdir())


class TestRemoteOverSqlite(Remote):
    backend = "sqlite"


class TestRemoteOverMemory(Remote):
    backend = "memory"


class TestStoreAndForward(Remote):
    backend = "sqlite"
    mode = "store-and-forward"

    def open_after_crash(self, site):
        """Its local queue is copied, as another process would find it."""
        forward = site.directory / "spoke/forward"
        shutil.copytree(site.directory / "spoke", site.directory / "after-crash")
        assert forward.exists()
        options = {"hub": address_of(site.directory), "mode": self.mode, "lanes": EVERYTHING}
        spool = site.spool.with_name("after-crash-spool")
        return open_queue(spoke_site(site.directory / "after-crash", spool, site.settings, **options))

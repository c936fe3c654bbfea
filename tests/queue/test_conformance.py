"""Both built-in backends keep the contract."""

from __future__ import annotations

import pytest

from faasd_py.queue import memory, sqlite
from faasd_py.testing.queue_conformance import QueueConformance


class TestSqlite(QueueConformance):
    """The default."""

    @pytest.fixture(autouse=True)
    def place(self, tmp_path):
        self.directory = tmp_path

    def open_queue(self, site):
        return sqlite.open_queue(site)


class TestMemory(QueueConformance):
    """For tests and throw-away installs."""

    @pytest.fixture(autouse=True)
    def place(self, tmp_path):
        self.directory = tmp_path

    def open_queue(self, site):
        return memory.open_queue(site)

"""Sites for queues, and the calls that go through them."""

from __future__ import annotations

import pytest

from faasd_py.config import QueueSettings
from faasd_py.hookspecs import QueueSite


@pytest.fixture
def site(tmp_path):
    """A site below the test's own directory; call it for other settings than the defaults."""

    def make(**settings):
        (tmp_path / "spool").mkdir(exist_ok=True)
        return QueueSite(
            settings=QueueSettings(**settings), directory=tmp_path / "queue", spool=tmp_path / "spool"
        )

    return make

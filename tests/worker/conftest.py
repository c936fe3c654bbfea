"""What the workers' tests are given."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from faasd_py.queue.spool import Spool
from tests.worker.fakes import Shop


@pytest.fixture
async def shop(nursery, tmp_path) -> Callable[..., Any]:
    """Opens workers that run until the test ends."""

    async def start(**settings: Any) -> Shop:
        made = Shop(spool=Spool(tmp_path), **settings)
        await nursery.start(made.workers.run)
        return made

    return start

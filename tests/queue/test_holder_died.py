"""A RELEASE because the holder died: the next lease says so, in memory, on record, and in the next life."""

from __future__ import annotations

import pytest

from faasd_py.config import QueueSettings
from faasd_py.core.call import Call
from faasd_py.core.outcome import CRASHED, RELEASE
from faasd_py.hookspecs import QueueSite
from faasd_py.queue.memory import open_queue as open_memory
from faasd_py.queue.sqlite import open_queue as open_sqlite
from faasd_py.testing.queue_conformance.ground import begin, take


@pytest.fixture
def site(tmp_path):
    (tmp_path / "spool").mkdir()
    return QueueSite(settings=QueueSettings(), directory=tmp_path / "queue", spool=tmp_path / "spool")


@pytest.mark.parametrize("opened", [open_memory, open_sqlite])
async def test_the_next_lease_says_that_the_attempt_was_interrupted(opened, site):
    """It counts, once, and a plain RELEASE after it clears the word."""
    async with opened(site) as queue:
        await queue.put(Call(lane="resize.openfaas-fn"))
        await queue.settle(await begin(queue), CRASHED)
        lease = await take(queue)
        assert (lease.attempt, lease.crashed) == (2, True)
        await queue.start(lease)
        await queue.settle(lease, RELEASE)
        lease = await take(queue)
        assert (lease.attempt, lease.crashed) == (3, False)


@pytest.mark.parametrize("opened", [open_memory, open_sqlite])
async def test_a_lease_that_was_not_started_was_not_interrupted(opened, site):
    """Its call had not begun."""
    async with opened(site) as queue:
        await queue.put(Call(lane="resize.openfaas-fn"))
        await queue.settle(await take(queue), CRASHED)
        lease = await take(queue)
        assert (lease.attempt, lease.crashed) == (1, False)


async def test_it_is_on_record(site):
    """The next life of the store says so, too."""
    async with open_sqlite(site) as queue:
        await queue.put(Call(lane="resize.openfaas-fn"))
        await queue.settle(await begin(queue), CRASHED)
        await queue.flush()
    async with open_sqlite(site) as queue:
        lease = await take(queue)
        assert (lease.attempt, lease.crashed) == (2, True)

"""Both queues come through the same door as any plug-in."""

from __future__ import annotations

import pytest

from faasd_py.queue import memory, sqlite


@pytest.mark.parametrize(("module", "name", "durable"), [(sqlite, "sqlite", True), (memory, "memory", False)])
def test_a_queue_registers_its_factory_and_says_what_it_can(module, name, durable):
    """Name, factory, honest capabilities."""
    offered = []
    module.faasd_py_register_queues(register=lambda *offer: offered.append(offer))
    assert offered == [(name, module.open_queue, module.CAPABILITIES)]
    assert module.CAPABILITIES.durable is durable


@pytest.mark.parametrize("module", [sqlite, memory])
async def test_an_open_queue_says_the_same(site, module):
    """As its registration did."""
    async with module.open_queue(site()) as queue:
        assert queue.capabilities == module.CAPABILITIES
        assert queue.trouble() is None
        assert queue.stats().lanes == {}

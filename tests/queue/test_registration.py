"""Both queues come through the same door as any plug-in."""

from __future__ import annotations

import pytest

from faasd_py.core.errors import ConfigError
from faasd_py.queue import memory, sqlite


def registered(module):
    """What a module offers: name, factory, capabilities."""
    offers = []
    module.faasd_py_register_queues(register=lambda *offer: offers.append(offer))
    (offer,) = offers
    return offer


@pytest.mark.parametrize(("module", "name", "durable"), [(sqlite, "sqlite", True), (memory, "memory", False)])
def test_a_queue_registers_its_factory_and_says_what_it_can(module, name, durable):
    """Name, factory, honest capabilities."""
    offered, _, capabilities = registered(module)
    assert (offered, capabilities) == (name, module.CAPABILITIES)
    assert module.CAPABILITIES.durable is durable


@pytest.mark.parametrize("module", [sqlite, memory])
async def test_an_open_queue_says_the_same(site, module):
    """As its registration did."""
    async with module.open_queue(site()) as queue:
        assert queue.capabilities == module.CAPABILITIES
        assert queue.trouble() is None
        assert queue.stats().lanes == {}


@pytest.mark.parametrize("module", [sqlite, memory])
async def test_an_option_that_means_nothing_is_an_error(site, module):
    """It names the key; who opens the queue for a purpose of its own may have options of its own."""
    _, open_registered, _ = registered(module)
    turbo = site(options={"turbo": True})
    with pytest.raises(ConfigError, match=r"queue\.options\.turbo: the backend '\w+' has no such option"):
        async with open_registered(turbo):
            pass
    async with module.open_queue(turbo):
        pass

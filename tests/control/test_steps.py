"""Long answers are made in steps, and calls go on between them."""

from __future__ import annotations

import msgspec
import pytest
import trio

from faasd_py.control import calls, functions, metrics, queue
from faasd_py.control.steps import encoded, in_steps
from tests.control.conftest import Steps, function

MANY = 1000


async def test_so_many_at_a_time():
    """All of them, in their order, the last ones too; another task has its turns between the lists."""
    turns = 0

    async def others():
        nonlocal turns
        while True:
            turns += 1
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(others)
        found = [(turns, some) async for some in in_steps(range(10), 3)]
        nursery.cancel_scope.cancel()
    assert [some for _, some in found] == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9]]
    assert found[-1][0] >= len(found) - 2  # trio may begin with either of two tasks


@pytest.mark.parametrize("count", [0, 1, 3, 4, 100])
async def test_an_array_in_steps_is_the_same_array(count):
    """However it is cut."""
    items = [{"number": number, "text": "[]],"} for number in range(count)]
    assert await encoded(items, 3) == msgspec.json.encode(items)


@pytest.fixture
def busy(daemon):
    """Much to tell of."""
    many = [function(f"f{number}", daemon.metrics, command=["cat"]) for number in range(MANY)]
    daemon.registry.functions = lambda: many
    for number in range(MANY):
        daemon.queue.add(lane=f"f{number}.openfaas-fn")
        daemon.metrics.meter(f"f{number}.openfaas-fn").finish(200, 0.1)


@pytest.mark.parametrize(
    ("target", "steps"),
    [
        ("/system/functions", MANY / functions.AT_ONCE),
        (f"/system/calls?limit={MANY}", MANY / calls.AT_ONCE),
        ("/system/queue", MANY / queue.AT_ONCE),
        ("/metrics", MANY / metrics.FUNCTIONS + 20 * MANY / metrics.LINES),
    ],
)
@pytest.mark.usefixtures("busy")
async def test_long_answers_are_made_in_steps(ask, target, steps):
    """However many functions and calls there are: so many at a time."""
    seen = Steps()
    trio.lowlevel.add_instrument(seen)
    answer = await ask("GET", target)
    trio.lowlevel.remove_instrument(seen)
    assert answer.status == 200
    assert answer.body.count(b"f999.openfaas-fn") + answer.body.count(b'"f999"')
    assert seen.count >= steps

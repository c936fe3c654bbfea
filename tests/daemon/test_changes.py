"""Everybody who keeps books on functions is told of changes, at once and not too often."""

from types import SimpleNamespace

import trio
from trio.testing import wait_all_tasks_blocked

from faasd_py.config import FunctionSettings, RateSettings
from faasd_py.daemon.changes import NOW_AND_THEN, follow
from faasd_py.gateway.admission import Rates
from faasd_py.observe.metrics import Metrics


class Functions:
    """A registry whose functions are set."""

    def __init__(self):
        self.changed, self.known, self.asked = trio.Event(), [], 0

    def functions(self):
        self.asked += 1
        return self.known

    def put(self, *labels, **annotations):
        settings = FunctionSettings(command=["x"], annotations=annotations)
        self.known = [SimpleNamespace(label=label, settings=settings) for label in labels]
        changed, self.changed = self.changed, trio.Event()
        changed.set()


async def test_changes_are_told_at_once(nursery, autojump_clock):
    """The metrics know the queues, rates of who is gone are forgotten, the others are called."""
    functions, metrics, rates, told = Functions(), Metrics(), Rates(), []
    nursery.start_soon(follow, functions, metrics, rates, lambda: told.append(len(functions.known)))
    await wait_all_tasks_blocked()
    assert told == [0]
    functions.put("a.ns", "b.ns", **{"com.openfaas.queue": "slow"})
    rates.wait("a.ns", RateSettings(calls=1), 0.0)
    rates.wait("gone.ns", RateSettings(calls=1), 0.0)
    await trio.sleep(1)
    assert told == [0, 2]
    assert metrics.queues == {"a.ns": "slow", "b.ns": "slow"}
    assert list(rates._buckets) == ["a.ns"]
    functions.put("a.ns")
    await trio.sleep(1)
    assert told == [0, 2, 1]
    assert metrics.queues == {}
    await trio.sleep(NOW_AND_THEN)
    assert told == [0, 2, 1, 1]


async def test_a_burst_of_changes_is_told_once_or_twice(nursery):
    """And the last one is not missed."""
    functions, told = Functions(), []
    nursery.start_soon(follow, functions, Metrics(), Rates(), lambda: told.append(len(functions.known)))
    await wait_all_tasks_blocked()
    for number in range(500):
        functions.put(*(f"f{n}.ns" for n in range(number + 1)))
    while told[-1] != 500:  # noqa: ASYNC110 - what is told is looked at
        await trio.sleep(0.01)
    assert functions.asked < 10


async def test_calls_go_on_between_those_who_are_told(nursery):
    """Each of them looks at all functions: they have not one step of the loop together."""
    functions, turns, told = Functions(), 0, []

    async def others():
        nonlocal turns
        while True:
            turns += 1
            await trio.lowlevel.checkpoint()

    listeners = [lambda: told.append(turns)] * 10
    nursery.start_soon(others)
    await trio.lowlevel.checkpoint()
    nursery.start_soon(follow, functions, Metrics(), Rates(), *listeners)
    with trio.fail_after(20):
        while len(told) < len(listeners):
            await trio.lowlevel.checkpoint()
    assert told[-1] - told[0] >= len(listeners) - 2

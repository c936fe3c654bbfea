"""Pages of very many calls: what is asked for is found by an index, whatever is asked for, and the loop goes on meanwhile."""

from __future__ import annotations

import itertools

import apsw
import pytest

from faasd_py.core.lifecycle import State
from faasd_py.queue.contract import Filter
from faasd_py.queue.sqlite import open_queue
from tests.queue.many import BIG, RARE, SMALL, fill, ticking

COUNT = 100_000
PAGE = 100
MOST_STEPS = 20_000
"""Of SQLite's machine for one page: a look at each call would be a million."""
MOST_GAP = 0.5
"""Seconds between two ticks of a task that sleeps a millisecond, on a machine that has other things to do, too."""


class Watched:
    """What a connection is asked, and the steps that SQLite's machine takes for it, to the hundred."""

    def __init__(self, connection: apsw.Connection) -> None:
        self.statements: set[str] = set()
        self.steps = 0
        connection.set_exec_trace(self._trace)
        connection.set_progress_handler(self._step, 100)

    def _trace(self, _cursor: object, statement: str, _values: object) -> bool:
        self.statements.add(statement)
        return True

    def _step(self) -> bool:
        self.steps += 100
        return False

    def took(self) -> int:
        """Since the last time."""
        steps, self.steps = self.steps, 0
        return steps


@pytest.fixture
async def many(site):
    """A queue with them; its reader's connection is open and watched, so is the writing one."""
    path = await fill(site(max_depth=10**7), COUNT)
    async with open_queue(site(max_depth=10**7)) as queue:
        await queue.records(Filter(), 1)
        queue.asked = Watched(queue._reader._opened)
        queue.changed = Watched(queue._committer._store.connection)
        queue.path = path
        yield queue


def plans(path, statements):
    """How SQLite goes about them; questions and changes only."""
    connection = apsw.Connection(str(path))
    for statement in statements:
        if statement.split()[0] in {"SELECT", "WITH", "UPDATE", "DELETE"}:
            blanks = (None,) * statement.count("?")
            for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}", blanks):
                yield statement, row[3]
    connection.close()


def assert_by_index(queue):
    """Nothing looks at all calls, nothing sorts."""
    for statement, step in plans(queue.path, queue.asked.statements | queue.changed.statements):
        assert not step.startswith("SCAN calls"), f"{step}: {statement}"
        assert "TEMP B-TREE" not in step, f"{step}: {statement}"


def expected(queue, lane, state, before, limit):
    """The same by looking at all of them."""
    connection = apsw.Connection(str(queue.path))
    key = queue._keys.key(before) if before else 1 << 62
    found = connection.execute(
        "SELECT key FROM calls WHERE (? IS NULL OR lane = ?) AND (? IS NULL OR state = ?) AND key < ?"
        " ORDER BY key DESC LIMIT ?",
        (*[None if lane is None else queue.number(lane)] * 2, state, state, key, limit),
    ).fetchall()
    connection.close()
    return [queue._keys.text(row[0]) for row in found]


async def test_every_page_is_read_by_an_index(many):
    """By state, by function, by both, by neither; the first page, one in the middle, and what there is beyond the last."""
    middle = expected(many, None, None, None, COUNT // 2)[-1]
    last = expected(many, None, None, None, COUNT)[-1]
    states = [state for state in State if state is not State.LEASED]
    for lane, state, before in itertools.product(
        (None, BIG, SMALL[7], "nobody.openfaas-fn"), (None, *states), (None, middle, last)
    ):
        many.asked.took()
        found = await many.records(Filter(lane=lane, state=state, before=before), PAGE)
        assert many.asked.took() < MOST_STEPS, (lane, state, before)
        ids = [record.id for record in found]
        assert ids == expected(many, lane, state, before, PAGE), (lane, state, before)
    assert_by_index(many)


async def test_all_pages_of_what_is_rare(many):
    """Each call once, in the order of the keys, a page at a time."""
    found, before = [], None
    while page := await many.records(Filter(state=RARE, before=before), 7):
        found += [record.id for record in page]
        before = page[-1].id
    assert found == expected(many, None, RARE, None, COUNT)


async def test_one_call(many):
    """By its id, and by the X-Call-Id that its caller gave: without a look at any other."""
    first = (await many.records(Filter(lane=SMALL[3]), 1000))[-1]
    many.asked.took()
    assert (await many.find(first.id)).id == first.id
    assert await many.request(first.id) is not None
    assert await many.result(first.id) is None
    assert await many.find("somebody-elses") is None
    assert many.asked.took() < MOST_STEPS
    assert_by_index(many)


async def test_changes_of_many(many):
    """Requeueing and purging take what they are to take, by index, and no more than that is looked at."""
    dead = expected(many, SMALL[7], State.DEAD, None, PAGE)
    assert await many.requeue_all(Filter(lane=SMALL[7]), PAGE) == len(dead) > 0
    assert await many.requeue_all(Filter(), 1000) == 1000
    middle = expected(many, BIG, State.DONE, None, COUNT // 10)[-1]
    gone = expected(many, BIG, State.DONE, middle, 1000)
    assert await many.purge(Filter(lane=BIG, state=State.DONE, before=middle), 1000) == 1000
    assert not set(gone) & set(expected(many, BIG, None, None, COUNT))
    assert await many.purge(Filter(state=RARE), 1000) == COUNT // 1000
    assert await many.purge(Filter(lane=SMALL[0]), 1000) > 0
    assert expected(many, SMALL[0], None, None, 1) == []
    assert_by_index(many)


async def test_the_loop_goes_on(many):
    """While the largest pages are read and the largest changes are made."""
    async with ticking() as gaps:
        for state in (None, State.READY, State.DEAD, RARE):
            await many.records(Filter(state=state), 1000)
            await many.records(Filter(lane=BIG, state=state), 1000)
        await many.requeue_all(Filter(), 1000)
        await many.purge(Filter(state=State.DONE), 1000)
    assert max(gaps) < MOST_GAP

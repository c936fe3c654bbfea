"""The scheduler with a clock that does as it is told, and a queue that refuses when it is told to."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from faasd_py.config import FunctionSettings
from faasd_py.core.errors import QueueFull, QueueUnavailable, TooManyRequests
from faasd_py.gateway.enqueue import UnknownFunction
from faasd_py.observe.metrics import Metrics
from faasd_py.queue.contract import Accepted, Capabilities
from faasd_py.schedule.record import Last, Record
from faasd_py.schedule.scheduler import CATCH_UP, HEADERS, LOOK, Scheduler

NOON = 1_800_014_400.0


class House:
    """A scheduler, its functions, and what was put."""

    def __init__(self, directory, *, dedup: bool = True, record: Record | None = None) -> None:
        self.offset = NOON - trio.current_time()
        self.put: list[tuple[str, int]] = []
        self.requests: list[Any] = []
        self.errors: list[BaseException] = []
        self.known: dict[str, Any] = {}
        self.keys: set[Any] = set()
        self.metrics = Metrics()
        self.record = record or Record(directory)
        self.scheduler = Scheduler(
            self,
            self.accept,
            Capabilities(durable=True, dedup=dedup),
            self.record,
            self.metrics,
            clock=self.now,
        )

    def now(self) -> float:
        return trio.current_time() + self.offset

    def functions(self) -> list[Any]:
        return list(self.known.values())

    def function(self, label: str, schedule: str | list[str], **more: Any) -> None:
        settings = FunctionSettings(command=["x"], schedule=schedule, **more)
        self.known[label] = SimpleNamespace(label=label, settings=settings)

    async def accept(self, name: bytes, request: Any) -> Accepted:
        await trio.lowlevel.checkpoint()
        if self.errors:
            raise self.errors.pop(0)
        key = request.fields.get(b"idempotency-key")
        duplicate = key is not None and (name, key) in self.keys
        self.keys.add((name, key))
        self.requests.append(request)
        if not duplicate:
            self.put.append((name.decode(), round(self.now() - NOON)))
        return Accepted(id="Q", call_id="Q", duplicate=duplicate)

    def count(self, outcome: str) -> int:
        return sum(n for (_, word), n in self.metrics.scheduled_by.items() if word == outcome)


@pytest.fixture
def clock() -> MockClock:
    return MockClock(autojump_threshold=0.02)


@pytest.fixture
async def house(clock, tmp_path, nursery) -> House:
    return House(tmp_path)


async def test_calls_are_put_as_the_connector_does(clock, house, nursery):
    """POST / with an empty body and the connector's two headers; the key is the slot."""
    house.function("f.ns", "*/5 * * * *")
    await nursery.start(house.scheduler.run)
    await trio.sleep(601)
    assert house.put == [("f.ns", 300), ("f.ns", 600)]
    request = house.requests[0]
    assert (request.target, request.body, request.headers) == (b"/", b"", HEADERS)
    assert request.headers == b"X-Topic: cron-function\r\nX-Connector: cron-connector\r\n"
    assert request.fields == {b"idempotency-key": b"cron-function %d" % (NOON + 300)}
    assert house.count("put") == 2
    assert house.scheduler.next_of("f.ns") == NOON + 900
    house.scheduler.stop()


async def test_without_schedules_nothing_is_looked_at(clock, house, nursery):
    """It sleeps until functions change."""
    house.function("plain.ns", [])
    await nursery.start(house.scheduler.run)
    await wait_all_tasks_blocked()
    assert house.scheduler.next_of("plain.ns") is None
    house.scheduler.stop()


async def test_annotations_do_as_well(clock, house, nursery):
    """OpenFaaS' two, and ours."""
    annotations = {"topic": "cron-function", "schedule": "@every 30s", CATCH_UP: "last"}
    house.function("f.ns", [], annotations=annotations)
    await nursery.start(house.scheduler.run)
    await trio.sleep(61)
    assert house.put == [("f.ns", 30), ("f.ns", 60)]
    assert house.record.last("f.ns") == NOON + 60
    house.scheduler.stop()


async def test_functions_come_change_and_go_at_once(clock, house, nursery):
    """From the moment of `refresh` on."""
    await nursery.start(house.scheduler.run)
    await trio.sleep(5)
    house.function("f.ns", "@every 10s")
    house.scheduler.refresh()
    await trio.sleep(16)
    assert house.put == [("f.ns", 10), ("f.ns", 20)]
    house.function("f.ns", "@every 8s")
    house.scheduler.refresh()
    await trio.sleep(4)
    assert house.put[2:] == [("f.ns", 24)]
    house.known.clear()
    house.scheduler.refresh()
    await trio.sleep(100)
    assert house.put[3:] == []
    house.scheduler.stop()


async def test_a_refusal_is_told_and_the_next_slot_goes_on(clock, house, nursery, caplog):
    """Queue full, queue in trouble, over the rate: each is one slot's."""
    house.function("f.ns", "@every 10s")
    house.errors = [
        QueueFull("the queue is full"),
        QueueUnavailable("the disk is full"),
        TooManyRequests("rate"),
    ]
    await nursery.start(house.scheduler.run)
    with caplog.at_level(logging.WARNING):
        await trio.sleep(41)
    assert house.put == [("f.ns", 40)]
    assert house.count("refused") == 3
    assert "function f.ns is not called for 2027-01-15T12:00:10Z: the queue is full" in caplog.text
    house.scheduler.stop()


async def test_one_refusal_does_not_hold_up_others(clock, house, nursery):
    """Functions are independent, also when hundreds come due at once; each gets its call."""
    for number in range(250):
        house.function(f"f{number}.ns", "@every 1m")
    house.errors = [QueueFull("full")]
    await nursery.start(house.scheduler.run)
    await trio.sleep(61)
    assert len(house.put) == len({label for label, _ in house.put}) == 249
    house.scheduler.stop()


async def test_a_function_that_went_is_let_go(clock, house, nursery, caplog):
    """Removed between its slot and the put: no error to anybody."""
    house.function("f.ns", "@every 10s")
    house.errors = [UnknownFunction(b"f.ns")]
    await nursery.start(house.scheduler.run)
    await trio.sleep(11)
    assert house.count("refused") == 0
    assert not caplog.records
    house.scheduler.stop()


async def test_the_clock_is_set_forward(clock, house, nursery, caplog):
    """Noticed within a few seconds: what lies in the gap is missed, and said so."""
    house.function("f.ns", "@every 10m")
    await nursery.start(house.scheduler.run)
    await trio.sleep(1)
    house.offset += 3 * 600 + 480
    with caplog.at_level(logging.WARNING):
        await trio.sleep(LOOK + 1)
    assert house.put == []
    assert house.count("missed") == 1
    assert "was not called when it was due" in caplog.text
    await trio.sleep(120)
    assert len(house.put) == 1
    house.scheduler.stop()


async def test_the_clock_is_set_back(clock, house, nursery):
    """No slot twice; and those that come next are met at their time."""
    house.function("f.ns", "@every 1m")
    await nursery.start(house.scheduler.run)
    await trio.sleep(121)
    assert house.put == [("f.ns", 60), ("f.ns", 120)]
    house.offset -= 90
    await trio.sleep(91)
    assert house.put == [("f.ns", 60), ("f.ns", 120)]
    await trio.sleep(60)
    assert house.put[2:] == [("f.ns", 180)]
    house.scheduler.stop()


async def test_a_restart_puts_no_slot_twice(clock, tmp_path, house, nursery):
    """Not even one that starts with a clock of before: the queue knows the key."""
    house.function("f.ns", "@every 1m")
    await nursery.start(house.scheduler.run)
    await trio.sleep(61)
    house.scheduler.stop()
    again = House(tmp_path)
    again.known, again.keys, again.put = house.known, house.keys, house.put
    again.offset = house.offset - 30
    await nursery.start(again.scheduler.run)
    await trio.sleep(31)
    assert again.put == [("f.ns", 60)]
    assert again.count("duplicate") == 1
    again.scheduler.stop()


async def test_a_queue_without_keys_has_the_slot_on_record_first(clock, tmp_path, nursery):
    """So neither a restart nor a clock that was set back puts it again."""
    house = House(tmp_path, dedup=False)
    house.function("f.ns", "@every 1m")
    seen = []
    accept = house.scheduler._accept

    async def looking(name, request):
        seen.append(Record(tmp_path).last("f.ns") - NOON)
        return await accept(name, request)

    house.scheduler._accept = looking
    await nursery.start(house.scheduler.run)
    await trio.sleep(61)
    assert seen == [60]
    assert house.requests[0].fields == {}
    house.scheduler.stop()
    again = House(tmp_path, dedup=False)
    again.known, again.offset = house.known, house.offset - 30
    await nursery.start(again.scheduler.run)
    await trio.sleep(32)
    assert again.put == []
    await trio.sleep(60)
    assert len(again.put) == 1
    again.scheduler.stop()


async def test_without_a_record_such_a_queue_gets_no_call(clock, tmp_path, nursery, caplog):
    """A broken disk: rather not called than called twice."""
    house = House(tmp_path, dedup=False, record=Record(tmp_path / "gone"))
    house.function("f.ns", "@every 1m")
    await nursery.start(house.scheduler.run)
    with caplog.at_level(logging.WARNING):
        await trio.sleep(61)
    assert house.put == []
    assert house.count("refused") == 1
    house.scheduler.stop()


async def test_down_over_a_slot(clock, tmp_path, nursery):
    """Not caught up, unless it is asked for: then the last one, at once."""
    house = House(tmp_path)
    house.function("none.ns", "@every 5m")
    house.function("last.ns", "@every 5m", catch_up="last")
    await nursery.start(house.scheduler.run)
    await trio.sleep(301)
    assert sorted(house.put) == [("last.ns", 300), ("none.ns", 300)]
    house.scheduler.stop()
    house.offset += 3 * 300 + 100
    again = House(tmp_path)
    again.known, again.keys, again.offset = house.known, house.keys, house.offset
    await nursery.start(again.scheduler.run)
    await trio.sleep(1)
    assert again.put == [("last.ns", 1301)]
    assert again.requests[0].fields == {b"idempotency-key": b"cron-function %d" % (NOON + 1200)}
    await trio.sleep(300)
    assert len(again.put) == 3
    again.scheduler.stop()


async def test_the_first_start_has_nothing_to_catch_up_with(clock, tmp_path, nursery):
    """But remembers when it was, so that the next one has."""
    house = House(tmp_path)
    house.function("f.ns", "@monthly", catch_up="last")
    await nursery.start(house.scheduler.run)
    await trio.sleep(1)
    house.scheduler.stop()
    assert house.put == []
    assert Record(tmp_path).last("f.ns") == NOON
    again = House(tmp_path)
    again.known, again.offset = house.known, house.offset + 20 * 86400
    await nursery.start(again.scheduler.run)
    await trio.sleep(1)
    assert len(again.put) == 1
    again.scheduler.stop()


async def test_another_schedule_has_nothing_to_catch_up_with(clock, tmp_path, nursery):
    """What was on record belongs to the old one."""
    record = Record(tmp_path)
    record.note("f.ns", Last(NOON - 86400, ("@daily",)))
    house = House(tmp_path, record=record)
    house.function("f.ns", "@hourly", catch_up="last")
    await nursery.start(house.scheduler.run)
    await trio.sleep(1)
    assert house.put == []
    house.scheduler.stop()


async def test_a_stop_leaves_the_rest(clock, house, nursery):
    """Whoever stops it is not kept waiting by a queue that does not answer."""
    house.function("f.ns", "@every 10s")

    async def never(name, request):
        await trio.sleep_forever()

    house.scheduler._accept = never
    async with trio.open_nursery() as rooms:
        await rooms.start(house.scheduler.run)
        await trio.sleep(11)
        house.scheduler.stop()


async def test_a_zone_that_went_is_no_reason_to_end(clock, house, nursery, caplog):
    """Settings are checked when they are read; what is wrong later is told, and others go on."""
    house.function("bad.ns", "CRON_TZ=No/Where @hourly")
    house.function("f.ns", "@every 10s")
    with caplog.at_level(logging.ERROR):
        await nursery.start(house.scheduler.run)
    await trio.sleep(11)
    assert house.put == [("f.ns", 10)]
    assert "function bad.ns is not called by the clock: schedule: expected a time zone" in caplog.text
    house.scheduler.stop()

"""What waits to be sent, who waits for an answer, and who has a mailbox."""

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from faasd_py_natsclient import Mailbox, Message
from faasd_py_natsclient.outbox import Outbox
from faasd_py_natsclient.waiters import Waiters


async def test_everything_put_meanwhile_is_taken_at_once():
    """One taker wakes once for all that was put in one turn of the loop."""
    outbox, taken = Outbox(100), []

    async def take():
        while True:
            taken.append(await outbox.take())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(take)
        await wait_all_tasks_blocked()
        outbox.put(b"a")
        outbox.put(b"b")
        outbox.put_bound(b"c")
        await wait_all_tasks_blocked()
        assert taken == [b"abc"]
        assert outbox.size == 0
        nursery.cancel_scope.cancel()


async def test_bound_parts_go_with_their_connection():
    """Messages stay in order, and what the next connection must hear first comes first."""
    outbox = Outbox(100)
    outbox.put_bound(b"SUB ")
    outbox.put(b"1 ")
    outbox.put_bound(b"PING ")
    outbox.put(b"2 ")
    outbox.drop_bound()
    assert outbox.size == 4
    outbox.begin(b"HELLO ")
    assert await outbox.take() == b"HELLO 1 2 "
    outbox.drop_bound()
    assert outbox.size == 0


async def test_room_is_waited_for():
    """Full is full, until somebody takes."""
    outbox, woken = Outbox(2), []

    async def wait():
        await outbox.wait_room()
        woken.append(outbox.full)

    outbox.put(b"abc")
    assert outbox.full
    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await wait_all_tasks_blocked()
        assert woken == []
        assert await outbox.take() == b"abc"
    assert woken == [False]


async def test_a_taker_that_is_cancelled_takes_nothing():
    """What is put afterwards is there for the next one."""
    outbox = Outbox(100)
    with trio.move_on_after(0):
        await outbox.take()
    outbox.put(b"a")
    assert await outbox.take() == b"a"


async def test_each_waiter_gets_its_own_answer():
    """By key; an answer for nobody is nobody's."""
    waiters, got = Waiters[str](), {}

    async def wait(key):
        got[key] = await waiters.wait(key)

    async with trio.open_nursery() as nursery:
        for key in "abc":
            nursery.start_soon(wait, key)
        await wait_all_tasks_blocked()
        for key in "cabx":
            waiters.answer(key, key.upper())
    assert got == {"a": "A", "b": "B", "c": "C"}
    assert len(waiters) == 0


async def test_giving_up_leaves_no_trace():
    """A late answer finds nobody, and harms nobody."""
    waiters = Waiters[str]()
    with trio.move_on_after(0):
        await waiters.wait("a")
    assert len(waiters) == 0
    waiters.answer("a", "late")


async def test_errors_reach_those_they_are_about():
    """Some, or all; each has an exception object of its own."""
    waiters, errors = Waiters[str](), {}

    async def wait(key, about):
        try:
            await waiters.wait(key, about)
        except ValueError as error:
            errors[key] = error

    async with trio.open_nursery() as nursery:
        for key, about in [("1", "x"), ("2", "x"), ("3", "y"), ("4", "z")]:
            nursery.start_soon(wait, key, about)
        await wait_all_tasks_blocked()
        waiters.fail_about("x", lambda: ValueError("x"))
        await wait_all_tasks_blocked()
        assert sorted(errors) == ["1", "2"]
        waiters.fail_all(lambda: ValueError("all"))
    assert [str(errors[key]) for key in "1234"] == ["x", "x", "all", "all"]
    assert errors["1"] is not errors["2"]


def message(data):
    return Message("a", 2, "", data)


async def test_a_mailbox_drops_what_is_too_much():
    """By number and by bytes; the newest goes, the count tells."""
    box = Mailbox(max_messages=2, max_bytes=10)
    for data in [b"1", b"2", b"3"]:
        box.deliver(message(data))
    assert (len(box), box.bytes, box.dropped) == (2, 2, 1)
    assert (await box.receive()).data == b"1"
    box.deliver(message(bytes(10)))
    assert (len(box), box.dropped) == (1, 2)
    assert (await box.receive()).data == b"2"
    with pytest.raises(trio.WouldBlock):
        box.receive_nowait()


async def test_a_mailbox_wakes_its_receiver_and_loses_nothing_to_cancellation():
    """A receiver that is cancelled has taken nothing."""
    box, got = Mailbox(), []

    async def receive():
        got.append((await box.receive()).data)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(receive)
        await wait_all_tasks_blocked()
        box.deliver(message(b"1"))
    assert got == [b"1"]
    box.deliver(message(b"2"))
    with trio.CancelScope() as scope:
        scope.cancel()
        await box.receive()
    assert len(box) == 1

"""Waiting for bytes on many wires at once: whoever waits is woken, and nothing that came is overlooked."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from faasd_py.http.bell import FEW, bell
from faasd_py.http.wire import PlainWire, without_delay

Pair = tuple[PlainWire, socket.socket]


def make_pair() -> Pair:
    mine, theirs = socket.socketpair()
    without_delay(mine)
    return PlainWire(mine), theirs


@pytest.fixture
async def crowd() -> AsyncIterator[list[Pair]]:
    """Wires, while the bell serves whoever waits."""
    pairs = [make_pair() for _ in range(FEW + 1)]
    bell().shared = True
    yield pairs
    for wire, theirs in pairs:
        wire.close()
        theirs.close()


class Reader:
    """Reads once in a task of its own."""

    def __init__(self, nursery: trio.Nursery, wire: PlainWire, limit: int = 1024) -> None:
        self.got: bytes | None = None
        self.error: BaseException | None = None
        nursery.start_soon(self._read, wire, limit)

    async def _read(self, wire: PlainWire, limit: int) -> None:
        try:
            self.got = await wire.receive(limit)
        except (trio.ClosedResourceError, OSError) as error:
            self.error = error


@pytest.fixture(params=["alone", "crowd"])
async def pair(request: pytest.FixtureRequest) -> AsyncIterator[Pair]:
    """A wire and the other end of it, waited for by itself, and through the bell."""
    bell().shared = request.param == "crowd"
    wire, theirs = make_pair()
    yield wire, theirs
    wire.close()
    theirs.close()


async def test_bytes_wake_who_waits(pair: Pair) -> None:
    """A task that waits gets the bytes that come."""
    wire, theirs = pair
    async with trio.open_nursery() as nursery:
        reader = Reader(nursery, wire)
        await wait_all_tasks_blocked()
        assert reader.got is None
        theirs.send(b"ring")
    assert reader.got == b"ring"


async def test_bytes_that_came_before_the_wait(pair: Pair) -> None:
    """What came while nobody waited is there for the next who does."""
    wire, theirs = pair
    for word in (b"one", b"two", b"three"):
        theirs.send(word)
        await wait_all_tasks_blocked()
        assert await wire.receive(1024) == word


async def test_a_full_read_leaves_the_rest(pair: Pair) -> None:
    """Bytes that a read had no room for are there for the next wait, although nothing more comes."""
    wire, theirs = pair
    theirs.send(b"abcdef")
    assert [await wire.receive(2) for _ in range(3)] == [b"ab", b"cd", b"ef"]
    async with trio.open_nursery() as nursery:
        reader = Reader(nursery, wire, 2)
        await wait_all_tasks_blocked()
        assert reader.got is None
        theirs.send(b"g")
    assert reader.got == b"g"


async def test_the_end_comes_after_the_last_bytes(pair: Pair) -> None:
    """Bytes and end that came together are both seen, and the end as often as one asks."""
    wire, theirs = pair
    async with trio.open_nursery() as nursery:
        reader = Reader(nursery, wire)
        await wait_all_tasks_blocked()
        theirs.send(b"last")
        theirs.shutdown(socket.SHUT_WR)
    assert reader.got == b"last"
    assert [await wire.receive(1024) for _ in range(3)] == [b"", b"", b""]


async def test_the_end_comes_while_nobody_waits(pair: Pair) -> None:
    """A connection that was closed in the meantime is at its end for the next who waits."""
    wire, theirs = pair
    theirs.send(b"last")
    assert await wire.receive(1024) == b"last"
    theirs.close()
    await wait_all_tasks_blocked()
    assert await wire.receive(1024) == b""


async def test_shutdown_wakes(pair: Pair) -> None:
    """A wire that is shut down under a task that waits wakes it with the end."""
    wire, _ = pair
    async with trio.open_nursery() as nursery:
        reader = Reader(nursery, wire)
        await wait_all_tasks_blocked()
        wire.shutdown()
    assert reader.got == b""


async def test_a_cancelled_wait_loses_nothing(pair: Pair) -> None:
    """After a wait that was cancelled, bytes are there for the next one, also those that came in between."""
    wire, theirs = pair
    with trio.move_on_after(0):
        await wire.receive(1024)
    theirs.send(b"early")
    assert await wire.receive(1024) == b"early"
    async with trio.open_nursery() as nursery:
        reader = Reader(nursery, wire)
        await wait_all_tasks_blocked()
        theirs.send(b"late")
    assert reader.got == b"late"


async def test_a_wait_can_be_cancelled(pair: Pair) -> None:
    """A deadline ends a wait for bytes that do not come."""
    wire, _ = pair
    with trio.move_on_after(0.01) as scope:
        await wire.receive(1024)
    assert scope.cancelled_caught


async def test_a_wait_for_bytes_that_are_there_is_a_checkpoint(pair: Pair) -> None:
    """Also a wait that need not wait can be cancelled, and loses nothing then."""
    wire, theirs = pair
    theirs.send(b"abcd")
    await wire.receive(2)
    with trio.CancelScope() as scope:
        scope.cancel()
        await wire.receive(2)
    assert scope.cancelled_caught
    assert await wire.receive(2) == b"cd"


async def test_closing_wakes(pair: Pair) -> None:
    """A task that waits on a wire that another task closes learns of it."""
    wire, _ = pair
    async with trio.open_nursery() as nursery:
        reader = Reader(nursery, wire)
        await wait_all_tasks_blocked()
        wire.close()
    assert reader.error is not None


async def test_one_reader_at_a_time(pair: Pair) -> None:
    """Two tasks cannot wait for the same bytes."""
    wire, theirs = pair
    async with trio.open_nursery() as nursery:
        Reader(nursery, wire)
        await wait_all_tasks_blocked()
        with pytest.raises(trio.BusyResourceError):
            await wire.receive(1024)
        theirs.send(b"x")


async def test_closed_twice() -> None:
    """A wire that is closed again is not counted again, whether it was being waited for or not."""
    (one, theirs), (other, theirs_too) = make_pair(), make_pair()
    async with trio.open_nursery() as nursery:
        Reader(nursery, one)
        await wait_all_tasks_blocked()
        assert bell().alone == 1
        for wire in (one, one, other, other):
            wire.close()
    assert bell().alone == 0
    theirs.close()
    theirs_too.close()


async def test_everybody_is_woken(crowd: list[Pair]) -> None:
    """Bytes that come on all wires at once wake all who wait, round after round."""
    for number in range(5):
        word = b"%d" % number
        async with trio.open_nursery() as nursery:
            readers = [Reader(nursery, wire) for wire, _ in crowd]
            await wait_all_tasks_blocked()
            for _, theirs in crowd:
                theirs.send(word)
        assert [reader.got for reader in readers] == [word] * len(crowd)


async def exchange(pair: Pair, word: bytes) -> None:
    """A word that arrives while it is waited for."""
    wire, theirs = pair
    async with trio.open_nursery() as nursery:
        reader = Reader(nursery, wire)
        await wait_all_tasks_blocked()
        theirs.send(word)
    assert reader.got == word


async def test_many_that_wait_share_the_bell() -> None:
    """Each is waited for by itself until too many are at once; those that come then share, the others as they come back."""
    pairs = [make_pair() for _ in range(FEW + 3)]
    async with trio.open_nursery() as nursery:
        readers = []
        for number, (wire, _) in enumerate(pairs):
            readers.append(Reader(nursery, wire))
            await wait_all_tasks_blocked()
            assert bell().shared is (number >= FEW)
        assert bell().alone == FEW + 1
        for _, theirs in pairs:
            theirs.send(b"all")
    assert all(reader.got == b"all" for reader in readers)
    assert bell().alone == 0
    await exchange(pairs[0], b"shared now")
    assert bell().alone == 0
    for wire, theirs in pairs:
        wire.close()
        theirs.close()


async def test_idle_wires_do_not_count() -> None:
    """However many wires there are: what nobody waits for makes no difference."""
    pairs = [make_pair() for _ in range(4 * FEW)]
    for _ in range(20):
        await exchange(pairs[0], b"one of many")
    assert not bell().shared
    for wire, theirs in pairs:
        wire.close()
        theirs.close()


async def test_a_bell_that_rings_for_one_is_given_up(crowd: list[Pair]) -> None:
    """Once a while of rings woke one each, wires are waited for by themselves; those that still wait are rung for."""
    async with trio.open_nursery() as nursery:
        late = Reader(nursery, crowd[1][0])
        for number in range(200):
            await exchange(crowd[0], b"%d" % number)
        assert not bell().shared
        crowd[1][1].send(b"late")
    assert late.got == b"late"
    await exchange(crowd[1], b"alone")


async def test_cancelled_waits_are_counted_once() -> None:
    """A wire that is waited for again and again in vain is one."""
    wire, theirs = make_pair()
    for _ in range(4 * FEW):
        with trio.move_on_after(0):
            await wire.receive(1024)
    assert bell().alone == 1
    theirs.send(b"x")
    assert await wire.receive(1024) == b"x"
    assert bell().alone == 0
    wire.close()
    theirs.close()


async def test_a_cancelled_wait_and_a_change_of_sides() -> None:
    """A wire whose wait by itself was cancelled is rung for next, and counted no longer."""
    wire, theirs = make_pair()
    with trio.move_on_after(0):
        await wire.receive(1024)
    bell().shared = True
    await exchange((wire, theirs), b"rung for")
    assert bell().alone == 0
    wire.close()
    theirs.close()


async def test_from_one_side_to_the_other_and_back(crowd: list[Pair]) -> None:
    """A wire is read whichever way others are waited for."""
    for shared in (True, False, False, True, True, False):
        bell().shared = shared
        await exchange(crowd[0], b"shared" if shared else b"alone")


async def test_bytes_and_end_across_a_change_of_sides(crowd: list[Pair]) -> None:
    """What came before a change of sides is seen after it."""
    wire, theirs = crowd[0]
    theirs.send(b"one")
    assert await wire.receive(1024) == b"one"
    theirs.send(b"two")
    bell().shared = False
    assert await wire.receive(1024) == b"two"
    theirs.send(b"three")
    theirs.shutdown(socket.SHUT_WR)
    bell().shared = True
    assert await wire.receive(1024) == b"three"
    assert await wire.receive(1024) == b""


async def test_a_second_reader_does_not_take_the_bell_away(crowd: list[Pair]) -> None:
    """Who tries to wait where another waits already is told so, also when the bell is no longer shared."""
    wire, theirs = crowd[0]
    async with trio.open_nursery() as nursery:
        reader = Reader(nursery, wire)
        await wait_all_tasks_blocked()
        bell().shared = False
        with pytest.raises(trio.BusyResourceError):
            await wire.receive(1024)
        theirs.send(b"for the first")
    assert reader.got == b"for the first"


async def test_a_descriptor_that_comes_again(crowd: list[Pair]) -> None:
    """A new wire that was given the number of a closed one hears its own bytes only."""
    wire, theirs = crowd.pop()
    theirs.send(b"for the old one")
    with trio.move_on_after(0):
        await wire.receive(1024)
    number = wire.fd
    wire.close()
    theirs.close()
    fresh = [make_pair() for _ in range(4)]
    crowd += fresh
    assert number in {new.fd for new, _ in fresh} | {other.fileno() for _, other in fresh}
    async with trio.open_nursery() as nursery:
        readers = [Reader(nursery, new) for new, _ in fresh]
        await wait_all_tasks_blocked()
        assert all(reader.got is None for reader in readers)
        for _, other in fresh:
            other.send(b"for the new one")
    assert all(reader.got == b"for the new one" for reader in readers)


async def test_a_ring_for_nobody(crowd: list[Pair]) -> None:
    """A descriptor that is open elsewhere may ring after its wire was closed: nobody minds."""
    wire, theirs = crowd.pop()
    kept = socket.socket(fileno=socket.dup(wire.fd))
    with trio.move_on_after(0):
        await wire.receive(1024)
    bell()._listeners.pop(wire.fd)
    theirs.send(b"hello")
    await wait_all_tasks_blocked()
    wire.close()
    kept.close()
    theirs.close()


def test_each_run_has_its_own() -> None:
    """The bell of one run is not that of the next."""

    async def which() -> object:
        await trio.lowlevel.checkpoint()
        assert bell() is bell()
        return bell()

    assert trio.run(which) is not trio.run(which)

"""The commit thread: batches, trouble, and what is kept through it."""

from __future__ import annotations

import os
import subprocess

import apsw
import pytest
import trio
import trio.testing

from faasd_py.core.errors import QueueUnavailable
from faasd_py.core.lifecycle import Move, State
from faasd_py.core.outcome import DONE, RELEASE, Verdict
from faasd_py.hookspecs import QueueSite
from faasd_py.queue.sqlite import open_queue
from faasd_py.testing.queue_conformance.ground import (
    ANSWER,
    BURY,
    CALL,
    FAILED,
    LANE,
    begin,
    call,
    run,
    stands,
    take,
    until,
)


def count_commits(queue):
    """How many transactions are committed from now on, as a list that grows."""
    store, commits = queue._committer._store, []
    store.connection.set_commit_hook(lambda: bool(commits.append(1)))
    return commits


class Fault:
    """Makes commits fail while `error` is set."""

    def __init__(self, queue):
        self.error = None
        self.connection = queue._committer._store.connection
        queue._committer._store.connection.set_commit_hook(self._commit)
        self._store = queue._committer._store
        self._execute = self._store.execute
        self._store.execute = self._statement

    def _commit(self):
        return False

    def _statement(self, statement, *values):
        if self.error is not None and statement == "COMMIT":
            raise self.error
        return self._execute(statement, *values)


async def test_puts_that_wait_together_are_one_transaction(site):
    """A hundred calls at once cost a handful of commits, not a hundred."""
    async with open_queue(site()) as queue:
        await queue.put(CALL)
        commits = count_commits(queue)
        async with trio.open_nursery() as nursery:
            for _ in range(100):
                nursery.start_soon(queue.put, CALL)
        assert 1 <= len(commits) <= 5


async def test_starts_that_are_asked_for_together_are_one_transaction(site):
    """`start_many` waits once, for one commit."""
    async with open_queue(site()) as queue:
        for _ in range(20):
            await queue.put(CALL)
        leases = [await take(queue) for _ in range(20)]
        commits = count_commits(queue)
        assert await queue.start_many(leases) == [None] * 20
        assert len(commits) == 1


async def test_starts_that_cannot_be_recorded_count_no_attempt(site):
    """`start_many` tells so of each; the leases are still held, and released they are as if never started."""
    async with open_queue(site()) as queue:
        for _ in range(3):
            await queue.put(CALL)
        leases = [await take(queue) for _ in range(3)]
        fault = Fault(queue)
        fault.error = apsw.FullError("database or disk is full")
        errors = await queue.start_many(leases)
        assert [type(error) for error in errors] == [QueueUnavailable] * 3
        fault.error = None
        for lease in leases:
            await queue.settle(lease, RELEASE)
        assert {(await take(queue)).attempt for _ in leases} == {1}


async def test_a_settlement_rides_with_the_next_put(site):
    """Nobody waits for it, so it makes no commit of its own when another follows."""
    async with open_queue(site()) as queue:
        for _ in range(20):
            await queue.put(CALL)
        leases = [await begin(queue) for _ in range(20)]
        commits = count_commits(queue)
        for lease in leases:
            await queue.settle(lease, DONE, ANSWER)
            await queue.put(CALL)
        assert len(commits) <= 25


async def test_a_settlement_alone_is_committed_soon(site):
    """It waits a moment only."""
    async with open_queue(site()) as queue:
        await queue.put(CALL)
        lease = await begin(queue)
        commits = count_commits(queue)
        await queue.settle(lease, DONE, ANSWER)
        await until(lambda: bool(commits))


async def test_a_call_for_a_waiting_worker_is_started_by_its_put(site):
    """One commit for both; a crash counts the attempt."""
    async with open_queue(site()) as queue, trio.open_nursery() as nursery:
        commits, leases = [], []

        async def worker():
            lease = await take(queue)
            commits.extend(count_commits(queue))
            await queue.start(lease)
            leases.append(lease)

        nursery.start_soon(worker)
        await trio.testing.wait_all_tasks_blocked()
        accepted = await queue.put(CALL)
        await until(lambda: bool(leases))
        assert leases[0].token.fused
        assert (await stands(queue, accepted.id)).attempts == 1
        assert leases[0].attempt == 1


async def test_a_fused_call_that_nobody_takes_is_only_ready(site):
    """To everybody who looks, and after a clean end on record too."""
    async with open_queue(site()) as queue:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(queue.wait_ready, LANE)
            await trio.testing.wait_all_tasks_blocked()
            accepted = await queue.put(CALL)
        assert queue._near[next(iter(queue._near))].fused
        record = await stands(queue, accepted.id)
        assert (record.state, record.attempts, record.started_at) == (State.READY, 0, None)
        assert queue.stats().lanes[LANE].ready == 1
    async with open_queue(site()) as queue:
        lease = await take(queue)
        assert (lease.attempt, lease.crashed) == (1, False)
        assert queue.stats().lanes[LANE].ready == 0


async def test_a_fused_call_can_be_cancelled(site):
    """It is READY, whatever the record says."""
    async with open_queue(site()) as queue:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(queue.wait_ready, LANE)
            await trio.testing.wait_all_tasks_blocked()
            accepted = await queue.put(CALL)
        assert await queue.cancel(accepted.id) is State.READY
        assert queue.lease_nowait(LANE) is None
        assert (await stands(queue, accepted.id)).state is State.CANCELLED


@pytest.mark.parametrize("fields", [{"on_crash": False}, {"max_attempts": 1}])
async def test_a_call_that_a_crash_could_rob_of_its_only_attempt_is_not_fused(site, fields):
    """Its attempt is put on record when it begins, not before."""
    async with open_queue(site()) as queue:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(queue.wait_ready, LANE)
            await trio.testing.wait_all_tasks_blocked()
            await queue.put(call(**fields))
        assert not (await take(queue)).token.fused


@pytest.mark.parametrize("error", [apsw.FullError("full"), apsw.IOError("fsync failed")])
async def test_a_failing_disk_refuses_and_then_accepts_again(site, error):
    """Refused calls are not kept, settlements are; trouble() says so until it is over."""
    async with open_queue(site()) as queue:
        for _ in range(3):
            await queue.put(CALL)
        lease = await begin(queue)
        fault = Fault(queue)
        fault.error = error
        with pytest.raises(QueueUnavailable):
            await queue.put(CALL)
        assert queue.trouble() is not None
        with pytest.raises(QueueUnavailable):
            await queue.put(CALL)
        other = await take(queue)
        with pytest.raises(QueueUnavailable):
            await queue.start(other)
        await queue.settle(lease, DONE, ANSWER, call(lane="callback:a"))
        await queue.settle(other, Verdict(move=Move.RELEASE))
        with pytest.raises(QueueUnavailable):
            await queue.flush()
        assert queue.lease_nowait("callback:a") is None
        fault.error = None
        await until(lambda: queue.trouble() is None)
        await queue.flush()
        assert (await stands(queue, lease.id)).state is State.DONE
        assert queue.lease_nowait("callback:a") is not None
        assert queue.stats().lanes[LANE].ready == 2
        await run(queue)
        await run(queue)
        assert queue.lease_nowait(LANE) is None


async def test_a_settlement_that_is_held_survives_until_the_end(site):
    """The disk recovers before the queue is closed: nothing is lost."""
    async with open_queue(site()) as queue:
        accepted = await queue.put(CALL)
        lease = await begin(queue)
        fault = Fault(queue)
        fault.error = apsw.FullError("full")
        await queue.settle(lease, BURY, FAILED)
        await until(lambda: queue.trouble() is not None)
        fault.error = None
    async with open_queue(site()) as queue:
        assert (await stands(queue, accepted.id)).state is State.DEAD


async def test_one_bad_call_does_not_fail_the_others(site):
    """What SQLite refuses is refused alone."""
    async with open_queue(site()) as queue:
        await queue.put(CALL)
        ended = {}

        async def one(name, wanted):
            try:
                ended[name] = await queue.put(wanted)
            except QueueUnavailable as error:
                ended[name] = error

        gone = await_spooled(site())
        async with trio.open_nursery() as nursery:
            for number in range(5):
                nursery.start_soon(one, number, CALL)
            nursery.start_soon(one, "bad", call(body=gone))
            for number in range(5, 10):
                nursery.start_soon(one, number, CALL)
        assert isinstance(ended.pop("bad"), QueueUnavailable)
        assert not any(isinstance(value, Exception) for value in ended.values())
        assert queue.stats().lanes[LANE].ready == 11
        assert queue.trouble() is None


def await_spooled(site):
    """A body whose file is not there."""
    from faasd_py.core.call import Spooled

    return Spooled(path=str(site.spool / "never-written"), size=300_000)


async def test_a_call_that_is_none_is_refused_before_it_is_written(site):
    """The caller sees the mistake; the queue goes on."""
    async with open_queue(site()) as queue:
        with pytest.raises(Exception):  # noqa: B017 - whatever says that it is no call
            await queue.put(call(headers=object()))
        await queue.put(CALL)
        assert queue.stats().lanes[LANE].ready == 1


async def test_the_death_of_the_commit_thread_hangs_nobody(site):
    """Everybody who waits is told, and trouble() says it for health."""
    async with open_queue(site()) as queue:
        await queue.put(CALL)
        store = queue._committer._store

        def dies(puts):
            raise SystemExit("a bug")

        store.put = dies
        with trio.fail_after(5), pytest.raises(QueueUnavailable):
            await queue.put(CALL)
        assert "commit thread ended" in queue.trouble()
        with trio.fail_after(5), pytest.raises(QueueUnavailable):
            await queue.put(CALL)
        with trio.fail_after(5), pytest.raises(QueueUnavailable):
            await queue.flush()
    async with open_queue(site()) as queue:
        assert queue.stats().lanes[LANE].ready == 1


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 24 MB of its own."""
    place = tmp_path / "small"
    place.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", place],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"mounting a small disk is not permitted: {done.stderr.strip()}")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


async def test_a_full_disk_keeps_what_it_accepted_and_drains(site, small_disk):
    """Every receipt is good, nothing else is kept; room made by draining or by hand is used again."""
    (small_disk / "spool").mkdir()
    here = QueueSite(settings=site().settings, directory=small_disk / "queue", spool=small_disk / "spool")
    accepted = []
    async with open_queue(here) as queue:
        with pytest.raises(QueueUnavailable, match="full"):
            while True:
                accepted.append((await queue.put(call(body=os.urandom(60_000)))).id)
        assert "full" in queue.trouble()
        assert len(accepted) > 50
        ran = [(await run(queue)).id for _ in accepted]
        assert ran == accepted
        await queue.flush()
        await until(lambda: queue.trouble() is None)
        accepted = [(await queue.put(call(body=os.urandom(60_000)))).id for _ in range(20)]
    async with open_queue(here) as queue:
        assert [(await take(queue)).id for _ in accepted] == accepted


async def test_a_disk_that_is_full_at_the_start_drains_all_the_same(site, small_disk):
    """The reserve is given up to open; calls are refused until there is room."""
    (small_disk / "spool").mkdir()
    here = QueueSite(settings=site().settings, directory=small_disk / "queue", spool=small_disk / "spool")
    async with open_queue(here) as queue:
        accepted = [(await queue.put(CALL)).id for _ in range(10)]
    filler = small_disk / "filler"
    with filler.open("wb") as file, pytest.raises(OSError, match="No space"):
        while True:
            file.write(b"x" * 65536)
            file.flush()
    async with open_queue(here) as queue:
        assert [(await run(queue)).id for _ in accepted] == accepted
        filler.unlink()
        await until(lambda: queue.trouble() is None)
        await queue.put(CALL)

"""Opening a file: ours, somebody else's, too new, damaged; what was running is READY again."""

from __future__ import annotations

import os
import shutil

import apsw
import pytest
import trio

from faasd_py.core.errors import QueueBroken
from faasd_py.core.lifecycle import Move, State
from faasd_py.core.outcome import CANCEL, DONE, RELEASE, Verdict
from faasd_py.queue.contract import Filter
from faasd_py.queue.sqlite import open_queue
from faasd_py.testing.queue_conformance.ground import CALL, LANE, begin, call, run, stands, take, until

VERDICTS = (DONE, CANCEL, RELEASE, Verdict(move=Move.BURY), Verdict(move=Move.RETRY, wait=60))


def file_of(site):
    return site.directory / "queue.sqlite"


async def fill(site, count, **fields):
    """Put so many calls at once; their ids in order."""
    ids = []

    async def one(queue):
        ids.append((await queue.put(call(**fields))).id)

    async with open_queue(site) as queue, trio.open_nursery() as nursery:
        for _ in range(count):
            nursery.start_soon(one, queue)
    return sorted(ids)


def damage(path, page, count=1):
    """Overwrite whole pages with noise."""
    with path.open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(b"\xa5" * 4096 * count)


async def test_a_file_that_is_no_database_is_named(site):
    """QueueBroken with the path; the file is left as it is."""
    site().directory.mkdir()
    file_of(site()).write_bytes(b"these are my holiday notes\n" * 100)
    with pytest.raises(QueueBroken, match=r"queue\.sqlite: is not a database"):
        async with open_queue(site()):
            pass
    assert file_of(site()).read_bytes().startswith(b"these are")


async def test_somebody_elses_database_is_refused(site):
    """It has tables, but not our mark."""
    site().directory.mkdir()
    with apsw.Connection(str(file_of(site()))) as other:
        other.execute("CREATE TABLE recipes (name TEXT)")
    other.close()
    with pytest.raises(QueueBroken, match="not one of faasd-py"):
        async with open_queue(site()):
            pass


async def test_a_newer_schema_is_refused(site):
    """The versions are told; nothing is changed."""
    await fill(site(), 1)
    connection = apsw.Connection(str(file_of(site())))
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(QueueBroken, match=r"newer faasd-py \(schema 99, this one knows 2\)"):
        async with open_queue(site()):
            pass


async def test_a_file_of_the_first_version_is_brought_forward(site):
    """It gets the index that pages are read by; what is in it stays."""
    ids = await fill(site(), 3)
    connection = apsw.Connection(str(file_of(site())))
    with connection:
        connection.execute("DROP INDEX calls_listed")
        connection.execute("CREATE INDEX calls_dead ON calls (lane) WHERE state = 4")
        connection.execute("PRAGMA user_version = 1")
    connection.close()
    async with open_queue(site()) as queue:
        assert [record.id for record in await queue.records(Filter(lane=LANE))] == ids[::-1]
    connection = apsw.Connection(str(file_of(site())))
    assert connection.execute("PRAGMA user_version").get == 2
    assert connection.execute("SELECT count(*) FROM sqlite_schema WHERE name = 'calls_dead'").get == 0
    connection.close()


async def test_a_directory_in_the_way_is_an_error_with_its_name(site):
    """Not a traceback of SQLite."""
    file_of(site()).mkdir(parents=True)
    with pytest.raises(QueueBroken, match=r"queue\.sqlite: cannot be opened"):
        async with open_queue(site()):
            pass


async def test_opening_many_waiting_calls_reads_only_the_first(site):
    """The window is bounded; the figures come from the books."""
    await fill(site(), 1)
    connection = apsw.Connection(str(file_of(site())))
    with connection:
        row = connection.execute("SELECT * FROM calls").fetchone()
        marks = ",".join("?" * len(row))
        connection.executemany(
            f"INSERT INTO calls VALUES ({marks})",
            [(row[0] + n, *row[1:3], row[3] + n, *row[4:]) for n in range(1, 50_000)],
        )
        connection.execute("UPDATE lanes SET ready = 50000, bytes = bytes * 50000")
    connection.close()
    async with open_queue(site()) as queue:
        assert queue.stats().lanes[LANE].ready == 50_000
        assert len(queue._near) == 0
        assert await queue.next_lane() == LANE
        await take(queue)
        assert 0 < len(queue._near) <= 1024


async def test_a_damaged_row_goes_into_quarantine_and_the_rest_is_served(site, caplog):
    """Reported with its key; kept with the reason; the figures are right."""
    ids = await fill(site(), 5)
    connection = apsw.Connection(str(file_of(site())))
    key = connection.execute("SELECT key FROM calls ORDER BY key LIMIT 1 OFFSET 2").get
    connection.execute("UPDATE calls SET head = x'c1ff00' WHERE key = ?", (key,))
    connection.close()
    async with open_queue(site()) as queue:
        assert [(await take(queue)).id for _ in range(4)] == [*ids[:2], *ids[3:]]
        await until(lambda: queue.stats().quarantined == 1)
        assert queue.lease_nowait(LANE) is None
        assert queue.stats().lanes[LANE].ready == 0
        assert str(key) in caplog.text
        assert await queue.find(ids[2]) is None
    async with open_queue(site()) as queue:
        assert queue.stats().quarantined == 1
    connection = apsw.Connection(str(file_of(site())))
    assert connection.execute("SELECT key, head FROM quarantine").fetchall() == [(key, b"\xc1\xff\x00")]
    connection.close()


async def test_a_damaged_delayed_row_goes_into_quarantine_when_it_is_due(site):
    """It holds nobody up."""
    await fill(site(), 2, not_before=4e9)
    connection = apsw.Connection(str(file_of(site())))
    connection.execute("UPDATE calls SET head = 'text', due = 1 WHERE key = (SELECT min(key) FROM calls)")
    connection.close()
    async with open_queue(site()) as queue:
        await until(lambda: queue.stats().quarantined == 1)
        assert queue.stats().lanes[LANE].delayed == 1


async def test_a_body_that_is_missing_is_damage(site):
    """The row refers to a body that is not there."""
    await fill(site(), 1, body=b"x" * 5000)
    connection = apsw.Connection(str(file_of(site())))
    connection.execute("DELETE FROM bodies")
    connection.close()
    async with open_queue(site()) as queue:
        await queue.next_lane()
        with trio.move_on_after(0.5):
            await queue.wait_ready(LANE)
        assert queue.stats().quarantined == 1


async def test_damaged_pages_cost_only_their_own_calls(site, caplog):
    """The next start salvages the rest into a new file and keeps the damaged one."""
    ids = await fill(site(), 2000, headers=b"X: " + b"y" * 500 + b"\r\n")
    connection = apsw.Connection(str(file_of(site())))
    pages = [
        row[0]
        for row in connection.execute(
            "SELECT pageno FROM dbstat WHERE name = 'calls' AND pagetype = 'leaf' ORDER BY path"
        )
    ]
    connection.close()
    for page in (pages[40], pages[41], pages[90]):
        damage(file_of(site()), page)
    async with open_queue(site()) as queue:
        await queue.next_lane()
        with trio.fail_after(10):
            while queue.trouble() is None:
                queue.lease_nowait(LANE)
                await trio.sleep(0.005)
        assert "damaged" in queue.trouble()
    async with open_queue(site()) as queue:
        assert queue.trouble() is None
        ready = queue.stats().lanes[LANE].ready
        assert 2000 - 40 < ready < 2000
        assert "is damaged" in caplog.text or "was damaged" in caplog.text
        saved = [(await run(queue)).id for _ in range(ready)]
        assert saved == [identity for identity in ids if identity in set(saved)]
    kept = list(site().directory.glob("queue.sqlite.damaged-*"))
    assert kept


async def test_a_file_with_a_damaged_schema_is_not_replaced_by_an_empty_one(site):
    """Beyond repair: QueueBroken, and the file is where it was."""
    await fill(site(), 10)
    damage(file_of(site()), 1)
    with pytest.raises(QueueBroken, match=r"queue\.sqlite"):
        async with open_queue(site()):
            pass
    assert file_of(site()).stat().st_size > 4096


def end_of(wal):
    """Where what was committed ends: behind it lie the zeros of the runway."""
    return len(wal.read_bytes().rstrip(b"\0"))


async def test_a_truncated_wal_loses_only_its_torn_end(site, tmp_path):
    """What SQLite finds whole is there, in order from the first."""
    target = tmp_path / "torn"
    async with open_queue(site()) as queue:
        ids = [(await queue.put(CALL)).id for _ in range(50)]
        target.mkdir()
        for name in ("queue.sqlite", "queue.sqlite-wal"):
            shutil.copy(site().directory / name, target / name)
    wal = target / "queue.sqlite-wal"
    os.truncate(wal, end_of(wal) * 2 // 3 + 17)
    torn = site()
    torn = type(torn)(settings=torn.settings, directory=target, spool=torn.spool)
    async with open_queue(torn) as queue:
        count = queue.stats().lanes[LANE].ready
        assert 0 < count < 50
        assert [(await take(queue)).id for _ in range(count)] == ids[:count]


async def test_garbage_at_the_end_of_the_wal_is_no_harm(site, tmp_path):
    """A power cut may leave anything behind the last commit."""
    target = tmp_path / "garbage"
    async with open_queue(site()) as queue:
        ids = [(await queue.put(CALL)).id for _ in range(10)]
        target.mkdir()
        for name in ("queue.sqlite", "queue.sqlite-wal"):
            shutil.copy(site().directory / name, target / name)
    end = end_of(target / "queue.sqlite-wal")
    with (target / "queue.sqlite-wal").open("r+b") as wal:
        wal.seek(end)
        wal.write(os.urandom(10_000))
    odd = site()
    async with open_queue(type(odd)(settings=odd.settings, directory=target, spool=odd.spool)) as queue:
        assert [(await take(queue)).id for _ in ids] == ids


async def test_files_that_a_crash_left_behind_are_swept(site):
    """Bodies without a call, uploads without an owner."""
    here = site()
    await fill(here, 1)
    (here.directory / "bodies" / f"{12345:016x}").write_bytes(b"x")
    (here.spool / "abc.part").write_bytes(b"x")
    async with open_queue(here):
        assert list((here.directory / "bodies").iterdir()) == []
        assert list(here.spool.iterdir()) == []


async def test_the_ids_of_another_store_are_unknown(site, tmp_path):
    """A number of its own is in each file, and in each id."""
    ids = await fill(site(), 1)
    other = site()
    async with open_queue(
        type(other)(settings=other.settings, directory=tmp_path / "b", spool=other.spool)
    ) as queue:
        assert await queue.find(ids[0]) is None


async def test_the_books_agree_with_the_rows_after_everything(site):
    """The figures kept by transactions are what a count would find."""
    async with open_queue(site()) as queue:
        for number in range(60):
            await queue.put(call(priority=number % 3, lane=LANE if number % 2 else "b.c"))
        for number in range(20):
            lease = await begin(queue, LANE if number % 2 else "b.c")
            await queue.settle(lease, VERDICTS[number % len(VERDICTS)])
        await queue.purge(Filter(lane="b.c", state=State.READY), limit=3)
        await queue.requeue_all(Filter(lane=LANE), limit=1)
    connection = apsw.Connection(str(file_of(site())))
    for number, *figures in connection.execute("SELECT id, ready, leased, delayed, dead, bytes FROM lanes"):
        counted = [
            connection.execute("SELECT count(*) FROM calls WHERE lane = ? AND state = ?", (number, state)).get
            for state in (0, 1, 2, 4)
        ]
        size = connection.execute(
            "SELECT ifnull(sum(size), 0) FROM calls WHERE lane = ? AND state < 3", (number,)
        ).get
        assert figures == [*counted, size]
    connection.close()


async def test_a_lease_still_held_at_the_end_is_run_again(site):
    """Closing while a worker holds a started call is a crash of that attempt."""
    async with open_queue(site()) as queue:
        accepted = await queue.put(CALL)
        await begin(queue)
    async with open_queue(site()) as queue:
        assert (await stands(queue, accepted.id)).state is State.READY
        lease = await take(queue)
        assert (lease.attempt, lease.crashed) == (2, True)

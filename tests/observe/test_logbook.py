"""A logbook: what goes in comes out, in its order, also after a restart; within its bounds."""

from __future__ import annotations

import json
import os
import shutil
import time
from itertools import pairwise
from pathlib import Path

import pytest
import trio

from faasd_py.observe.logbook import MAX_TEXT, Logbook, open_logbook
from faasd_py.observe.logbook import writer as writing
from faasd_py.observe.logbook.segments import directory_name, segments
from tests.observe.logbook_ground import MIB, Words, count, fds, files, lines, say, size, texts


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "logs").mkdir()
    return tmp_path / "logs"


async def test_lines_come_out_as_they_went_in(place: Path) -> None:
    """With everything that belongs to them, and at once."""
    before = time.time_ns()
    async with open_logbook(place, Words()) as book:
        book.line("a.b", "grün\t☃ \x00\n2", "stdout", "4711", "call-1")
        book.line("a.b", "two", "stderr", "", "")
        one, two = await lines(book)
    assert (one.text, one.stream, one.instance, one.call_id) == (
        "grün\t☃ \x00\n2",
        "stdout",
        "4711",
        "call-1",
    )
    assert (two.text, two.stream, two.instance, two.call_id) == ("two", "stderr", "", "")
    assert before <= one.at <= two.at <= time.time_ns()


async def test_functions_do_not_see_each_others_lines(place: Path) -> None:
    """Not even when their names are alike."""
    async with open_logbook(place, Words()) as book:
        for label in ("a.b", "a.c", "a-.b", "A.b"):
            say(book, label, label=label)
        for label in ("a.b", "a.c", "a-.b", "A.b"):
            assert await texts(book, label) == [label]
        assert await texts(book, "b.a") == []
        assert await book.is_known("a.b")
        assert not await book.is_known("b.a")


async def test_lines_survive_a_restart_and_go_on(place: Path) -> None:
    """In the same segment, numbered on."""
    for life in range(3):
        async with open_logbook(place, Words()) as book:
            say(book, f"life {life}")
            assert await texts(book) == [f"life {n}" for n in range(life + 1)]
    assert len(files(place)) == 1


async def test_a_torn_line_is_cut_off(place: Path) -> None:
    """What a crash left of a line is gone; those before and after it are whole."""
    async with open_logbook(place, Words()) as book:
        say(book, "one", "two", "three")
    (path,) = files(place)
    path.write_bytes(path.read_bytes()[:-9])
    async with open_logbook(place, Words()) as book:
        assert await texts(book) == ["one", "two"]
        say(book, "four")
        assert await texts(book) == ["one", "two", "four"]
    assert all(json.loads(raw) for raw in path.read_text().splitlines())


@pytest.mark.parametrize("damage", [b"\0" * 5000, b"[1,2", b"\xff\xfe\n\n[]\n", b"\0" * (2 * MIB) + b"\n"])
async def test_damage_is_passed_over(place: Path, damage: bytes) -> None:
    """Zeros after a power cut, half lines, anything: what is whole is read, and more can be written."""
    async with open_logbook(place, Words(per_function=64 * MIB, total=64 * MIB)) as book:
        say(book, "one")
    (path,) = files(place)
    with path.open("ab") as file:
        file.write(damage)
    async with open_logbook(place, Words(per_function=64 * MIB, total=64 * MIB)) as book:
        say(book, "two")
        assert await texts(book) == ["one", "two"]
        assert await texts(book, tail=1) == ["two"]
        assert await texts(book, tail=2) == ["one", "two"]


async def test_one_function_stays_within_its_bound(place: Path) -> None:
    """The newest lines are there, without a hole, and never more bytes than allowed."""
    async with open_logbook(place, Words()) as book:
        for start in range(0, 40_000, 2_000):
            say(book, *(f"line {n} {'x' * 40}" for n in range(start, start + 2_000)))
            found = await texts(book)
            assert size(place) <= MIB
        numbers = [int(text.split()[1]) for text in found]
        assert numbers == list(range(numbers[0], 40_000))
        assert size(place) > MIB * 3 // 4
        assert book.figures.lines == 40_000
        assert book.figures.overload == book.figures.disk == 0


async def test_all_together_stay_within_their_bound(place: Path) -> None:
    """The oldest lines go first, whosever they are."""
    async with open_logbook(place, Words(total=2 * MIB)) as book:
        for number in range(12):
            say(book, *(f"line {n} {'x' * 90}" for n in range(3_000)), label=f"f{number}.b")
            await texts(book, f"f{number}.b", tail=1)
        assert 0 < size(place) <= 2 * MIB
        assert not await book.is_known("f0.b")
        assert (await texts(book, "f11.b"))[-1].startswith("line 2999 ")
        assert size(place) <= book.figures.bytes <= 2 * MIB


async def test_many_small_functions_count_as_they_occupy(place: Path) -> None:
    """A file of one line takes a block: a thousand of them are a thousand blocks."""
    async with open_logbook(place, Words()) as book:
        for number in range(1_500):
            say(book, "x", label=f"f{number}.b")
        assert await texts(book, "f1499.b") == ["x"]
        assert count(place) <= 1024
        assert not await book.is_known("f0.b")


async def test_bounds_that_become_narrower_hold_at_the_next_start(place: Path) -> None:
    """And those that a reload made narrower, at the next line."""
    async with open_logbook(place, Words(per_function=4 * MIB)) as book:
        say(book, *(f"{n} {'x' * 200}" for n in range(15_000)))
        await texts(book, tail=1)
        assert size(place) > 3 * MIB
        book.reconfigure(Words(per_function=2 * MIB))
        say(book, "more")
        assert (await texts(book))[-1] == "more"
        assert size(place) <= 2 * MIB
    async with open_logbook(place, Words()) as book:
        assert (await texts(book))[-1] == "more"
        assert size(place) <= MIB


async def test_lines_older_than_the_retention_go(place: Path) -> None:
    """Also those of a function that was removed long ago; its directory goes with them."""
    async with open_logbook(place, Words()) as book:
        say(book, "old")
        say(book, "new", label="c.d")
    (old,) = files(place)
    os.utime(old, (time.time() - 7200, time.time() - 7200))
    async with open_logbook(place, Words()) as book:
        assert not await book.is_known("a.b")
        assert await texts(book, "c.d") == ["new"]
        assert not old.parent.exists()
        say(book, "again")
        assert await texts(book) == ["again"]


async def test_a_log_that_grows_slowly_is_cut_by_time(place: Path) -> None:
    """Or its first line would live for ever: a segment takes lines of an eighth of the retention only."""
    async with open_logbook(place, Words(retention=0.4)) as book:
        for number in range(3):
            say(book, str(number))
            await texts(book)
            await trio.sleep(0.06)
        assert len(files(place)) == 3


async def test_a_log_that_is_not_wanted_costs_nothing(place: Path) -> None:
    """`enabled = false` writes nothing, from the next line on; what is there stays readable."""
    async with open_logbook(place, Words()) as book:
        say(book, "one")
        book.reconfigure(Words(enabled=False))
        say(book, "two")
        assert await texts(book) == ["one"]
        book.reconfigure(Words())
        say(book, "three")
        assert await texts(book) == ["one", "three"]


@pytest.mark.parametrize("letter", ["x", "☃", "\x01"])
async def test_a_long_line_is_cut_and_says_so(place: Path, letter: str) -> None:
    """At 64 KiB, between two letters; one that is just short enough is whole."""
    width = len(letter.encode())
    whole, long = letter * (MAX_TEXT // width), letter * (2 * MAX_TEXT // width)
    async with open_logbook(place, Words()) as book:
        say(book, whole, long, "after")
        one, two, three = await texts(book)
    assert one == whole
    cut, _, mark = two.partition(" … (")
    assert set(cut) == {letter}
    assert len(cut.encode()) <= MAX_TEXT
    assert mark == f"{len(long.encode()) - MAX_TEXT} bytes more)"
    assert three == "after"


async def test_secrets_in_lines_are_hidden(place: Path) -> None:
    """As in the daemon's own log."""
    async with open_logbook(place, Words()) as book:
        say(book, "Authorization: Bearer abc", "see http://me:pw@host/")
        assert await texts(book) == ["Authorization: [hidden]", "see http://[hidden]@host/"]
    assert b"abc" not in files(place)[0].read_bytes()


async def test_what_is_no_unicode_is_escaped(place: Path) -> None:
    """A plug-in may hand over anything."""
    async with open_logbook(place, Words()) as book:
        say(book, "a\udc80b", call_id="\ud800")
        (line,) = await lines(book)
    assert (line.text, line.call_id) == ("a\\udc80b", "\\ud800")


@pytest.mark.parametrize(
    "label", ["../../etc.b", "..", ".", "", "a/b.c", "a\0b.c", "a%2Fb.c", "x" * 300, "ü.b", "callback:h:1"]
)
async def test_labels_are_file_names_whatever_they_are(place: Path, label: str) -> None:
    """Nothing is written anywhere else, and no two labels are the same."""
    name = directory_name(label)
    assert "/" not in name and "\0" not in name and not name.startswith(".") and len(name) < 256
    async with open_logbook(place, Words()) as book:
        say(book, "here", label=label or "empty")
        assert await texts(book, label or "empty") == ["here"]
    assert count(place) == 1
    assert count(place.parent) == 1


def test_labels_are_not_confused() -> None:
    """Escapes are escaped, and what is cut is told apart."""
    labels = ["a/b", "a%2Fb", "a%252Fb", ".a", "%2Ea", "x" * 300, "x" * 301, "x" * 299 + "y"]
    assert len({directory_name(label) for label in labels}) == len(labels)


async def test_files_are_private(place: Path) -> None:
    """Lines may hold anything: only the daemon's user reads them."""
    async with open_logbook(place, Words()) as book:
        say(book, "x")
        await texts(book)
    (path,) = files(place)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


async def test_more_functions_than_open_files(place: Path) -> None:
    """Only some files are held open, however many functions there are."""
    async with open_logbook(place, Words(total=8 * MIB)) as book:
        before = fds()
        for turn in range(2):
            for number in range(300):
                say(book, f"{turn}", label=f"f{number}.b")
            await texts(book, "f0.b")
        assert fds() - before <= 80
        for number in range(0, 300, 29):
            assert await texts(book, f"f{number}.b") == ["0", "1"]


async def test_closing_writes_what_waits(place: Path) -> None:
    """A stop loses no line; after it, none is taken."""
    async with open_logbook(place, Words()) as book:
        say(book, *map(str, range(5_000)))
    say(book, "too late")
    async with open_logbook(place, Words()) as again:
        assert await texts(again) == [str(n) for n in range(5_000)]


async def test_a_flood_is_dropped_counted_and_told(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The queue to the disk is bounded: what does not fit is counted, and the log says how many are missing."""
    book = Logbook(place, Words(per_function=64 * MIB, total=64 * MIB))
    text = "x" * 1000
    say(book, *[text] * 20_000)  # the thread has not begun
    book.start()
    try:
        found = await texts(book)
    finally:
        book.close()
    lost = book.figures.overload
    assert 0 < lost < 20_000
    assert found == [text] * (20_000 - lost) + [
        f"({lost} lines are missing: they came faster than they could be written)"
    ]


async def test_a_clock_set_back_confuses_nobody(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines stay in the order in which they came, across segments too."""
    now = time.time_ns()
    hours = [0, -3600, -7200, 10]
    async with open_logbook(place, Words(per_function=MIB)) as book:
        for number, shift in enumerate(hours):
            monkeypatch.setattr(time, "time_ns", lambda shift=shift: now + shift * 10**9)
            say(book, *(f"{number} {n} {'x' * 100}" for n in range(800)))
            await texts(book, tail=1)
        found = await texts(book)
        assert len(files(place)) > 3
        assert [text.rsplit(" ", 1)[0] for text in found] == [
            f"{number} {n}" for number in range(4) for n in range(800)
        ]
        assert await texts(book, tail=3) == found[-3:]


async def test_a_log_removed_by_hand_begins_anew(place: Path) -> None:
    """`rm -r` below the daemon: the next line is kept again."""
    async with open_logbook(place, Words()) as book:
        say(book, "one")
        await texts(book)
        shutil.rmtree(place)
        say(book, "two")
        assert await texts(book) == ["two"]


async def test_the_disk_is_left_to_the_queue(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that is almost full takes no lines; they are counted, and the log tells of them when there is room again."""
    free = 0

    def statvfs(_: object) -> os.statvfs_result:
        return os.statvfs_result((4096, 4096, 1 << 20, 1 << 20, free, 0, 0, 0, 0, 255))

    async with open_logbook(place, Words()) as book:
        say(book, "one")
        assert await texts(book) == ["one"]
        monkeypatch.setattr(writing.os, "statvfs", statvfs)
        say(book, "two", "three")
        assert await texts(book) == ["one"]
        assert book.figures.disk == 2
        say(book, "four")
        assert await texts(book) == ["one"]
        assert book.figures.disk == 3
        free = 1 << 19
        say(book, "five")
        assert await texts(book) == ["one", "(3 lines are missing: the disk is almost full)", "five"]
        assert book.figures.disk == 3


async def test_numbers_of_lines_match_the_names_of_segments(place: Path) -> None:
    """So a reader knows how many he has missed."""
    async with open_logbook(place, Words()) as book:
        say(book, *(f"{n} {'x' * 100}" for n in range(20_000)))
        await texts(book, tail=1)
    found = segments(place / directory_name("a.b"))
    for segment, after in pairwise(found):
        count = (place / directory_name("a.b") / segment.name).read_bytes().count(b"\n")
        assert segment.first + count == after.first
        assert segment.at < after.at

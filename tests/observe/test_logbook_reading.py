"""Reading a log while it is written, cut and removed, against a model of it."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from faasd_py.observe.logbook import Line, Wanted, open_logbook, reading
from faasd_py.observe.logbook import writer as writing
from faasd_py.observe.logbook.line import decode, encode
from faasd_py.observe.logbook.reading import Page, Position
from faasd_py.observe.logbook.segments import Segment, directory_name, segments
from faasd_py.observe.logbook.shelf import Shelf
from tests.observe.logbook_ground import MIB, Words, poll, say, texts

lines_ = st.builds(
    Line,
    st.integers(0, 60),
    st.just("stderr"),
    st.sampled_from(["1", "2"]),
    st.sampled_from(["", "c", 'q"☃']),
    st.text(max_size=30) | st.integers(0, 5_000).map("x".__mul__),
)
wanteds = st.builds(
    Wanted,
    st.sampled_from([0, 1, 20, 40, 61]),
    st.sampled_from([0, 1, 2, 7, 100]),
    st.sampled_from([None, "1", "3"]),
    st.sampled_from([None, "c", 'q"☃']),
)


def all_of(directory: Path, wanted: Wanted) -> list[Line]:
    """What is read from the start that is asked for to the end that is there."""
    until = reading.end(directory)
    position = reading.start(directory, wanted, until)
    found: list[Line] = []
    while not (page := reading.read(directory, position, wanted, until)).last:
        assert page.position > position, "each read goes on"
        found += page.lines
        position = page.position
    return found


def written(directory: Path, kept: list[Line], largest: int) -> Shelf:
    """A shelf with these lines, a batch of three at a time."""
    shelf = Shelf(directory)
    for start in range(0, len(kept), 3):
        batch = [encode(line) for line in kept[start : start + 3]]
        assert shelf.append(batch, max(line.at for line in kept[: start + 3]), largest, -1) == len(batch)
    shelf.close()
    return shelf


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(lines_, max_size=60), wanteds, st.sampled_from([300, 5_000, 1 << 20]))
def test_every_wanted_line_is_read_once_and_in_order(
    tmp_path_factory: pytest.TempPathFactory, kept: list[Line], wanted: Wanted, largest: int
) -> None:
    """Whatever is asked for, and however the segments lie; times grow as clocks do."""
    directory = tmp_path_factory.mktemp("log")
    kept.sort(key=lambda line: line.at)
    written(directory, kept, largest)
    expected = [line for line in kept if wanted.takes(line)]
    assert all_of(directory, wanted) == (expected[-wanted.tail :] if wanted.tail else expected)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(lines_, min_size=1, max_size=40), st.data())
def test_a_file_cut_anywhere_loses_only_what_is_cut(
    tmp_path_factory: pytest.TempPathFactory, kept: list[Line], data: st.DataObject
) -> None:
    """As a crash may cut it: what is whole is read, and what is written after that too."""
    directory = tmp_path_factory.mktemp("log")
    written(directory, kept, 1 << 20)
    (segment,) = segments(directory)
    path = directory / segment.name
    raw = path.read_bytes()
    cut = data.draw(st.integers(0, len(raw)))
    path.write_bytes(raw[:cut])
    left = kept[: raw[:cut].count(b"\n")]
    assert all_of(directory, Wanted()) == left
    more = Line(61, "stderr", "", "", "after")
    shelf = Shelf(directory)
    assert shelf.next == 1 + len(left)
    shelf.append([encode(more)], 61, 1 << 20, -1)
    shelf.close()
    assert all_of(directory, Wanted()) == [*left, more]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(["write", "read", "drop", "restart"]), max_size=60))
def test_a_reader_sees_each_line_or_is_told_that_it_is_missing(
    tmp_path_factory: pytest.TempPathFactory, moves: list[str]
) -> None:
    """Lines are written, the oldest segments removed, the daemon restarted, in any order, while somebody reads along."""
    directory = tmp_path_factory.mktemp("log")
    shelf, count, position, seen, missed = Shelf(directory), 0, Position(0, 0, 0), [], 0

    def look() -> Page:
        nonlocal position, missed
        page = reading.read(directory, position, Wanted())
        position = page.position
        for line in page.lines:
            if line.stream == "daemon":
                missed += int(line.text[1:].split()[0])
            else:
                seen.append(int(line.text))
        return page

    for move in moves:
        if move == "write":
            shelf.append([encode(Line(count, "stderr", "", "", str(count)))], count, 60, -1)
            count += 1
        elif move == "read":
            look()
        elif move == "drop" and len(shelf.segments) > 1:
            shelf.drop_oldest()
        elif move == "restart":
            shelf.close()
            shelf = Shelf(directory)
    while not look().last:
        pass
    shelf.close()
    assert seen == sorted(set(seen))
    if seen:
        assert seen[-1] == count - 1
        assert len(seen) + missed == count - seen[0]
    else:
        assert count == missed == 0


def test_a_reader_of_nothing_waits_for_the_first_line(tmp_path: Path) -> None:
    """A position in a log that is not there is before all of it."""
    directory = tmp_path / "log"
    assert reading.end(directory) == reading.start(directory, Wanted(tail=3), reading.end(directory))
    page = reading.read(directory, Position(0, 0, 0), Wanted())
    assert (page.lines, page.last) == ([], True)
    written(directory, [Line(1, "stderr", "", "", "one")], 100)
    assert [line.text for line in reading.read(directory, page.position, Wanted()).lines] == ["one"]


def test_a_rare_line_is_looked_for_piece_by_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No read takes longer than SCAN bytes: it returns without lines, and goes on."""
    directory = tmp_path / "log"
    kept = [Line(1, "stderr", "", "", "x" * 1000) for _ in range(400)]
    written(directory, [*kept, Line(2, "stderr", "", "rare", "y")], 1 << 20)
    monkeypatch.setattr(reading, "SCAN", 100_000)
    position, reads = Position(0, 0, 0), 0
    while not (page := reading.read(directory, position, Wanted(call_id="rare"))).lines:
        assert not page.last
        position, reads = page.position, reads + 1
    assert reads >= 3
    assert page.lines[0].text == "y"


def test_a_bound_is_kept_while_more_is_written(tmp_path: Path) -> None:
    """Who does not follow has an end, however fast the log grows behind it, also when all of it is removed meanwhile."""
    directory = tmp_path / "log"
    shelf = written(directory, [Line(n, "stderr", "", "", str(n)) for n in range(30)], 200)
    until = reading.end(directory)
    first = reading.read(directory, Position(0, 0, 0), Wanted(), until)
    shelf = Shelf(directory)
    shelf.append([encode(Line(99, "stderr", "", "", "late"))], 99, 200, -1)
    while len(shelf.segments) > 1:
        shelf.drop_oldest()
    position, found = first.position, [line.text for line in first.lines]
    while not (page := reading.read(directory, position, Wanted(), until)).last:
        position = page.position
        found += [line.text for line in page.lines]
    assert "late" not in found
    shelf.close()


@pytest.mark.parametrize(
    "name", ["x", "1-2.ndjson", "0000000000000001-00000000000000000001.ndjson.tmp", "lost+found"]
)
def test_strangers_in_the_directory_are_left_alone(tmp_path: Path, name: str) -> None:
    """What is not called as a segment is none."""
    directory = tmp_path / "log"
    directory.mkdir()
    (directory / name).write_text("hello\n")
    assert segments(directory) == []
    shelf = written(directory, [Line(1, "stderr", "", "", "one")], 100)
    assert [line.text for line in all_of(directory, Wanted())] == ["one"]
    shelf = Shelf(directory)
    shelf.drop_oldest()
    assert (directory / name).exists()


def test_names_of_segments_are_read_as_they_are_written(tmp_path: Path) -> None:
    """And sort as their numbers do."""
    names = [Segment(1, 5).name, Segment(20, 3).name, Segment(10**15, 2).name]
    assert names == sorted(names)
    for name in names:
        (tmp_path / name).touch()
    assert [segment.first for segment in segments(tmp_path)] == [1, 20, 10**15]


@pytest.mark.parametrize(
    "raw", [b"", b"null", b"[]", b"[1]", b'["1","","","",""]', b"[1,2,3,4,5]", b"\xff", b"\0", b"[" * 9999]
)
def test_what_is_no_line_is_none(raw: bytes) -> None:
    """Whatever lies there."""
    assert decode(raw) is None


async def test_the_thread_outlives_a_bug(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines of one batch are lost and counted; the next are kept."""
    async with open_logbook(tmp_path, Words()) as book:
        say(book, "one")
        assert await texts(book) == ["one"]
        with monkeypatch.context() as broken:
            broken.setattr(writing, "encode", lambda _: 1 / 0)
            say(book, "two", "three")
            with trio.fail_after(30):
                await poll(lambda: book.figures.disk == 2)
        say(book, "four")
        assert await texts(book) == ["one", "four"]
        assert book.figures.disk == 2


async def test_readers_do_not_take_all_threads(tmp_path: Path) -> None:
    """Others need them, too."""
    async with open_logbook(tmp_path, Words(per_function=MIB)) as book:
        say(book, "one")
        await texts(book)
        assert book._readers.total_tokens < 40
        assert (tmp_path / directory_name("a.b")).exists()

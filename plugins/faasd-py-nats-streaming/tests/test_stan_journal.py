"""The journal: every line survives the process, a torn end costs itself only."""

from __future__ import annotations

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faasd_py_nats_streaming import journal as journals
from faasd_py_nats_streaming.journal import Journal, Known

A, B = ("calls", 1, 100), ("calls", 2, 200)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "journal"


def test_what_was_written_is_known_to_the_next_life(path):
    """Attempts that ran, calls that wait, calls that are over, puts that were refused, figures."""
    one = Journal(path)
    assert one.fresh
    one.started(A, 1)
    one.waits(A, 1, 5.5)
    one.started(B, 2)
    one.ended(("calls", 3, 300))
    one.disown("id")
    one.note({"f": [1, 2, 3]})
    one.close()
    two = Journal(path)
    assert not two.fresh
    assert two.known == {A: Known(1, running=False, due=5.5), B: Known(2, running=True)}
    assert list(two.over) == [("calls", 3, 300)]
    assert list(two.disowned) == ["id"]
    assert two.figures == {"f": [1, 2, 3]}


def test_a_call_that_is_over_is_no_longer_running(path):
    """The last line counts."""
    one = Journal(path)
    one.started(A, 1)
    one.ended(A)
    assert Journal(path).known == {}
    assert A in Journal(path).over


@given(cut=st.integers(0, 400), flip=st.integers(0, 400))
@settings(max_examples=60, deadline=None)
def test_a_damaged_end_costs_only_itself(tmp_path_factory, cut, flip):
    """Cut anywhere, or with a wrong byte anywhere: what is before it is read, and it can be written to."""
    path = tmp_path_factory.mktemp("j") / "journal"
    one = Journal(path)
    for number in range(10):
        one.started(("calls", number, number), number)
    one.close()
    data = bytearray(path.read_bytes())
    if flip < len(data):
        data[flip] ^= 0x55
    path.write_bytes(data[:cut] if cut < len(data) else data)
    two = Journal(path)
    known = [place[1] for place in two.known]
    assert known == list(range(len(known)))
    two.started(A, 9)
    two.close()
    assert Journal(path).known[A].attempts == 9


def test_it_is_written_anew_with_what_is_needed(path):
    """What our hands hold, what an earlier life knew and nobody has seen again, and what is over."""
    one = Journal(path)
    one.started(B, 7)
    one.close()
    two = Journal(path)
    for number in range(2000):
        two.started(A, number)
    two.ended(("calls", 3, 300))
    size = path.stat().st_size
    two.compact([(A, Known(1999, running=True))])
    assert path.stat().st_size < size / 10
    two.waits(A, 1999, None)
    two.close()
    three = Journal(path)
    assert three.known == {B: Known(7, running=True), A: Known(1999, running=False)}
    assert ("calls", 3, 300) in three.over


def test_old_ends_are_forgotten(path, monkeypatch):
    """Bounded, oldest first."""
    one = Journal(path)
    for number in range(journals.REMEMBERED + 10):
        one.remember(("calls", number, 1))
    assert len(one.over) == journals.REMEMBERED
    assert ("calls", 0, 1) not in one.over
    assert ("calls", 10, 1) in one.over
    for number in range(journals.REMEMBERED + 10):
        one.disowned[str(number)] = None
    one.disown("last")
    assert "last" in one.disowned


def test_a_full_disk_leaves_the_file_whole(path, monkeypatch):
    """Half a line is cut away again: the next one is read."""
    one = Journal(path)
    one.started(A, 1)
    real = os.write
    monkeypatch.setattr(journals.os, "write", lambda handle, data: real(handle, data[: len(data) // 2]))
    with pytest.raises(OSError, match="No space"):
        one.started(A, 2)
    with pytest.raises(OSError, match="No space"):
        one.compact([(A, Known(1, running=True))])
    monkeypatch.undo()
    one.started(B, 3)
    one.sync()
    assert Journal(path).known == {A: Known(1, running=True), B: Known(3, running=True)}


def test_lines_of_a_later_version_are_passed_over(path, caplog):
    """With a word about it."""
    one = Journal(path)
    one._append(("Z", 1))
    one.started(A, 1)
    assert Journal(path).known == {A: Known(1, running=True)}
    assert "not known" in caplog.text

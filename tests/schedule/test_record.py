"""The last slots on disk: whole or not at all."""

import logging
from math import inf

import pytest

from faasd_py.schedule.record import Last, Record

HOURLY = ("@hourly",)


async def test_it_is_there_after_a_restart(tmp_path):
    """With the expressions that it was due by."""
    record = Record(tmp_path)
    assert record.last("f.ns") == -inf
    assert not record.knows("f.ns", HOURLY)
    record.note("f.ns", Last(7200.0, HOURLY))
    await record.save()
    again = Record(tmp_path)
    assert again.last("f.ns") == 7200
    assert again.knows("f.ns", HOURLY)
    assert not again.knows("f.ns", ("@daily",))
    assert [path.name for path in tmp_path.iterdir()] == ["last.json"]


async def test_who_is_gone_is_forgotten(tmp_path):
    """The file does not grow with functions that there were."""
    record = Record(tmp_path)
    for label in ("a.ns", "b.ns"):
        record.note(label, Last(1.0, HOURLY))
    assert record.keep({"a.ns"})
    assert not record.keep({"a.ns"})
    assert record.last("b.ns") == -inf


@pytest.mark.parametrize("text", ["", "{", "[]", '{"f.ns": 5}', "\0" * 100])
async def test_a_damaged_file_is_set_aside(tmp_path, caplog, text):
    """It is told, kept for who wants to look, and begun anew."""
    (tmp_path / "last.json").write_text(text)
    with caplog.at_level(logging.ERROR):
        record = Record(tmp_path)
    assert record.last("f.ns") == -inf
    assert "last.json cannot be read and is set aside as last.damaged" in caplog.text
    assert (tmp_path / "last.damaged").read_text() == text
    record.note("f.ns", Last(1.0, HOURLY))
    await record.save()
    assert Record(tmp_path).last("f.ns") == 1


async def test_a_half_written_file_is_not_looked_at(tmp_path):
    """A crash while it was written left the old one as it was."""
    record = Record(tmp_path)
    record.note("f.ns", Last(1.0, HOURLY))
    await record.save()
    (tmp_path / "last.new").write_text('{"f.ns": [2.0, [')
    assert Record(tmp_path).last("f.ns") == 1


async def test_a_broken_disk_is_said(tmp_path):
    """The caller decides what that means."""
    record = Record(tmp_path / "gone")
    record.note("f.ns", Last(1.0, HOURLY))
    with pytest.raises(OSError, match="gone"):
        await record.save()

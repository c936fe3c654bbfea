"""The pump, the log lines, and the output that waits: each on real pipes and files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import trio

from faasd_py.runtime import lines, output
from faasd_py.runtime.child import Child
from faasd_py.runtime.lines import Lines
from faasd_py.runtime.output import Output
from faasd_py.runtime.pipes import outlet
from faasd_py.runtime.pump import Pump
from faasd_py.testing.recorder import Recorder

from .places import Log, eventually


@pytest.fixture
async def pump(nursery):
    pump = Pump()
    nursery.start_soon(pump.run)
    yield pump
    pump.stop()


async def test_a_callback_for_each_pipe(pump):
    """It is called while there is something, and at the end."""
    ours, theirs = outlet()
    seen = []

    def ready():
        seen.append(os.read(ours, 2))
        if not seen[-1]:
            pump.remove(ours)

    pump.add(ours, ready)
    pump.add(ours, ready)
    os.write(theirs, b"abc")
    await eventually(lambda: seen == [b"ab", b"c"])
    os.close(theirs)
    await eventually(lambda: seen == [b"ab", b"c", b""])
    assert len(pump) == 0
    pump.remove(ours)
    os.close(ours)


async def test_a_pump_outlives_cancellation():
    """What is cleaned up under a shield still hears of its processes."""
    pump, ours = Pump(), outlet()
    with trio.move_on_after(5) as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pump.run)
            scope.cancel()
            with trio.CancelScope(shield=True):
                heard = trio.Event()
                pump.add(ours[0], heard.set)
                os.write(ours[1], b"x")
                await heard.wait()
                pump.remove(ours[0])
            pump.stop()
    for fd in ours:
        os.close(fd)


@pytest.fixture
def logged(pump):
    """A pipe into a log."""
    log, (ours, theirs) = Log(), outlet()
    child = Child(1, lambda: None, lambda: None)
    child.pid = 42
    made = Lines(pump, ours, log, stream="stdout", call_id="c")
    return made, log, theirs, child


async def test_lines(logged):
    """Cut at LF, without CR; the last one even without its end."""
    made, log, theirs, child = logged
    made.follow(child)
    os.write(theirs, b"one\r\ntw")
    await eventually(lambda: log.lines == [("stdout", "one", "42", "c")])
    os.write(theirs, b"o\n\nthree")
    await eventually(lambda: log.texts == ["one", "two", ""])
    os.close(theirs)
    made.close(child)
    made.close(child)
    assert log.texts == ["one", "two", "", "three"]


async def test_lines_of_a_quick_process(logged):
    """Nobody followed it: what lies in the pipe is logged at the end."""
    made, log, theirs, child = logged
    os.write(theirs, b"a\nb")
    os.close(theirs)
    made.close(child)
    assert [line[1:3] for line in log.lines] == [("a", "42"), ("b", "42")]


async def test_very_many_last_lines(logged):
    """A pipe full of empty lines does not become 65536 records at once."""
    made, log, theirs, child = logged
    os.write(theirs, b"\n" * 60_000)
    os.close(theirs)
    made.close(child)
    assert len(log.lines) == 1001
    assert log.texts[-1] == "(59000 more lines are left out)"


async def test_long_lines(logged):
    """They are cut; memory stays bounded although no end of line ever comes."""
    made, log, theirs, child = logged
    made.follow(child)
    for _ in range(10):
        os.write(theirs, b"x" * 10_000)
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert len(made._part) <= lines.MAX_LINE
    os.close(theirs)
    made.close(child)
    assert sum(map(len, log.texts)) == 100_000
    assert max(map(len, log.texts)) == lines.MAX_LINE


async def sent(out):
    reply = Recorder()
    await reply.start(200, b"", None)
    await out.send(reply)
    return reply.body


async def test_small_output():
    """It stays in memory."""
    out = Output()
    assert out.add(b"ab")
    assert out.add(b"c")
    assert (out.small, out.size, out.start, out.whole(), await sent(out)) == (True, 3, b"ab", b"abc", b"abc")


async def test_spilled_output(monkeypatch):
    """Beyond MEMORY it goes to a file, beyond DISK it is full; nothing is lost, and the file goes."""
    monkeypatch.setattr(output, "MEMORY", 10)
    monkeypatch.setattr(output, "DISK", 30)
    out, files = Output(), sum(1 for _ in Path("/proc/self/fd").iterdir())
    assert not out.add(b"0123456789")
    await out.spill()
    assert (out.small, out.held, out.full) == (False, 0, False)
    assert not out.add(b"abcdefghijk")
    await out.spill()
    assert not out.full
    assert out.add(b"rest")
    assert await sent(out) == b"0123456789abcdefghijkrest"
    out.add(b"more than enough")
    await out.spill()
    assert out.full
    out.close()
    assert sum(1 for _ in Path("/proc/self/fd").iterdir()) == files

"""The spawn helpers: starting, ending, and what happens when they or the daemon die."""

from __future__ import annotations

import os
import random
import resource
import signal
import subprocess
import sys
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import trio

from faasd_py.core.errors import FunctionUnavailable
from faasd_py.runtime.machinery import open_machinery
from faasd_py.runtime.nursery import open_nursery
from faasd_py.runtime.process import open_fork
from faasd_py.runtime.session import members
from faasd_py.testing.recorder import Recorder
from faasd_py.testing.runtime_conformance import request

from .places import Log, eventually, running, shell, site


class Started:
    """A child and what was heard of it."""

    def __init__(self):
        self.running = trio.Event()
        self.ended = trio.Event()

    async def spawn(self, machinery, command):
        program = machinery.program(command[0], command, {b"PATH": b"/bin:/usr/bin"}, "/")
        fds = (machinery.null, machinery.null, machinery.null)
        self.child = await machinery.spawn(program, {}, fds, self.running.set, self.ended.set)
        return self.child


async def spawned(machinery, command):
    started = Started()
    await started.spawn(machinery, command)
    return started


async def test_no_helper_before_the_first_process(machinery):
    """An install without forked functions pays nothing."""
    assert machinery.helpers == []
    started = await spawned(machinery, ["/bin/true"])
    await started.ended.wait()
    assert len(machinery.helpers) == 1


async def test_what_is_heard_of_a_process(machinery):
    """A quick one: its end, with pid and status. One that takes its time: that it runs, too."""
    quick = await spawned(machinery, shell("exit 7"))
    await quick.ended.wait()
    assert os.waitstatus_to_exitcode(quick.child.status) == 7
    assert quick.child.gone
    slow = await spawned(machinery, ["/bin/sleep", "1000"])
    await slow.running.wait()
    assert running(slow.child.pid)
    assert not slow.child.over
    await machinery.stop(slow.child, 5)
    assert os.waitstatus_to_exitcode(slow.child.status) == -signal.SIGTERM
    assert repr(slow.child).endswith("gone>")
    await machinery.stop(slow.child, 5)
    await machinery.kill(slow.child)


async def test_a_second_helper_when_the_first_is_busy(machinery):
    """Two at most; the work is shared."""
    children = []

    async def shared():
        children.append(await spawned(machinery, ["/bin/sleep", "1000"]))
        await children[-1].running.wait()
        return {parent(each.child.pid) for each in children} == set(machinery.helpers)

    for _ in range(3):
        assert await shared()
    assert len(machinery.helpers) == 1
    with trio.fail_after(10):
        while not await shared() or len(machinery.helpers) < min(2, os.cpu_count()):
            pass
    assert len(machinery.children) == len(children)


def parent(pid):
    return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])


async def test_closing_kills_everything():
    """Also what ignores TERM, and what has left its group."""
    async with open_machinery() as machinery:
        stubborn = await spawned(machinery, shell("trap '' TERM; sleep 1000 & wait"))
        await stubborn.running.wait()
        pid, helpers = stubborn.child.pid, machinery.helpers
    assert not running(pid)
    assert not any(running(helper) for helper in helpers)


async def test_a_cancelled_machinery_cleans_up():
    """A hard stop waits for no grace but leaves nothing."""
    with trio.move_on_after(5) as scope:
        async with open_machinery() as machinery:
            started = await spawned(machinery, ["/bin/sleep", "1000"])
            await started.running.wait()
            pid = started.child.pid
            scope.cancel()
            await trio.sleep_forever()
    assert not running(pid)


async def test_a_helper_that_dies(machinery, tmp_path, caplog):
    """Its processes are killed and their calls fail; the next call starts another helper."""
    log = Log()
    async with open_fork(
        site(machinery, tmp_path, log=log, command=shell("echo $$ >&2; sleep 1000"))
    ) as runtime:
        with pytest.raises(FunctionUnavailable, match="the process that starts functions has ended"):
            async with open_nursery() as nursery:
                nursery.start_soon(runtime.invoke, request("x"), Recorder())
                await eventually(lambda: log.lines and log.lines[0][2])
                old = machinery.helpers[0]
                os.kill(old, signal.SIGKILL)
        await eventually(lambda: not running(int(log.texts[0])))
    assert "has ended; another is started" in caplog.text.replace(f" (pid {old})", "")
    async with open_fork(site(machinery, tmp_path, command=["/bin/cat"])) as runtime:
        reply = Recorder()
        await runtime.invoke(request("x", b"again"), reply)
    assert reply.body == b"again"
    assert old not in machinery.helpers


async def test_a_helper_that_dies_at_any_moment(machinery):
    """Also processes that it had not yet reported are ended, and every call hears of it."""
    for _ in range(10):
        started = [await spawned(machinery, shell("sleep 1000 & sleep 1000")) for _ in range(3)]
        helpers = machinery.helpers
        await trio.sleep(random.random() * 0.01)
        for helper in helpers:
            os.kill(helper, signal.SIGKILL)
        for each in started:
            await each.ended.wait()
            assert each.child.failure
        await eventually(lambda helpers=helpers: not any(members(helper) for helper in helpers))


async def test_a_helper_ignores_signals_meant_for_the_daemon(machinery):
    """A service manager's TERM to the whole control group, or Ctrl-C, leaves running functions to the drain."""
    started = await spawned(machinery, ["/bin/sleep", "1000"])
    await started.running.wait()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        os.kill(machinery.helpers[0], number)
    await machinery.stop(started.child, 5)
    assert started.child.gone
    assert len(machinery.helpers) == 1


async def test_no_more_descriptors(machinery, tmp_path):
    """Without descriptors a call fails with the reason, and the next works."""
    async with open_fork(site(machinery, tmp_path, command=["/bin/cat"])) as runtime:
        await runtime.invoke(request("x", b"warm up"), Recorder())
        with few_descriptors(left=3):
            before = open_descriptors()
            with pytest.raises(FunctionUnavailable, match="Too many open files"):
                await runtime.invoke(request("x", b"body"), Recorder())
            assert open_descriptors() == before
        reply = Recorder()
        await runtime.invoke(request("x", b"body"), reply)
        assert reply.body == b"body"


@contextmanager
def few_descriptors(left):
    """So many can be opened, and no more."""
    limits, taken = resource.getrlimit(resource.RLIMIT_NOFILE), []
    resource.setrlimit(resource.RLIMIT_NOFILE, (300, limits[1]))
    try:
        with suppress(OSError):
            while True:
                taken.append(os.open("/dev/null", os.O_RDONLY))
        for _ in range(left):
            os.close(taken.pop())
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        for fd in taken:
            os.close(fd)


def open_descriptors():
    return {path.name for path in Path("/proc/self/fd").iterdir()}


async def test_a_burst_larger_than_the_socket(machinery, tmp_path):
    """Requests that do not fit into the socket to the helper wait for it; all are served."""
    text = b"x" * 30_000
    async with open_fork(site(machinery, tmp_path, command=["/bin/cat"])) as runtime:
        replies = [Recorder() for _ in range(60)]
        async with trio.open_nursery() as nursery:
            for number, reply in enumerate(replies):
                invocation = request("x", b"%d" % number, headers=b"A: %s\r\nB: %s\r\n" % (text, text))
                nursery.start_soon(runtime.invoke, invocation, reply)
        assert [reply.body for reply in replies] == [b"%d" % number for number in range(60)]


DAEMON = """
import sys, trio
from faasd_py.runtime.machinery import open_machinery
async def main():
    async with open_machinery() as machinery:
        null = machinery.null
        for text in sys.argv[1:]:
            program = machinery.program("/bin/sh", ["/bin/sh", "-c", text], {b"PATH": b"/bin:/usr/bin"}, "/")
            await machinery.spawn(program, {}, (null, null, null), lambda: None, lambda: None)
        await trio.sleep_forever()
trio.run(main)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGABRT])
async def test_a_daemon_that_dies(tmp_path, number):
    """However it dies, no function survives it: not those that ignore TERM, nor those that left their group."""
    files = [tmp_path / name for name in ("plain", "child", "stubborn", "escaped")]
    texts = [
        f"echo $$ > {files[0]}; exec sleep 1000",
        f"sleep 1000 & echo $! > {files[1]}; wait",
        f"trap '' TERM HUP; echo $$ > {files[2]}; sleep 1000 & wait; sleep 1000",
        f"setsid sh -c 'echo $$ > {files[3]}; sleep 1000 & wait' & wait",
    ]
    daemon = subprocess.Popen([sys.executable, "-c", DAEMON, *texts])
    try:
        await eventually(lambda: all(file.exists() and file.read_text().endswith("\n") for file in files))
        pids = [int(file.read_text()) for file in files]
        assert all(running(pid) for pid in pids)
    finally:
        daemon.send_signal(number)
        daemon.wait()
    await eventually(lambda: not any(running(pid) for pid in pids))

"""What a process group uses, as /proc has it."""

from __future__ import annotations

import subprocess
import sys

import trio

from faasd_py.runtime import usages
from faasd_py.runtime.contract import Usage
from faasd_py.runtime.session import usages as usages_of_all

SPEND = "import time\nwhile time.process_time() < 0.2: pass"
PARENT = (
    f"import subprocess, sys; subprocess.run([sys.executable, '-c', {SPEND!r}]); print(flush=True); input()"
)


def test_what_a_group_uses():
    """Its members, and the children that it waited for."""
    with subprocess.Popen(
        [sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, process_group=0
    ) as process:
        process.stdout.readline()
        found = usages_of_all()[process.pid]
        assert found.cpu_seconds >= 0.18
        assert 1 << 20 < found.memory_bytes < 1 << 30
    assert process.pid not in usages_of_all()


def test_of_two_members_both_count():
    """Not only the first."""
    command = [sys.executable, "-c", "print(flush=True); input()"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, process_group=0, **pipes) as one:
        one.stdout.readline()
        alone = usages_of_all()[one.pid].memory_bytes
        with subprocess.Popen(command, process_group=one.pid, **pipes) as other:
            other.stdout.readline()
            assert usages_of_all()[one.pid].memory_bytes > 1.5 * alone


async def test_one_look_for_all_who_ask(monkeypatch, autojump_clock):
    """Also for those who ask soon after; nobody is told what is old."""
    looks = []

    def look():
        looks.append(None)
        return {7: Usage(len(looks), 0)}

    monkeypatch.setattr(usages, "usages", look)
    asked = usages.Usages()
    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(asked.of, 7)
    assert (await asked.of(7), await asked.of(8), len(looks)) == (Usage(1, 0), None, 1)
    await trio.sleep(0.2)
    assert await asked.of(7) == Usage(2, 0)

"""What a process group uses, as /proc has it."""

from __future__ import annotations

import subprocess
import sys

from faasd_py.runtime.session import usage_of

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
        found = usage_of(process.pid)
        assert found.cpu_seconds >= 0.18
        assert 1 << 20 < found.memory_bytes < 1 << 30
    assert usage_of(process.pid) is None


def test_of_two_members_both_count():
    """Not only the first."""
    command = [sys.executable, "-c", "print(flush=True); input()"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, process_group=0, **pipes) as one:
        one.stdout.readline()
        alone = usage_of(one.pid).memory_bytes
        with subprocess.Popen(command, process_group=one.pid, **pipes) as other:
            other.stdout.readline()
            assert usage_of(one.pid).memory_bytes > 1.5 * alone

"""What a server costs: CPU seconds and memory of a process and all below it, as /proc has them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

TICK = 1.0 / os.sysconf("SC_CLK_TCK")
PATIENCE = 20.0


class Server:
    """A running program that listens on a port of loopback's."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], port: int) -> None:
        self.name = name
        self.process = process
        self.port = port

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def cpu(self) -> float:
        """CPU seconds so far: it, its children, and those of them that have ended."""
        return sum(_ticks(pid) for pid in tree(self.process.pid)) * TICK

    def precise_cpu(self) -> float:
        """CPU seconds so far of it and its children that live, to the nanosecond: for what costs next to nothing.

        Threads that have ended are in it, so it never goes back while the same processes live.
        """
        return sum(_seconds(pid) for pid in tree(self.process.pid))

    def memory(self, key: str = "VmRSS") -> int:
        """Bytes resident, of it and all below it; `VmHWM`: the most since `forget_peak`, of it alone."""
        pids = [self.process.pid] if key == "VmHWM" else tree(self.process.pid)
        return sum(_status(pid, key) for pid in pids)

    def forget_peak(self) -> None:
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")

    def wait_open(self, log: Path) -> None:
        """Return when it takes connections."""
        end = time.monotonic() + PATIENCE
        while not answers(self.port):
            if self.process.poll() is not None or time.monotonic() > end:
                said = log.read_text(errors="replace")[-2000:]
                raise RuntimeError(f"{self.name} does not listen (ended: {self.process.returncode})\n{said}")
            time.sleep(0.005)

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(PATIENCE)


@contextmanager
def serving(
    name: str, command: list[str], port: int, log: Path, environment: dict[str, str] | None = None
) -> Iterator[Server]:
    """Start a server, wait until it listens, stop it at the end."""
    with log.open("ab") as said:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=said, stderr=said, env=os.environ | (environment or {})
        )
    server = Server(name, process, port)
    try:
        server.wait_open(log)
        yield server
    finally:
        server.stop()


def answers(port: int) -> bool:
    """Whether somebody takes connections there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def tree(pid: int) -> list[int]:
    """A process and all below it."""
    found = [pid]
    for parent in found:
        with suppress(OSError):  # it may end while it is looked at
            for task in Path(f"/proc/{parent}/task").glob("*/children"):
                with suppress(OSError):
                    found += map(int, task.read_text().split())
    return found


def _ticks(pid: int) -> int:
    with suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return sum(map(int, fields[11:15]))  # utime, stime, cutime, cstime: proc(5)
    return 0


def _seconds(pid: int) -> float:
    """The clock of a process's CPU time: MAKE_PROCESS_CPUCLOCK(pid, CPUCLOCK_SCHED), clock_getcpuclockid(3)."""
    with suppress(OSError):
        return time.clock_gettime((~pid << 3) | 2)
    return 0.0


def _status(pid: int, key: str) -> int:
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith(f"{key}:"):
                return int(line.split()[1]) * 1024
    return 0

"""Hubs and spokes as processes of their own, driven by lines: what a test kills for real."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

PROGRAM = Path(__file__).with_name("program.py")


class Process:
    """A program of `program.py`; what it prints, line by line as JSON, lies in `said`."""

    def __init__(self, *words: str, netns: str = "") -> None:
        command = [sys.executable, str(PROGRAM), *words]
        if netns:
            command = ["ip", "netns", "exec", netns, *command]
        self.said: list[dict] = []
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("{"):
                self.said.append(json.loads(line))

    def of(self, what: str) -> list:
        return [line[what] for line in list(self.said) if what in line]

    def say(self, word: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(word + "\n")
        self.process.stdin.flush()

    def kill(self) -> None:
        os.kill(self.process.pid, signal.SIGKILL)
        self.close()

    def close(self) -> None:
        if self.process.poll() is None:
            os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait(10)
        self._reader.join(10)
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()


@contextmanager
def started(*words: str, netns: str = ""):
    process = Process(*words, netns=netns)
    try:
        yield process
    finally:
        process.close()


def until(true, within: float = 20.0, what: str = "") -> None:
    """A bounded poll on something real."""
    deadline = time.monotonic() + within
    while not true():
        assert time.monotonic() < deadline, f"not within {within} s: {what}"
        time.sleep(0.01)

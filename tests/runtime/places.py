"""Where test functions run: a site with a log that is kept."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from faasd_py.config import FunctionSettings
from faasd_py.hookspecs import RuntimeSite
from faasd_py.runtime.machinery import open_machinery
from faasd_py.runtime.ports import Ports

PYTHON = [sys.executable, "-I", "-S"]


class Log:
    """A FunctionLog that is kept."""

    def __init__(self) -> None:
        self.lines = []

    def line(self, text, *, stream="stderr", instance="", call_id=""):
        self.lines.append((stream, text, instance, call_id))

    @property
    def texts(self):
        return [line[1] for line in self.lines]


def site(machinery, directory, *, secrets=None, log=None, **settings) -> RuntimeSite:
    return RuntimeSite(
        name="f",
        namespace="openfaas-fn",
        settings=FunctionSettings(**settings),
        directory=Path(directory),
        secrets=Path(secrets or directory),
        log=log if log is not None else Log(),
        machinery=machinery,
    )


def free_port() -> int:
    """A port that nobody has at the moment."""
    ports = Ports()
    port = ports.take()
    ports.give_back(port)
    return port


def script(text: str) -> list[str]:
    """A command that runs Python."""
    return [*PYTHON, "-c", text]


def shell(text: str) -> list[str]:
    return ["/bin/sh", "-c", text]


@asynccontextmanager
async def alone(open_mode: Callable, **settings) -> AsyncIterator:
    """A runtime with machinery and directory of its own."""
    with tempfile.TemporaryDirectory() as directory:
        async with (
            open_machinery() as machinery,
            open_mode(site(machinery, directory, **settings)) as runtime,
        ):
            yield runtime


async def eventually(condition, within=10.0):
    """Poll a real condition."""
    with trio.fail_after(within):
        while not condition():  # noqa: ASYNC110 - processes tell nobody
            await trio.sleep(0.005)


def running(pid: int) -> bool:
    """Whether a process of that pid exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False

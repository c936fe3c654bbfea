"""Confined functions in a whole daemon: its private sockets, its files, and what the operator is told."""

from __future__ import annotations

import pytest

from tests.house.daemon import PYTHON, running

KNOCK = """
import socket, sys
wire = socket.socket(socket.AF_UNIX)
wire.settimeout(20)
wire.connect(sys.argv[1])
try:
    wire.sendall(b"GET /system/queue HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n")
except BrokenPipeError:
    pass  # it has refused before anything was asked
try:
    said = wire.recv(4000)
except ConnectionResetError:
    said = wire.recv(4000)
print(said.split()[1].decode())
"""


def knocks(path, **more):
    return {"command": [*PYTHON, "-c", KNOCK, str(path)], **more}


@pytest.fixture(scope="module")
def daemon(tmp_path_factory):
    root = tmp_path_factory.mktemp("confined")
    run, limits = root / "run", {"cpu": 1, "best_effort": True}
    functions = {
        "plain": knocks(run / "admin.sock"),
        "confined": knocks(run / "admin.sock", limits=limits),
        "control": knocks(run / "control.sock", limits=limits),
        "reads": {"command": ["sh", "-c", f"cat {root}/state/queue/* | wc -c"], "limits": limits},
        "plainly": {"command": ["sh", "-c", f"cat {root}/state/queue/* | wc -c"]},
    }
    with running(root, functions) as one:
        one.wait_healthy()
        yield one


def test_the_private_sockets_are_closed_to_confined_functions(daemon):
    """Though they are the daemon's own user; to one that is not confined, and to the command line, they are open."""
    assert daemon.ask("POST", "/function/plain").body == b"200\n"
    assert daemon.ask("POST", "/function/confined").body == b"403\n"
    assert daemon.ask("POST", "/function/control").body == b"403\n"
    assert daemon.cli("functions").returncode == 0


def test_the_queue_is_closed_to_confined_functions(daemon):
    """Its files cannot be read; without the wall they can."""
    assert daemon.ask("POST", "/function/reads").body == b"0\n"
    assert int(daemon.ask("POST", "/function/plainly").body) > 0


def test_the_log_says_what_can_be_enforced(daemon):
    """Once, at the start."""
    [line] = [line for line in daemon.log.splitlines() if "confinement: " in line]
    assert "without " in line or "all of it can be enforced" in line

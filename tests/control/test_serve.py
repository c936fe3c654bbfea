"""The sockets of the control plane: private, there at once, gone afterwards."""

import os
import socket
import stat
import subprocess
import sys
from functools import partial

import pytest
import trio

from faasd_py.control.private_socket import private_socket
from faasd_py.control.serve import serve_control
from faasd_py.core.errors import BootError
from faasd_py.core.lifecycle import State
from faasd_py.core.outcome import Outcome
from tests.control.conftest import exchange

NAMES = ("control.sock", "admin.sock")


async def test_both_sockets_are_private(served):
    """Mode 0600: whoever may open the file is trusted."""
    for name in NAMES:
        mode = (served / name).stat().st_mode
        assert stat.S_ISSOCK(mode)
        assert stat.S_IMODE(mode) == 0o600


async def test_the_sockets_go_with_the_server(daemon, tmp_path):
    """Nothing is left behind when it is cancelled."""
    async with trio.open_nursery() as nursery:
        await nursery.start(serve_control, daemon, tmp_path)
        assert (await exchange(tmp_path / "control.sock", "GET", "/healthz")).status == 200
        nursery.cancel_scope.cancel()
    assert list(tmp_path.iterdir()) == []


async def test_it_can_be_told_to_stop(daemon, tmp_path):
    """`stop` returning ends it by itself, idle connections and all."""
    stop = trio.Event()
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            await nursery.start(partial(serve_control, daemon, tmp_path, stop=stop.wait))
            assert (await exchange(tmp_path / "control.sock", "GET", "/healthz")).status == 200
            idle = await trio.open_unix_socket(str(tmp_path / "control.sock"))
            stop.set()
    await idle.aclose()
    assert list(tmp_path.iterdir()) == []


async def test_stopped_while_the_framework_is_imported(daemon, tmp_path):
    """Cancelled at once, it leaves at once."""
    with trio.move_on_after(0):
        await serve_control(daemon, tmp_path)
    assert list(tmp_path.iterdir()) == []


async def test_a_dead_daemons_socket_is_replaced(daemon, tmp_path, nursery):
    """After kill -9 the files lie there and nobody listens."""
    for name in NAMES:
        with socket.socket(socket.AF_UNIX) as left:
            left.bind(str(tmp_path / name))
    await nursery.start(serve_control, daemon, tmp_path)
    assert (await exchange(tmp_path / "control.sock", "GET", "/healthz")).status == 200


async def test_a_living_daemons_socket_is_not_taken(daemon, served):
    """The second one says so, and the first one goes on."""
    with pytest.raises(BootError, match=r"control.sock: address already in use"):
        await serve_control(daemon, served)
    assert (await exchange(served / "control.sock", "GET", "/healthz")).status == 200


def test_something_else_in_the_place(tmp_path):
    """A file that is no socket is left alone, and named."""
    (tmp_path / "x.sock").write_text("precious")
    with (
        pytest.raises(BootError, match=r"x.sock: there is a file that is not a socket"),
        private_socket(tmp_path / "x.sock"),
    ):
        pass
    assert (tmp_path / "x.sock").read_text() == "precious"


def test_a_directory_that_is_not_there(tmp_path):
    """One sentence with the path."""
    with (
        pytest.raises(BootError, match=r"no/x.sock: no such file or directory"),
        private_socket(tmp_path / "no" / "x.sock"),
    ):
        pass


def test_a_path_that_is_too_long(tmp_path):
    """Unix sockets have short paths: the sentence names it."""
    with pytest.raises(BootError, match=r"too long"), private_socket(tmp_path / ("x" * 200)):
        pass


def test_a_successors_socket_is_left_alone(tmp_path):
    """Leaving removes our own file only."""
    path = tmp_path / "x.sock"
    with private_socket(path):
        path.unlink()
        path.write_text("a successor's")
    assert path.read_text() == "a successor's"


def test_the_socket_is_closed_in_children(tmp_path):
    """No function inherits the control plane's sockets."""
    with private_socket(tmp_path / "x.sock") as listener:
        assert not os.get_inheritable(listener.fileno())


def test_requests_wait_while_the_framework_is_imported():
    """Started means that one can connect; nothing of quart is loaded on the way to there."""
    code = """
import sys, tempfile, trio
from pathlib import Path
from types import SimpleNamespace
from faasd_py.observe.metrics import Metrics
from faasd_py.control import serve
async def main():
    async with trio.open_nursery() as nursery:
        made = serve._make
        def late(daemon, confines):
            loaded.append([name for name in ("quart", "hypercorn") if name in sys.modules])
            return made(daemon, confines)
        loaded, serve._make = [], late
        with tempfile.TemporaryDirectory() as directory:
            await nursery.start(serve.serve_control, SimpleNamespace(events=None, metrics=Metrics()), Path(directory))
            stream = await trio.open_unix_socket(directory + "/control.sock")
            await stream.send_all(b"GET /nothing HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n")
            answer = await stream.receive_some()
            nursery.cancel_scope.cancel()
    assert loaded == [[]], loaded
    assert answer.startswith(b"HTTP/1.1 404"), answer
trio.run(main)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("way", ["stop", "cancel"])
async def test_a_client_that_does_not_read_holds_nothing_up(daemon, tmp_path, way):
    """Its answer is in the middle of being sent when the daemon is to end: it ends all the same, within the grace."""
    call = daemon.queue.add(State.DONE)
    daemon.queue.results[call] = Outcome(status=200, body=b"x" * 8_000_000, size=8_000_000)
    stop = trio.Event()
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            serve = partial(serve_control, daemon, tmp_path, stop=stop.wait)
            await nursery.start(serve)
            stream = await trio.open_unix_socket(str(tmp_path / "admin.sock"))
            await stream.send_all(
                f"GET /system/calls/{call}/result/body HTTP/1.1\r\nHost: x\r\n\r\n".encode()
            )
            assert (await stream.receive_some(12)) == b"HTTP/1.1 200"
            if way == "stop":
                stop.set()
            else:
                nursery.cancel_scope.cancel()
    await stream.aclose()


async def test_connections_are_kept_alive(served):
    """The door's pool sends request after request over one connection."""
    stream = await trio.open_unix_socket(str(served / "control.sock"))
    async with stream:
        for _ in range(3):
            await stream.send_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            answer = b""
            while not answer.endswith(b"\r\n\r\nOK"):
                answer += await stream.receive_some()
            assert answer.startswith(b"HTTP/1.1 200")


async def test_a_client_that_goes_away_is_nobodys_problem(served):
    """Half a request and gone: the next one is served."""
    for _ in range(3):
        stream = await trio.open_unix_socket(str(served / "admin.sock"))
        await stream.send_all(
            b"POST /system/calls/purge HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc"
        )
        await stream.aclose()
    assert (await exchange(served / "admin.sock", "GET", "/system/queue")).status == 200

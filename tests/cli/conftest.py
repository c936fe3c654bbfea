"""A command line to talk to: in this process, with a daemon's desk and a gateway beside it in threads."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import trio

from faasd_py.cli import main
from faasd_py.control.serve import serve_control
from tests.control.conftest import FakeHouse


class Said:
    """What a command printed, and its exit status."""

    def __init__(self, status, out, err):
        self.status = status
        self.out = out
        self.err = err

    def __repr__(self):
        return f"<exit {self.status}, out {self.out!r}, err {self.err!r}>"


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch, tmp_path_factory):
    monkeypatch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
    for name in (
        "FAASD_PY_TOKEN",
        "OPENFAAS_CONFIG",
        "FAASD_PY_CONFIG",
        "OPENFAAS_URL",
        "STATE_DIRECTORY",
        "RUNTIME_DIRECTORY",
        "FAASD_PY_DEBUG",
    ):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def config(tmp_path):
    """A configuration whose sockets lie in `tmp_path`."""
    path = tmp_path / "config.toml"
    path.write_text(f'[state]\ndirectory = "{tmp_path}/state"\nruntime_directory = "{tmp_path}"\n')
    return path


@pytest.fixture
def cli(capfd, config):
    """Run the command in this process."""

    def run(*words: str) -> Said:
        capfd.readouterr()
        try:
            status = main(["--config", str(config), *words])
        except SystemExit as end:
            status = end.code
        told = capfd.readouterr()
        return Said(status, told.out, told.err)

    return run


@pytest.fixture
def house(tmp_path, tmp_path_factory) -> Iterator[FakeHouse]:
    """The desk of a running daemon: `admin.sock` in `tmp_path`."""
    made, ready, ends = FakeHouse(tmp_path_factory.mktemp("state")), threading.Event(), []

    async def live():
        stop = trio.Event()
        ends.append((trio.lowlevel.current_trio_token(), stop))
        async with trio.open_nursery() as nursery:
            await nursery.start(partial(serve_control, made, tmp_path, stop=stop.wait))
            ready.set()

    thread = threading.Thread(target=trio.run, args=(live,))
    thread.start()
    assert ready.wait(20)
    yield made
    token, stop = ends[0]
    token.run_sync_soon(stop.set)
    thread.join(20)
    assert not thread.is_alive()


class Gateway(BaseHTTPRequestHandler):
    """Answers as it was told to, and remembers what it was asked."""

    protocol_version = "HTTP/1.1"

    def answer(self):
        length, chunked = self.headers.get("Content-Length"), self.headers.get("Transfer-Encoding")
        if self.server.hasty:
            self.close_connection = True
        else:
            body = self._chunks() if chunked else self.rfile.read(int(length or 0))
            self.server.asked.append((self.command, self.path, dict(self.headers.items()), body))
        status, headers, pieces = self.server.answers
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        for piece in pieces:
            self.wfile.write(piece)
        self.close_connection = True

    do_GET = do_POST = do_PUT = do_DELETE = answer  # noqa: N815  # the names that http.server looks for

    def _chunks(self):
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def log_message(self, *words):
        """Quiet."""


@pytest.fixture
def gateway() -> Iterator[ThreadingHTTPServer]:
    """A gateway on a free port; `answers` is what it says, `asked` is what it heard, `url` is where it is."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Gateway) as server:
        server.daemon_threads = True
        server.asked, server.answers, server.hasty = [], (200, [("Content-Length", "4")], [b"done"]), False
        server.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()

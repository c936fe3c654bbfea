"""Mode url: what a URL may be, and what reaches the service behind it."""

from __future__ import annotations

import os
import ssl
import subprocess
from contextlib import asynccontextmanager, suppress

import pytest
import trio
import trustme

from faasd_py.config import FunctionSettings
from faasd_py.core.errors import ConfigError, FunctionUnavailable
from faasd_py.runtime.upstream import open_upstream, problems
from faasd_py.testing.recorder import Recorder
from faasd_py.testing.runtime_conformance import SUBJECT, request

from .places import PYTHON, eventually, free_port, site


@asynccontextmanager
async def answering(listener, answer=b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"):
    """A server that keeps the heads it gets and answers each the same."""
    heads = []

    async def serve(stream):
        with suppress(trio.BrokenResourceError):
            data = b""
            while piece := await stream.receive_some():
                data += piece
                while b"\r\n\r\n" in data:
                    head, _, data = data.partition(b"\r\n\r\n")
                    heads.append(head + b"\r\n")
                    await stream.send_all(answer)
        await trio.aclose_forcefully(stream)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, serve, [listener])
        yield heads
        nursery.cancel_scope.cancel()


async def tcp():
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    return listener, listener.socket.getsockname()[1]


async def test_base_path_and_host(machinery, tmp_path):
    """The URL's path goes before the call's, its authority is the Host, and connections are used again."""
    listener, port = await tcp()
    url = f"http://127.0.0.1:{port}/base/"
    async with answering(listener) as heads, open_upstream(site(machinery, tmp_path, url=url)) as runtime:
        for target in (b"/", b"/a?b=c"):
            reply = Recorder()
            await runtime.invoke(request("x", method=b"GET", target=target), reply)
            assert (reply.status, reply.body) == (200, b"ok")
        assert runtime.replicas().available == 1
    assert heads[0].startswith(b"GET /base/ HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n" % port)
    assert heads[1].startswith(b"GET /base/a?b=c HTTP/1.1\r\n")
    assert heads[1].lower().count(b"host:") == 1


async def test_redirects_are_passed_on(machinery, tmp_path):
    """Nobody follows them here."""
    listener, port = await tcp()
    answer = b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"
    async with (
        answering(listener, answer),
        open_upstream(site(machinery, tmp_path, url=f"http://127.0.0.1:{port}")) as runtime,
    ):
        reply = Recorder()
        await runtime.invoke(request("x"), reply)
    assert (reply.status, reply.header(b"Location")) == (302, b"http://127.0.0.1:1/")


async def test_a_unix_socket(machinery, tmp_path):
    """http+unix:///PATH."""
    path = tmp_path / "s"
    server = subprocess.Popen([*PYTHON, SUBJECT, "serve"], env=os.environ | {"UNIX_SOCKET": str(path)})
    try:
        await eventually(path.exists)
        async with open_upstream(site(machinery, tmp_path, url=f"http+unix://{path}")) as runtime:
            reply = Recorder()
            await runtime.invoke(request("echo", b"hello"), reply)
            assert reply.body == b"hello"
    finally:
        server.kill()
        server.wait()


async def test_https(machinery, tmp_path, monkeypatch):
    """The peer's certificate is verified: a strange one is refused, a known one accepted."""
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    listener, port = await tcp()
    place = site(machinery, tmp_path, url=f"https://localhost:{port}")
    async with answering(trio.SSLListener(listener, context, https_compatible=True)):
        async with open_upstream(place) as runtime:
            with pytest.raises(FunctionUnavailable, match="certificate"):
                await runtime.invoke(request("x"), Recorder())
        with authority.cert_pem.tempfile() as path:
            monkeypatch.setenv("SSL_CERT_FILE", path)
            async with open_upstream(place) as runtime:
                reply = Recorder()
                await runtime.invoke(request("x"), reply)
                assert reply.body == b"ok"


async def test_an_upgrade_is_tunnelled(machinery, tmp_path):
    """101: bytes go both ways from then on, in whatever pieces, until both ends are done."""

    class Talker(Recorder):
        async def tunnel(self, headers, wire):
            self.headers = headers
            await wire.send_all(b"ping")
            self.body = await wire.receive_some()
            await wire.send_eof()
            self.ended = await wire.receive_some() == b""

    async def shout(stream):
        async with stream:
            assert b"upgrade: websocket" in (await stream.receive_some()).lower()
            await stream.send_all(
                b"HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nX-A: b\r\n\r\n"
            )
            while data := await stream.receive_some():
                await stream.send_all(data.upper())

    listener, port = await tcp()
    reply = Talker()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, shout, [listener])
        async with open_upstream(site(machinery, tmp_path, url=f"http://127.0.0.1:{port}")) as runtime:
            await runtime.invoke(request("x", method=b"GET", upgrade=b"websocket"), reply)
        nursery.cancel_scope.cancel()
    assert (reply.body, reply.ended) == (b"PING", True)
    assert b"X-A: b\r\n" in reply.headers


async def test_a_peer_that_does_not_read(machinery, tmp_path):
    """Unavailable when it takes no byte of the request for read_timeout."""

    async def stare(stream):
        await trio.sleep_forever()

    listener, port = await tcp()
    settings = {"url": f"http://127.0.0.1:{port}", "read_timeout": 0.2}
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, stare, [listener])
        async with open_upstream(site(machinery, tmp_path, **settings)) as runtime:
            with trio.fail_after(10), pytest.raises(FunctionUnavailable):
                await runtime.invoke(request("x", b"x" * (16 << 20)), Recorder())
        nursery.cancel_scope.cancel()


async def test_nobody_there(machinery, tmp_path):
    """Unavailable, with the reason."""
    async with open_upstream(site(machinery, tmp_path, url=f"http://127.0.0.1:{free_port()}")) as runtime:
        with pytest.raises(FunctionUnavailable, match=r"(?i)refused"):
            await runtime.invoke(request("x"), Recorder())


@pytest.mark.parametrize(
    "answer", [b"SSH-2.0-nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"]
)
async def test_what_is_not_http(machinery, tmp_path, answer):
    """Unavailable: a peer's nonsense is never passed on."""
    listener, port = await tcp()
    async with (
        answering(listener, answer),
        open_upstream(site(machinery, tmp_path, url=f"http://127.0.0.1:{port}")) as runtime,
    ):
        reply = Recorder()
        with pytest.raises(FunctionUnavailable):
            await runtime.invoke(request("x"), reply)
        assert not reply.began


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("http://h", None),
        ("https://h:8443/base", None),
        ("http://[::1]:80/", None),
        ("http+unix:///run/s", None),
        ("ftp://h", "expected http://HOST"),
        ("h:80", "expected http://HOST"),
        ("http://", "expected http://HOST"),
        ("http+unix://h/s", "expected http+unix:///PATH"),
        ("http+unix:///", "expected http+unix:///PATH"),
        ("http://h:99999", "is no URL"),
        ("http://[::1", "is no URL"),
        ("http://h:0", "expected a host, a port"),
        ("http://u:p@h", "without a user"),
        ("http://h/ä", "in ASCII"),
        ("http://h/a b", "in ASCII"),
        ("http://h/?q", "a query or fragment cannot be kept"),
    ],
)
async def test_urls(machinery, tmp_path, url, problem):
    """A URL that cannot be used is refused when the function is opened, in a sentence with the key."""
    found = list(problems("f", FunctionSettings(url=url)))
    if problem is None:
        assert found == []
        return
    assert len(found) == 1
    assert found[0].startswith("functions.f.url: ")
    assert problem in found[0]
    with pytest.raises(ConfigError):
        async with open_upstream(site(machinery, tmp_path, url=url)):
            pass

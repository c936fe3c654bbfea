"""What is not HTTP, or not ours, or too much: a 4xx, the connection closed, nothing forwarded, nobody harmed."""

from __future__ import annotations

import random
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from tests.house.daemon import Daemon, running, script, seconds, service
from tests.house.patience import until
from tests.house.wire import dial, shout, statuses, until_close

HOST = b"Host: x\r\n"
POST = b"POST /function/api/echo HTTP/1.1\r\n"


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    root = tmp_path_factory.mktemp("input")
    gateway = {
        "head_timeout": "700ms",
        "read_timeout": "700ms",
        "write_timeout": "700ms",
        "max_connections": 200,
    }
    functions = {
        "api": service(root),
        "big": script(root, "big", "90000000"),
        "yes": {"command": ["/usr/bin/yes"]},
    }
    functions["yes"]["mode"] = "stream"
    with running(root, functions, gateway=gateway) as one:
        until(lambda: one.ask("GET", "/function/api/tell").status == 200, what="api answers")
        one.wait_healthy()
        yield one
        assert one.ask("GET", "/healthz").status == 200
        assert "Traceback" not in one.log


BAD = {
    "no HTTP": b"hello there\r\n\r\n",
    "binary": bytes(range(256)) * 4,
    "a TLS greeting": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(80),
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "version 3": b"GET /function/api HTTP/3.0\r\n" + HOST + b"\r\n",
    "no host": b"GET /function/api/bad HTTP/1.1\r\n\r\n",
    "two hosts": b"GET /function/api/bad HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "a space before the colon": POST + HOST + b"X-A : 1\r\n\r\n",
    "obs-fold": POST + HOST + b"X-A: 1\r\n 2\r\n\r\n",
    "bare LF": b"GET /function/api/bad HTTP/1.1\nHost: x\n\n",
    "NUL in a value": POST + HOST + b"X-A: a\x00b\r\n\r\n",
    "CR in a value": POST + HOST + b"X-A: a\rb\r\n\r\n",
    "a name with a space": POST + HOST + b"X A: 1\r\n\r\n",
    "no colon": POST + HOST + b"X-A\r\n\r\n",
    "two lengths": POST + HOST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "a list of lengths": POST + HOST + b"Content-Length: 1, 2\r\n\r\nab",
    "a negative length": POST + HOST + b"Content-Length: -1\r\n\r\n",
    "a signed length": POST + HOST + b"Content-Length: +1\r\n\r\na",
    "a hexadecimal length": POST + HOST + b"Content-Length: 0x1\r\n\r\na",
    "an endless length": POST + HOST + b"Content-Length: 99999999999999999999\r\n\r\na",
    "length and chunks": POST + HOST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "an unknown coding": POST + HOST + b"Transfer-Encoding: gzip\r\n\r\n",
    "chunked and more": POST + HOST + b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
    "chunked in disguise": POST + HOST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "a bad chunk size": POST + HOST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nab\r\n0\r\n\r\n",
    "a huge chunk size": POST + HOST + b"Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nab\r\n",
    "a chunk that is longer": POST + HOST + b"Transfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n0\r\n\r\n",
    "no target": b"GET HTTP/1.1\r\n" + HOST + b"\r\n",
    "a relative target": b"GET function/api HTTP/1.1\r\n" + HOST + b"\r\n",
    "a target with a space": b"GET /function/api/a b HTTP/1.1\r\n" + HOST + b"\r\n",
    "a target with NUL": b"GET /function/api/\x00 HTTP/1.1\r\n" + HOST + b"\r\n",
    "a huge target": b"GET /function/api/" + b"a" * 200_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n",
    "a huge header": POST + HOST + b"X-A: " + b"a" * 200_000 + b"\r\n\r\n",
    "many headers": POST + HOST + b"".join(b"X-%d: 1\r\n" % n for n in range(500)) + b"\r\n",
    "CONNECT": b"CONNECT example.com:443 HTTP/1.1\r\n" + HOST + b"\r\n",
    "a strange expectation": POST + HOST + b"Expect: the-unexpected\r\nContent-Length: 0\r\n\r\n",
}


@pytest.mark.parametrize("name", BAD)
def test_bad_requests_are_refused_and_closed(daemon: Daemon, name: str) -> None:
    """A 4xx or 5xx of the protocol, the connection closed, and the function saw nothing of it."""
    before = len(daemon.ran())
    answers = statuses(shout(daemon.port, BAD[name]))
    forwarded = len(daemon.ran()) - before
    assert all(status in {400, 404, 405, 413, 414, 417, 431, 501, 505} for status in answers), answers
    begun = name in {"a bad chunk size", "a huge chunk size", "a chunk that is longer"}
    assert len(answers) == 1 or (begun and len(answers) <= 1)
    assert forwarded == 0


def test_a_smuggled_request_is_not_run(daemon: Daemon) -> None:
    """What follows a request whose length is in doubt is never taken for another request."""
    inner = b"GET /function/api/smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
    heads = [
        b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
        b"Content-Length: 0\r\nContent-Length: 50\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n0\r\nX: 1\r\n\n",
    ]
    for head in heads:
        shout(daemon.port, POST + HOST + head + inner)
    assert not daemon.ran("/smuggled")


@pytest.mark.parametrize(
    "target",
    [
        "/function/..", "/function/../../etc/passwd", "/function/%2e%2e/%2e%2e/etc/passwd", "/function/api%2fetc",
        "/function/a%00b", "/function/" + "a" * 300, "/function/-", "/function/.", "/function/..api", "/function/api.",
        "/function/.openfaas-fn", "/function/caf%C3%A9", "/function/a%ffb", "/function/api%0d%0aX-Injected:%201",
        "/function/a$b", "/function/%", "/async-function/../x", "/async-function/a%2fb", "/Function/api", "/function/API",
    ],
)  # fmt: skip
def test_bad_names_are_not_found(daemon: Daemon, target: str) -> None:
    """No file, no other function, no injected line: 301 to a clean path, 400 or 404."""
    method = "POST"
    answer = daemon.ask(method, target, b"x")
    assert answer.status in {301, 400, 404}, answer
    assert "x-injected" not in answer.headers
    assert b"root:" not in answer.body


def test_headers_cannot_be_injected_by_a_redirect(daemon: Daemon) -> None:
    """The location of a cleaned path is the target's own bytes, which cannot hold a line end."""
    answer = daemon.ask("GET", "/function//api/%0d%0aX-Injected:%201")
    assert answer.status == 301
    assert "x-injected" not in answer.headers


def test_a_cleaned_path_does_not_lead_to_another_host(daemon: Daemon) -> None:
    """`//evil.example/..` is not answered with a location that begins with two slashes."""
    for target in ("//evil.example/", "///evil.example/..//x", "/.//evil.example", "/\\evil.example/../"):
        answers = shout(
            daemon.port, b"GET " + target.encode() + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        )
        assert b"ocation: //" not in answers
        assert b"ocation: /\\" not in answers


def test_a_head_that_never_ends_is_timed_out(daemon: Daemon) -> None:
    """Byte by byte does not help: after the head timeout the connection is closed."""
    begun = time.monotonic()
    with dial(daemon.port) as wire:
        wire.sendall(b"GET /function/api HTTP/1.1\r\n")
        with suppress(OSError):
            while seconds(begun) < 5:
                wire.sendall(b"X")
                time.sleep(0.05)
        assert seconds(begun) < 4


def test_a_body_that_stops_is_timed_out(daemon: Daemon) -> None:
    """Neither kind of call waits for ever for a body that does not come."""
    for target in (b"/function/api/echo", b"/async-function/api/echo"):
        begun = time.monotonic()
        with dial(daemon.port) as wire:
            wire.sendall(b"POST " + target + b" HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\nabc")
            answers = statuses(until_close(wire))
        assert seconds(begun) < 6
        assert 202 not in answers
        assert 200 not in answers


@pytest.mark.parametrize("target", [b"/function/big", b"/function/yes", b"/function/api/big/90000000"])
def test_a_client_that_does_not_read_is_given_up(daemon: Daemon, target: bytes) -> None:
    """After the write timeout the connection is closed and the function's process is not kept for it."""
    before = set(daemon.family())
    until(lambda: connections(daemon) == 1, what="only the one that asks is open")
    with dial(daemon.port) as wire:
        wire.sendall(b"POST " + target + b" HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
        wire.recv(100)
        assert connections(daemon) == 2
        until(lambda: connections(daemon) == 1, within=20, every=0.1, what="the connection is closed")
        until(lambda: set(daemon.family()) <= before, what="the process is ended")


def connections(daemon: Daemon) -> int:
    """How many the daemon has open, by its own count."""
    page = daemon.ask("GET", "/metrics").text
    (line,) = [line for line in page.splitlines() if line.startswith("faasd_open_connections ")]
    return int(float(line.split()[1]))


def test_a_client_that_goes_in_the_middle_leaves_nothing(daemon: Daemon) -> None:
    """Half a large asynchronous body and a reset: nothing is queued, no spool file is left."""
    for _ in range(5):
        wire = dial(daemon.port)
        head = b"POST /async-function/api/half HTTP/1.1\r\nHost: x\r\nContent-Length: 2000000\r\n\r\n"
        wire.sendall(head + b"x" * 900_000)
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
        wire.close()
    until(lambda: not daemon.spooled(), what="no spool file")
    assert not daemon.ran("/half")


def test_more_connections_than_allowed(daemon: Daemon) -> None:
    """Idle ones over the limit do not keep the daemon from answering once they are gone."""
    wires = []
    with suppress(OSError):
        wires = [dial(daemon.port, 3) for _ in range(400)]
    for wire in wires:
        wire.close()
    until(lambda: daemon.ask("GET", "/function/api/tell").status == 200, what="it answers")


def test_noise(daemon: Daemon) -> None:
    """Three hundred mutilated requests of one seed: each ends within its time, and the daemon goes on."""
    dice = random.Random(20260501)
    whole = [POST + HOST + b"Content-Length: 5\r\n\r\nhello", *BAD.values()]
    for _ in range(300):
        data = bytearray(dice.choice(whole)[:2000])
        for _ in range(dice.randrange(1, 8)):
            data[dice.randrange(len(data))] = dice.randrange(256)
        with dial(daemon.port, 10) as wire:
            with suppress(OSError):
                wire.sendall(data[: dice.randrange(1, len(data) + 1)])
                wire.shutdown(socket.SHUT_WR)
            until_close(wire)
    assert daemon.ask("POST", "/function/api/echo", b"on").body == b"on"


def test_tls_on_a_plain_port_fails_cleanly(daemon: Daemon) -> None:
    """The client gets an error, not a hang."""
    context = ssl.create_default_context()
    with dial(daemon.port, 10) as wire, pytest.raises((ssl.SSLError, OSError)):
        context.wrap_socket(wire, server_hostname="localhost")

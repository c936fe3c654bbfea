"""Synchronous calls as streams: nothing waits for the end of a body, whichever way it goes."""

from __future__ import annotations

import hashlib
import http.client
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.house.daemon import Daemon, running, service
from tests.house.patience import until
from tests.house.wire import dial, statuses, until_bytes, until_close

MIB = 1 << 20


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    root = tmp_path_factory.mktemp("streams")
    functions = {
        "api": service(root),
        "live": {"command": ["/bin/cat"], "mode": "stream"},
        "cat": {"command": ["/bin/cat"]},
        "count": {"command": ["/usr/bin/sha256sum"]},
    }
    with running(root, functions) as one:
        until(lambda: one.ask("GET", "/function/api/tell").status == 200, what="api answers")
        yield one


def memory(daemon: Daemon) -> int:
    """Resident bytes of the daemon's process."""
    status = Path(f"/proc/{daemon.pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) * 1024


def test_events_come_while_the_function_is_still_writing(daemon: Daemon) -> None:
    """The first event is here before the second is written: every write is flushed."""
    with closing(http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=20)) as connection:
        connection.request("GET", "/function/api/events/e1", headers={"Accept": "text/event-stream"})
        response = connection.getresponse()
        assert response.headers["Content-Type"] == "text/event-stream"
        assert response.read(11) == b"data: one\n\n"
        assert daemon.ask("GET", "/function/api/open/e1").status == 200
        assert response.read() == b"data: two\n\n"


def test_a_stream_function_answers_while_it_is_still_reading(daemon: Daemon) -> None:
    """`mode = "stream"` is full-duplex: each piece comes back before the next is sent."""
    with dial(daemon.port) as wire:
        wire.sendall(b"POST /function/live HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        for number in range(5):
            piece = b"piece %d\n" % number
            wire.sendall(b"%x\r\n%s\r\n" % (len(piece), piece))
            until_bytes(wire, piece)
        wire.sendall(b"0\r\n\r\n")
        until_bytes(wire, b"0\r\n\r\n")


def test_an_upgrade_is_tunnelled(daemon: Daemon) -> None:
    """101 and then raw bytes both ways, until one side is done."""
    with dial(daemon.port) as wire:
        wire.sendall(
            b"GET /function/api/upgrade HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: shout\r\n\r\n"
        )
        head = until_bytes(wire, b"\r\n\r\n").lower()
        assert head.startswith(b"http/1.1 101 ")
        assert b"\r\nupgrade: shout\r\n" in head
        for word in (b"one", b"two" * 10000, b"\x00\xff"):
            wire.sendall(word)
            assert until_bytes(wire, word.upper()[-3:] if len(word) > 3 else word.upper())
        wire.shutdown(socket.SHUT_WR)
        assert b"HTTP/1.1" not in until_close(wire)


def test_a_refused_upgrade_is_an_ordinary_answer(daemon: Daemon) -> None:
    """A function that does not switch protocols answers as to any request."""
    headers = {"Connection": "Upgrade", "Upgrade": "websocket"}
    assert daemon.ask("GET", "/function/api/status/426", None, headers).status == 426


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("name", ["api/tell", "count"])
def test_large_bodies_go_in_whole(daemon: Daemon, name: str, chunked: bool) -> None:
    """Forty megabytes arrive unharmed, with a length or chunked."""
    piece = bytes(range(256)) * 4096
    body = iter([piece] * 40) if chunked else piece * 40
    answer = daemon.ask("POST", f"/function/{name}", body, timeout=60)
    assert answer.status == 200
    assert hashlib.sha256(piece * 40).hexdigest() in answer.text


def test_large_answers_come_out_whole_and_memory_stays_flat(daemon: Daemon) -> None:
    """A hundred megabytes pass through while the daemon grows by no more than a few."""
    before = memory(daemon)
    with closing(http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=60)) as connection:
        connection.request("GET", f"/function/api/big/{100 * MIB}")
        response = connection.getresponse()
        assert int(response.headers["Content-Length"]) == 100 * MIB
        size, most = 0, 0
        while piece := response.read(MIB):
            size += len(piece)
            most = max(most, memory(daemon))
    assert size == 100 * MIB
    assert most - before < 24 * MIB


def test_a_slow_reader_holds_the_function_back(daemon: Daemon) -> None:
    """A caller that does not read makes nobody buffer: the daemon's memory stays flat."""
    before = memory(daemon)
    with dial(daemon.port) as wire:
        wire.sendall(b"GET /function/api/big/200000000 HTTP/1.1\r\nHost: x\r\n\r\n")
        until_bytes(wire, b"\r\n\r\n")
        for _ in range(10):
            assert daemon.ask("POST", "/function/cat", b"meanwhile").body == b"meanwhile"
        assert memory(daemon) - before < 24 * MIB


def test_echo_of_a_large_body_is_full_duplex(daemon: Daemon) -> None:
    """A stream function sends back thirty megabytes while they are still being sent."""
    size, piece = 30 * MIB, b"\x5a" * 65536
    with dial(daemon.port, timeout=60) as wire:
        wire.sendall(b"POST /function/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n")
        wire.sendall(b"Content-Length: %d\r\n\r\n" % size)
        sender = threading.Thread(target=lambda: [wire.sendall(piece) for _ in range(size // len(piece))])
        sender.start()
        data = until_close(wire)
        sender.join(30)
    assert data.count(b"\x5a") >= size


def test_chunked_answers_and_keep_alive(daemon: Daemon) -> None:
    """Several answers of every framing follow each other on one connection."""
    with closing(http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=20)) as connection:
        for target, size in (("api/chunked/50", 50000), ("api/big/70000", 70000), ("cat", 0)) * 3:
            connection.request("POST", f"/function/{target}", b"")
            response = connection.getresponse()
            assert len(response.read()) == size


def test_pipelined_requests_are_answered_in_order(daemon: Daemon) -> None:
    """The second request lies in the socket while the first runs; the answers keep the order."""
    one = b"POST /function/api/later/0.2 HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nab"
    two = b"GET /function/api/status/418 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    with dial(daemon.port) as wire:
        wire.sendall(one + two)
        assert statuses(until_close(wire)) == [200, 418]


def test_expect_continue(daemon: Daemon) -> None:
    """The client is told to go on before it sends the body."""
    with dial(daemon.port) as wire:
        wire.sendall(b"POST /function/api/echo HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n")
        wire.sendall(b"Content-Length: 4\r\nConnection: close\r\n\r\n")
        assert until_bytes(wire, b"\r\n\r\n").startswith(b"HTTP/1.1 100 ")
        wire.sendall(b"body")
        assert until_close(wire).endswith(b"\r\n\r\nbody")


def test_half_closed_clients_get_their_answer(daemon: Daemon) -> None:
    """A client that says it will send no more still reads."""
    with dial(daemon.port) as wire:
        wire.sendall(b"POST /function/cat HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi")
        wire.shutdown(socket.SHUT_WR)
        assert until_close(wire).endswith(b"\r\n\r\nhi")


def test_http_1_0_gets_a_plain_answer(daemon: Daemon) -> None:
    """No chunks, and the end is the connection's end."""
    with dial(daemon.port) as wire:
        wire.sendall(b"GET /function/api/chunked/3 HTTP/1.0\r\nHost: x\r\n\r\n")
        head, _, body = until_close(wire).partition(b"\r\n\r\n")
    assert b"chunked" not in head.lower()
    assert body == b"0123456789" * 300


def test_a_caller_that_goes_away_stops_its_forked_function(daemon: Daemon) -> None:
    """Nobody waits for the answer: the process is ended."""
    before = set(daemon.family())
    with dial(daemon.port) as wire:
        wire.sendall(
            b"POST /function/live HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"
        )
        until_bytes(wire, b"abc")
    until(lambda: set(daemon.family()) <= before, what="the process is ended")

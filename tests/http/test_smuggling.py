"""Server → handler → Pool → peer: whatever a client sends, the peer reads what we read, or nothing.

Every case goes over real sockets. The bytes that arrive at the peer are read by four readers that disagree about
everything ambiguous (readers.py); they must find the same requests.
"""

from __future__ import annotations

import pytest
import trio

from .corpus import EVIL, HELLO, POST, Case, Meant, cases
from .readers import READERS, strict
from .support import Served, Upstream, Wire, proxied

CASES = cases()


async def recording(wire: Wire, _n: int) -> None:
    """Answer each request that h11 finds in the stream, and keep all bytes; answers name the request."""
    answered = 0
    while True:
        requests = strict(bytes(wire.seen)).requests
        for method, target, _body in requests[answered:]:
            text = b"" if method == b"HEAD" else method + b" " + target
            await wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(text), text))
        answered = len(requests)
        if not await wire.more():
            return


def complete_requests(peer: Upstream) -> list[Meant]:
    """What arrived; a stream that two readers read differently fails the test."""
    found: list[Meant] = []
    for wire in peer.wires:
        readings = [reader(bytes(wire.seen)) for reader in READERS]
        for reading in readings[1:]:
            assert reading.requests == readings[0].requests, bytes(wire.seen)
        found += readings[0].requests
    return found


async def play(served: Served, raw: bytes) -> bytes:
    """Send it, half-close, and return all that comes back."""
    wire = await served.open()
    try:
        await wire.send(raw)
        await wire.eof()
    except trio.BrokenResourceError:
        pass
    return await wire.rest()


def statuses(answers: bytes) -> list[int]:
    """The status of each answer in a stream that has only answers by length."""
    found: list[int] = []
    while answers:
        head, _, answers = answers.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 "), head
        found.append(int(head[9:12]))
        size = [int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        answers = answers[size[0] if size and found[-1] >= 200 else 0 :]
    return [status for status in found if status >= 200]


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
async def test_the_peer_reads_what_was_meant_or_nothing(case: Case) -> None:
    """A refused request reaches nobody; any other arrives exactly as meant, once, and is answered."""
    async with proxied(recording) as (served, peer):
        answers = statuses(await play(served, case.raw))
    arrived = complete_requests(peer)
    if case.meant is None or not arrived:
        assert arrived == []
        assert case.meant is None or answers, "refused without a word"
        assert all(status >= 400 for status in answers), answers
        assert len(answers) <= 1
    else:
        assert tuple(arrived) == case.meant
        assert answers == [200] * len(arrived)


@pytest.mark.parametrize(
    "case",
    [
        c
        for c in CASES
        if c.meant is not None and c.name.startswith(("tail", "unknown", "connection", "chunked with"))
    ],
    ids=lambda c: c.name,
)
async def test_what_is_plainly_good_is_not_refused(case: Case) -> None:
    """The proof above would also hold for a server that refuses everything; this one does not."""
    async with proxied(recording) as (served, peer):
        answers = statuses(await play(served, case.raw))
    if b"Upgrade" not in case.raw and b"HTTP2" not in case.raw:
        assert answers == [200] * len(case.meant or ())
        assert tuple(complete_requests(peer)) == case.meant


def test_the_corpus_is_large_and_each_case_is_its_own() -> None:
    """Several hundred different byte strings."""
    assert len({case.raw for case in CASES}) > 400


def test_the_readers_disagree_about_ambiguous_streams() -> None:
    """Otherwise their agreement would prove nothing."""
    both = POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + EVIL
    by_name = POST + b"Content_Length: %d\r\n\r\n" % len(EVIL) + EVIL
    by_line = POST + b"X: a\nContent-Length: %d\r\n\r\n" % len(EVIL) + EVIL
    for raw in (both, by_name, by_line):
        assert len({tuple(reader(raw).requests) for reader in READERS}) > 1
    for reader in READERS:
        assert reader(POST + b"Content-Length: 5\r\n\r\nhello").requests == [HELLO]


@pytest.mark.parametrize("case", [c for c in CASES if c.meant is None][::7], ids=lambda c: c.name)
async def test_a_bad_request_after_a_good_one_takes_only_itself_down(case: Case) -> None:
    """Pipelined: the good one is answered, the bad one refused, and what is behind it never read."""
    async with proxied(recording) as (served, peer):
        answers = statuses(await play(served, b"GET /first HTTP/1.1\r\nHost: a\r\n\r\n" + case.raw))
    assert complete_requests(peer) == [(b"GET", b"/first", b"")]
    assert answers[0] == 200
    assert all(status >= 400 for status in answers[1:])


async def test_two_clients_share_a_peer_connection_without_mixing() -> None:
    """A client whose body breaks off leaves no half request on a connection that another client's request then uses."""
    async with proxied(recording) as (served, peer):
        for _ in range(5):
            await play(served, POST + b"Content-Length: 100000\r\n\r\n" + EVIL)
            await play(served, POST + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhel")
            answer = await served.ask(b"GET /mine HTTP/1.1\r\nHost: a\r\n\r\n")
            assert (answer.status, answer.body) == (200, b"GET /mine")
    assert complete_requests(peer) == [(b"GET", b"/mine", b"")] * 5


async def test_field_values_arrive_byte_for_byte() -> None:
    """What is forwarded is what came: names keep their case, values their bytes, lines their order."""
    lines = b"x-UPPER: 1\r\nX-Caf: \xc3\xa9\xff\r\nCookie: a=b; c=d\r\nCookie: e=f\r\nX-Empty:\r\nX-Tab: a\tb\r\nAccept: */*\r\n"
    async with proxied(recording) as (served, peer):
        answer = await served.ask(b"GET /p?q=%0d%0a HTTP/1.1\r\nHost: a.b:99\r\n" + lines + b"\r\n")
        assert answer.status == 200
    sent = bytes(peer.wires[0].seen)
    assert sent.startswith(b"GET /p?q=%0d%0a HTTP/1.1\r\n")
    assert b"Host: a.b:99\r\n" in sent
    assert lines in sent


async def test_encoded_line_ends_stay_encoded() -> None:
    """`%0d%0a` in a target is data, not a line end."""
    async with proxied(recording) as (served, peer):
        await served.ask(b"GET /a%0d%0aX-Evil:%201%0d%0a HTTP/1.1\r\nHost: a\r\n\r\n")
    assert b"\r\nX-Evil" not in bytes(peer.wires[0].seen)

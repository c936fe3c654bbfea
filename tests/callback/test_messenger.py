"""Deliveries over real sockets, to receivers good and bad."""

from __future__ import annotations

import ssl
from functools import partial

import pytest
import trio
import trustme
from trio.testing import MockClock

from faasd_py.callback.guard import own_names
from faasd_py.callback.messenger import CALLBACK, GUARD, Messenger
from faasd_py.config import CallbackSettings
from faasd_py.core.call import Call, Spooled
from faasd_py.core.durations import Duration
from faasd_py.core.errors import ConfigError, QueueUnavailable
from faasd_py.core.outcome import Outcome
from tests.callback.receiver import closes_after, receiving, says, sign, status

NOW = 1_800_000_000.9


class Bodies:
    """A spool of one body."""

    def __init__(self, data: bytes = b"") -> None:
        self.data = data
        self.error: Exception | None = None

    def reader(self, body: Spooled) -> Bodies.Reader:
        return Bodies.Reader(self)

    class Reader:
        def __init__(self, spool: Bodies) -> None:
            self.spool = spool
            self.at = 0

        async def read(self) -> bytes:
            await trio.lowlevel.checkpoint()
            if self.spool.error:
                raise self.spool.error
            piece = self.spool.data[self.at : self.at + 100_000]
            self.at += len(piece)
            return piece


async def nobody(call: Call) -> Outcome:
    raise AssertionError("not ours")


@pytest.fixture
async def messenger():
    """Makes messengers, whose connections are closed at the end."""
    made = []

    def make(
        local=nobody, names=(), spool=None, resolve=None, tls=ssl.create_default_context, **settings
    ) -> Messenger:
        settings.setdefault("allow", ["loopback"])
        one = Messenger(
            settings=CallbackSettings(**settings),
            names=names,
            local=local,
            spool=spool or Bodies(),
            resolve=resolve,
            tls=tls,
            clock=lambda: NOW,
        )
        made.append(one)
        return one

    yield make
    for one in made:
        one.close()


def callback(url: str, body: bytes | Spooled = b"result", headers: bytes = b"X-Call-Id: C\r\n") -> Call:
    return Call(lane="callback:x", callback_url=url, body=body, headers=headers)


async def test_a_delivery(messenger):
    """One POST with the call's lines, the Host, the length, and the fields of standard-webhooks."""
    async with receiving(says(status(204))) as receiver:
        outcome = await messenger().deliver(callback(receiver.url("/a/b?c=d")), "Q1")
    assert (outcome.status, outcome.internal, outcome.body) == (204, None, b"")
    assert outcome.started_at == NOW
    (got,) = receiver.got
    assert (got.line, got.body) == (b"POST /a/b?c=d HTTP/1.1", b"result")
    expected = {
        b"host": b"127.0.0.1:%d" % receiver.port, b"x-call-id": b"C", b"content-length": b"6", b"webhook-id": b"Q1",
        b"webhook-timestamp": b"1800000000",
    }  # fmt: skip
    assert got.fields == expected


async def test_it_is_signed(messenger, tmp_path):
    """With secrets the signature verifies; the id stays the same in each attempt, and a reload changes the secrets."""
    (tmp_path / "one").write_bytes(b"1" * 32)
    (tmp_path / "two").write_bytes(b"2" * 32)
    async with receiving(says(status(200))) as receiver:
        sender = messenger(secrets=[str(tmp_path / "one"), str(tmp_path / "two")])
        await sender.deliver(callback(receiver.url()), "Q1")
        (tmp_path / "one").write_bytes(b"3" * 32)
        sender.reconfigure(CallbackSettings(allow=["loopback"], secrets=[str(tmp_path / "one")]), ())
        await sender.deliver(callback(receiver.url()), "Q1")
    signatures = [got.fields[b"webhook-signature"] for got in receiver.got]
    assert signatures[0] == sign([b"1" * 32, b"2" * 32], "Q1", int(NOW), b"result")
    assert signatures[1] == sign([b"3" * 32], "Q1", int(NOW), b"result")
    assert [got.fields[b"webhook-id"] for got in receiver.got] == [b"Q1", b"Q1"]


async def test_a_secret_that_cannot_be_read(messenger, tmp_path):
    """It is said when it is wired; and a reload that fails changes nothing."""
    with pytest.raises(ConfigError, match=r"callback\.secrets"):
        messenger(secrets=[str(tmp_path / "none")])
    async with receiving(says(status(200))) as receiver:
        sender = messenger()
        with pytest.raises(ConfigError):
            sender.reconfigure(CallbackSettings(allow=[], secrets=[str(tmp_path / "none")]), ())
        assert (await sender.deliver(callback(receiver.url()), "Q")).status == 200


@pytest.mark.parametrize("code", [200, 201, 202, 204, 301, 302, 307, 308, 400, 404, 410, 429, 500, 503])
async def test_the_status_is_the_receiver_s(messenger, code):
    """Whatever it is; redirects are not followed."""
    async with receiving(says(status(code, b"Location: http://127.0.0.1:1/\r\n"))) as receiver:
        outcome = await messenger().deliver(callback(receiver.url()), "Q")
    assert (outcome.status, outcome.internal) == (code, None)
    assert len(receiver.got) == 1


async def test_retry_after_is_kept(messenger):
    """Of a receiver's lines, only what the schedule needs."""
    async with receiving(says(status(503, b"Retry-After: 7\r\nX-Other: 1\r\n"))) as receiver:
        outcome = await messenger().deliver(callback(receiver.url()), "Q")
    assert outcome.headers == b"Retry-After: 7\r\n"


async def test_connections_are_kept_and_closed(messenger):
    """Deliveries to one receiver use one connection after the other; `close` closes it."""
    async with receiving(says(status(200, body=b"thanks"))) as receiver:
        sender = messenger()
        for _ in range(3):
            assert (await sender.deliver(callback(receiver.url()), "Q")).status == 200
        assert (receiver.connections, receiver.open) == (1, 1)
        sender.close()
        with trio.fail_after(5):
            await receiver.until(lambda: receiver.open == 0)


async def test_unused_connections_are_tidied(messenger, mock_clock: MockClock):
    """After half a minute without a delivery a receiver's pool is closed, and not before."""
    async with receiving(says(status(200))) as receiver:
        sender = messenger()
        await sender.deliver(callback(receiver.url()), "Q")
        mock_clock.jump(20)
        sender.tidy()
        assert "1 pools" in repr(sender._destinations)
        mock_clock.jump(20)
        sender.tidy()
        assert "0 pools" in repr(sender._destinations)
        await receiver.until(lambda: receiver.open == 0)


async def test_pools_are_bounded(messenger, monkeypatch):
    """The receivers that connections are kept for are a bounded number; the oldest goes first."""
    monkeypatch.setattr("faasd_py.callback.destinations.MAX_POOLS", 3)
    async with receiving(says(status(200)), host="127.0.0.1") as receiver:

        async def resolve(host):
            return ["127.0.0.1"]

        sender = messenger(resolve=resolve)
        for number in range(6):
            outcome = await sender.deliver(callback(f"http://h{number}.example:{receiver.port}/"), "Q")
            assert outcome.status == 200
        assert "3 pools" in repr(sender._destinations)
        await receiver.until(lambda: receiver.open == 3)


async def test_a_large_body_from_the_spool(messenger, tmp_path):
    """It is streamed and signed piece by piece."""
    (tmp_path / "s").write_bytes(b"s" * 32)
    data = bytes(range(256)) * 4000
    async with receiving(says(status(200))) as receiver:
        sender = messenger(spool=Bodies(data), secrets=[str(tmp_path / "s")])
        outcome = await sender.deliver(callback(receiver.url(), Spooled(path="x", size=len(data))), "Q")
    assert outcome.status == 200
    assert receiver.got[0].body == data
    assert receiver.got[0].fields[b"webhook-signature"] == sign([b"s" * 32], "Q", int(NOW), data)


async def test_a_body_that_cannot_be_read(messenger):
    """It is a failed attempt, not a crash."""
    spool = Bodies()
    spool.error = QueueUnavailable("the file is gone")
    async with receiving(says(status(200))) as receiver:
        outcome = await messenger(spool=spool).deliver(
            callback(receiver.url(), Spooled(path="x", size=5)), "Q"
        )
    assert (outcome.status, outcome.internal, outcome.body) == (502, CALLBACK, b"the file is gone")


async def test_a_receiver_that_refuses_a_large_body_early(messenger):
    """An answer before the end of the body counts."""

    async def early(stream):
        await stream.receive_some(1000)
        await stream.send_all(b"HTTP/1.1 413 Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await stream.send_eof()
        while await stream.receive_some(65536):
            pass

    data = b"x" * 3_000_000
    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(partial(trio.serve_tcp, early, 0, host="127.0.0.1"))
        port = listener.socket.getsockname()[1]
        call = callback(f"http://127.0.0.1:{port}/", Spooled(path="x", size=len(data)))
        outcome = await messenger(spool=Bodies(data)).deliver(call, "Q")
        nursery.cancel_scope.cancel()
    assert outcome.status == 413


@pytest.mark.parametrize(
    "answer",
    [b"", b"garbage\r\n\r\n", b"HTTP/1.1 99 Odd\r\n\r\n", b"\x00\xff" * 100, b"HTTP/1.1 200", b"SSH-2.0-OpenSSH\r\n",
     b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"],
)  # fmt: skip
async def test_receivers_that_do_not_answer(messenger, answer):
    """Who closes early or talks nonsense has not answered."""
    async with receiving(closes_after(answer)) as receiver:
        outcome = await messenger().deliver(callback(receiver.url()), "Q")
    assert (outcome.status, outcome.internal) == (502, CALLBACK)
    assert outcome.body


@pytest.mark.parametrize("code", [200, 500])
async def test_a_receiver_that_breaks_off_after_its_status(messenger, code):
    """The status is what counts; the rest of the answer nobody reads."""
    async with receiving(
        closes_after(b"HTTP/1.1 %d Word\r\nContent-Length: 100\r\n\r\nhalf" % code)
    ) as receiver:
        outcome = await messenger().deliver(callback(receiver.url()), "Q")
    assert (outcome.status, outcome.internal) == (code, None)


async def test_an_endless_answer(messenger):
    """It is not read to its end, and the connection is not used again."""

    async def endless(stream, request):
        await stream.send_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            await stream.send_all(b"1000\r\n" + b"x" * 4096 + b"\r\n")

    async with receiving(endless) as receiver:
        with trio.fail_after(10):
            outcome = await messenger().deliver(callback(receiver.url()), "Q")
            await receiver.until(lambda: receiver.open == 0)
    assert outcome.status == 200


@pytest.mark.parametrize("bytes_first", [b"", b"HTTP/1.1 2", b"HTTP/1.1 102 Processing\r\n\r\n"])
async def test_a_slow_receiver(messenger, bytes_first, autojump_clock: MockClock):
    """After the timeout the attempt is over: 504, and the connection is closed."""

    async def slow(stream, request):
        await stream.send_all(bytes_first)
        await trio.sleep_forever()

    autojump_clock.autojump_threshold = 0.2
    async with receiving(slow) as receiver:
        start = trio.current_time()
        outcome = await messenger(timeout=Duration(15)).deliver(callback(receiver.url()), "Q")
        assert trio.current_time() - start == pytest.approx(15, abs=0.5)
    assert (outcome.status, outcome.internal, outcome.body) == (504, CALLBACK, b"no answer within 15s")


async def test_a_trickling_answer_does_not_prolong_it(messenger, autojump_clock: MockClock):
    """A byte now and then is no progress that counts."""
    autojump_clock.autojump_threshold = 0.2

    async def trickle(stream, request):
        for byte in b"HTTP/1.1 200 OK\r\n" + b"X: " + b"y" * 100:
            await trio.sleep(1)
            await stream.send_all(bytes([byte]))

    async with receiving(trickle) as receiver:
        outcome = await messenger(timeout=Duration(15)).deliver(callback(receiver.url()), "Q")
    assert outcome.status == 504


async def test_nobody_there(messenger):
    """A refused connection is a failed attempt with a reason."""
    outcome = await messenger().deliver(callback("http://127.0.0.1:1/"), "Q")
    assert (outcome.status, outcome.internal) == (502, CALLBACK)
    assert b"refused" in outcome.body.lower()


async def test_the_guard(messenger):
    """A refused address, by name or literally, is GUARD's, and nothing is sent."""

    async def resolve(host):
        return ["127.0.0.1"]

    async with receiving(says(status(200))) as receiver:
        sender = messenger(allow=["public"], resolve=resolve)
        for host in ("127.0.0.1", "evil.example"):
            outcome = await sender.deliver(callback(f"http://{host}:{receiver.port}/"), "Q")
            assert (outcome.status, outcome.internal) == (403, GUARD)
            assert b"127.0.0.1 is a loopback address" in outcome.body
        assert receiver.connections == 0


async def test_a_reload_of_allow_holds_for_kept_connections(messenger):
    """A connection that was made when it was allowed is not used when it no longer is."""

    async def resolve(host):
        return ["127.0.0.1"]

    async with receiving(says(status(200))) as receiver:
        sender = messenger(resolve=resolve)
        url = f"http://inside.example:{receiver.port}/"
        assert (await sender.deliver(callback(url), "Q")).status == 200
        sender.reconfigure(CallbackSettings(allow=["public"]), ())
        assert (await sender.deliver(callback(url), "Q")).internal == GUARD
        assert len(receiver.got) == 1


async def test_a_broken_url(messenger):
    """What should never have been accepted is refused for good."""
    for url in (None, "", "gopher://x/"):
        call = Call(lane="callback:x", callback_url=url)
        assert (await messenger().deliver(call, "Q")).internal == GUARD


async def test_our_own_gateway(messenger):
    """Own names go to `local` with the same fields, have no timeout of ours, and are always allowed."""
    got = []

    async def local(call):
        got.append(call)
        return Outcome(status=202)

    sender = messenger(local=local, names=own_names(["gateway"], ["127.0.0.1:9090"]), allow=[])
    outcome = await sender.deliver(callback("http://gateway:8080/function/f?x"), "Q")
    assert (outcome.status, outcome.internal) == (202, None)
    (call,) = got
    assert (call.callback_url, call.body) == ("http://gateway:8080/function/f?x", b"result")
    assert b"webhook-id: Q\r\n" in call.headers
    assert b"X-Call-Id: C\r\n" in call.headers


async def test_cancelled(messenger):
    """A cancelled delivery closes its connection."""
    begun = trio.Event()

    async def hang(stream, request):
        begun.set()
        await stream.receive_some(1)

    async with receiving(hang) as receiver, trio.open_nursery() as nursery:
        nursery.start_soon(messenger().deliver, callback(receiver.url()), "Q")
        await begun.wait()
        nursery.cancel_scope.cancel()
        with trio.CancelScope(shield=True), trio.fail_after(5):
            await receiver.until(lambda: receiver.open == 0)


async def test_https(messenger):
    """The certificate is verified, for the host's name, by the CA store that was given; the context is made once."""
    ca = trustme.CA()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ca.issue_cert("hooks.example").configure_cert(server)
    made = []

    def context():
        made.append(1)
        client = ssl.create_default_context()
        ca.configure_trust(client)
        return client

    async def resolve(host):
        return ["127.0.0.1"]

    async with receiving(says(status(200)), ssl=server) as receiver:
        sender = messenger(resolve=resolve, tls=context)
        good = await sender.deliver(callback(f"https://hooks.example:{receiver.port}/"), "Q")
        assert (good.status, good.internal) == (200, None)
        wrong = await sender.deliver(callback(f"https://other.example:{receiver.port}/"), "Q")
        assert (wrong.status, wrong.internal) == (502, CALLBACK)
        assert made == [1]
        untrusting = messenger(resolve=resolve)
        outcome = await untrusting.deliver(callback(f"https://hooks.example:{receiver.port}/"), "Q")
        assert (outcome.status, outcome.internal) == (502, CALLBACK)
    assert len(receiver.got) == 1

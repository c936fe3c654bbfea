"""The door over real sockets: which way a request goes, and what it is answered there."""

import re
from contextlib import asynccontextmanager
from types import SimpleNamespace

import msgspec
import pytest
import trio

from faasd_py.config import Config, FunctionSettings, RateSettings
from faasd_py.core.call import Spooled
from faasd_py.core.durations import Duration
from faasd_py.core.errors import FunctionUnavailable, IdempotencyConflict, QueueFull, QueueUnavailable
from faasd_py.core.lifecycle import State
from faasd_py.gateway import headers
from faasd_py.gateway.admission import Rates
from faasd_py.gateway.cancel import Cancel
from faasd_py.gateway.door import Control, Door
from faasd_py.gateway.enqueue import Enqueue, Terms
from faasd_py.gateway.invoke import Invoke
from faasd_py.http.client import Pool, dial_unix
from faasd_py.http.limits import Limits
from faasd_py.http.server import Server
from faasd_py.observe.metrics import Metrics
from faasd_py.observe.page import render
from faasd_py.queue.contract import Accepted, Capabilities
from faasd_py.queue.spool import Spool

LIMITS = Limits(
    max_connections=16, max_head=16384, max_headers=64, head_timeout=5.0, idle_timeout=5.0, read_timeout=5.0,
    write_timeout=5.0,
)  # fmt: skip


class Echo:
    """A runtime that answers with what it was asked."""

    def __init__(self, behave=None):
        self.seen = []
        self.behave = behave

    async def invoke(self, invocation, reply):
        self.seen.append(invocation)
        if self.behave is not None:
            await self.behave(invocation, reply)
            return
        body = invocation.body
        if body is None:
            body = b""
            while piece := await invocation.source.read():
                body += piece
        await reply.answer(200, b"X-Target: " + invocation.target + b"\r\n", body)


class Books:
    """A queue that remembers its calls, or refuses them with `refusal`."""

    def __init__(self):
        self.capabilities = Capabilities(
            durable=True, delay=True, expiry=True, priority=True, dedup=True, cancel=True
        )
        self.calls = []
        self.refusal = None
        self.states = {}

    async def put(self, call):
        await trio.lowlevel.checkpoint()
        if self.refusal is not None:
            raise self.refusal
        self.calls.append(call)
        return Accepted(id=f"q{len(self.calls)}", call_id=call.call_id or f"q{len(self.calls)}")

    async def cancel(self, call):
        return self.states.get(call)


class Site:
    """A door on a loopback port, and what is behind it."""

    def __init__(self, tmp_path, **functions):
        self.metrics = Metrics()
        self.functions = {}
        for name, (runtime, settings) in functions.items():
            label = f"{name}.openfaas-fn"
            made = SimpleNamespace(
                label=label, settings=settings, runtime=runtime, meter=self.metrics.meter(label), inflight=0,
                timeout_answer=(504, b"X-OpenFaaS-Internal: proxy\r\n", b"timed out\n"),
            )  # fmt: skip
            self.functions[name.encode()] = self.functions[label.encode()] = made
        self.books, self.stopped = Books(), []
        self.spool = Spool(tmp_path)
        self.directory = tmp_path
        rates = Rates()
        terms = Terms(max_body=1 << 20, allow=Config().callback.allow, own_names=frozenset({"gateway"}))
        self.enqueue = Enqueue(self.functions, self.books, self.spool, rates, self.metrics, terms)
        self.pool = Pool(dial_unix(str(tmp_path / "control.sock"), timeout=1.0))
        registry = SimpleNamespace(functions=self.functions.values)
        door = Door(
            Invoke(self.functions, rates),
            self.enqueue,
            Cancel(self.books, self.stop, registry),
            Control(self.pool),
            self.metrics,
        )
        self.server = Server(door, LIMITS, fields=headers.WANTED)

    def stop(self, call):
        self.stopped.append(call)
        return call != "finished-meanwhile"

    async def ask(self, method, target, body=b"", **fields):
        """One request on a connection of its own: status, header text, body."""
        lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items())
        if body or method == "POST":
            lines += f"Content-Length: {len(body)}\r\n"
        stream = await trio.open_tcp_stream(*self.address)
        async with stream:
            await stream.send_all(
                f"{method} {target} HTTP/1.1\r\nHost: box\r\n{lines}Connection: close\r\n\r\n".encode()
            )
            await stream.send_all(body)
            with trio.fail_after(5):
                data = b"".join([piece async for piece in stream])
        head, _, rest = data.partition(b"\r\n\r\n")
        return int(head.split()[1]), head.decode(), rest


@pytest.fixture
def serve(tmp_path):
    @asynccontextmanager
    async def open_site(**functions):
        site = Site(tmp_path, **functions)
        listener = trio.socket.socket()
        await listener.bind(("127.0.0.1", 0))
        listener.listen()
        site.address = listener.getsockname()
        async with trio.open_nursery() as nursery:
            await nursery.start(site.server.run, [listener._sock])
            yield site
            await site.pool.aclose()
            nursery.cancel_scope.cancel()

    return open_site


def settings(**changes):
    return msgspec.structs.replace(FunctionSettings(command=["cat"]), **changes)


async def test_a_synchronous_call_streams_through(serve):
    """Method, path, query and body reach the function; the platform's own lines come with them."""
    echo = Echo()
    async with serve(echo=(echo, settings())) as site:
        status, head, body = await site.ask("PUT", "/function/echo.openfaas-fn/a/b?c=d", b"hi", X_Custom="1")
    assert (status, body) == (200, b"hi")
    assert "X-Target: /a/b?c=d" in head
    asked = echo.seen[0]
    assert (asked.method, asked.target, asked.host, asked.length) == (b"PUT", b"/a/b?c=d", b"box", 2)
    for line in (
        rb"X-Custom: 1",
        rb"X-Call-Id: [0-9a-f-]{36}",
        rb"X-Start-Time: \d{19}",
        rb"X-Forwarded-Host: box",
    ):
        assert re.search(line + rb"\r\n", asked.headers), line
    assert re.search(rb"X-Forwarded-For: 127\.0\.0\.1:\d+\r\n", asked.headers)
    assert f"X-Call-Id: {asked.call_id}" in head


async def test_the_callers_call_id_is_kept(serve):
    """A call id that came with the request is passed on once and echoed."""
    echo = Echo()
    async with serve(echo=(echo, settings())) as site:
        _, head, _ = await site.ask("GET", "/function/echo", X_Call_Id="mine")
    assert echo.seen[0].call_id == "mine"
    assert echo.seen[0].headers.lower().count(b"x-call-id") == 1
    assert head.lower().count("x-call-id: mine") == 1


async def test_what_is_not_there_is_not_found(serve):
    """An unknown function is 404 both ways, marked as the platform's; nothing is put."""
    async with serve() as site:
        for target in ("/function/nope", "/async-function/nope", "/function/", "/function/.openfaas-fn"):
            status, head, _ = await site.ask("POST", target, b"x")
            assert status == 404, target
            assert "X-OpenFaaS-Internal: proxy" in head
    assert site.books.calls == []


async def test_unclean_paths_are_redirected_before_anything_runs(serve):
    """301 to the canonical path, query kept."""
    echo = Echo()
    async with serve(echo=(echo, settings())) as site:
        status, head, _ = await site.ask("GET", "/function//echo/../echo/x?y=//")
    assert status == 301
    assert "Location: /function/echo/x?y=//" in head
    assert echo.seen == []


async def test_a_function_that_is_down_is_502(serve):
    """What the runtime says is the answer's one line."""

    async def down(_invocation, _reply):
        raise FunctionUnavailable("echo: connection refused")

    async with serve(echo=(Echo(down), settings())) as site:
        status, head, body = await site.ask("GET", "/function/echo")
    assert (status, body) == (502, b"echo: connection refused\n")
    assert "X-OpenFaaS-Internal: proxy" in head


async def test_an_answer_that_breaks_off_is_cut(serve):
    """After the first bytes there is no status left to send: the connection ends short of the length."""

    async def breaks(_invocation, reply):
        await reply.start(200, b"Content-Length: 10\r\n", 10)
        await reply.write(b"half")
        raise FunctionUnavailable("died")

    async with serve(echo=(Echo(breaks), settings())) as site:
        status, _, body = await site.ask("GET", "/function/echo")
    assert (status, body) == (200, b"half")


async def test_exec_timeout_ends_the_call(serve):
    """The function's own time-out answer, and the attempt is cancelled."""
    cancelled = trio.Event()

    async def hangs(_invocation, _reply):
        try:
            await trio.sleep_forever()
        finally:
            cancelled.set()

    async with serve(echo=(Echo(hangs), settings(exec_timeout=Duration(0.05)))) as site:
        status, _, body = await site.ask("GET", "/function/echo")
        await cancelled.wait()
        assert (status, body) == (504, b"timed out\n")
        assert site.functions[b"echo"].inflight == 0


async def test_event_streams_outlive_exec_timeout(serve):
    """A client that accepts events waits as long as the function takes."""

    async def slow(_invocation, reply):
        await trio.sleep(0.6)
        await reply.answer(200, b"", b"event")

    async with serve(echo=(Echo(slow), settings(exec_timeout=Duration(0.05)))) as site:
        status, _, _ = await site.ask("GET", "/function/echo", Accept="text/event-stream")
    assert status == 200


async def test_max_inflight_and_rate_are_429(serve):
    """Over max_inflight at once, and over the rate with Retry-After."""
    gate, entered = trio.Event(), trio.Event()

    async def waits(_invocation, reply):
        entered.set()
        await gate.wait()
        await reply.answer(200, b"", b"")

    rate = RateSettings(calls=1, per=Duration(60))
    async with (
        serve(one=(Echo(waits), settings(max_inflight=1)), rated=(Echo(), settings(rate=rate))) as site,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(site.ask, "GET", "/function/one")
        await entered.wait()
        status, head, body = await site.ask("GET", "/function/one")
        assert (status, body) == (429, b"Concurrent request limit exceeded. Max concurrent requests: 1\n")
        assert "X-OpenFaaS-Internal: faas-middleware" in head
        gate.set()
        assert (await site.ask("GET", "/function/rated"))[0] == 200
        for target in ("/function/rated", "/async-function/rated"):
            status, head, _ = await site.ask("POST", target)
            assert status == 429
            assert re.search(r"Retry-After: (59|60)\r?\n", head + "\n")


async def test_an_asynchronous_call_is_put_as_it_will_be_sent(serve):
    """202 with the ids; the call has the target, the end-to-end lines and the body, and its options as fields."""
    async with serve(echo=(Echo(), settings())) as site:
        status, head, body = await site.ask(
            "POST", "/async-function/echo/p?q", b"payload",
            X_Custom="kept", X_Delay="1h", X_Priority="3", X_Callback_Url="http://gateway/function/echo",
        )  # fmt: skip
    assert (status, body) == (202, b"")
    assert "X-Queue-Id: q1" in head
    assert "X-Call-Id: q1" in head
    assert "X-Start-Time: " in head
    (call,) = site.books.calls
    assert (call.lane, call.method, call.target, call.body) == (
        "echo.openfaas-fn",
        b"POST",
        b"/p?q",
        b"payload",
    )
    assert (call.priority, call.callback_url) == (3, "http://gateway/function/echo")
    assert call.not_before == pytest.approx(call.accepted_at + 3600)
    assert b"X-Custom: kept\r\n" in call.headers
    assert b"X-Callback-Url: " in call.headers
    for gone in (b"x-delay", b"x-priority", b"content-length", b"host", b"connection"):
        assert not re.search(rb"^" + gone + rb":", call.headers, re.IGNORECASE | re.MULTILINE), gone


@pytest.mark.parametrize("method", ["GET", "PUT", "HEAD", "OPTIONS", "PATCH"])
async def test_only_post_enqueues(serve, method):
    """Other methods are 405 with an empty body."""
    async with serve(echo=(Echo(), settings())) as site:
        status, _, body = await site.ask(method, "/async-function/echo")
    assert (status, body) == (405, b"")
    assert site.books.calls == []


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"X_Delay": "soon"}, b"X-Delay"),
        ({"X_Callback_Url": "ftp://a/"}, b"X-Callback-Url"),
        ({"X_Callback_Url": "/relative"}, b"X-Callback-Url"),
        ({"X_Callback_Failure_Url": "http://169.254.169.254/"}, b"X-Callback-Failure-Url"),
    ],
)
async def test_bad_options_are_400_and_named(serve, fields, named):
    """One sentence naming the header; nothing is put."""
    async with serve(echo=(Echo(), settings())) as site:
        status, _, body = await site.ask("POST", "/async-function/echo", b"x", **fields)
    assert status == 400
    assert named.lower() in body.lower()
    assert body.count(b"\n") == 1
    assert site.books.calls == []


async def test_too_large_a_body_is_413_before_it_is_read(serve):
    """The declared length alone decides; a chunked body is cut where it passes the limit."""
    async with serve(echo=(Echo(), settings())) as site:
        stream = await trio.open_tcp_stream(*site.address)
        async with stream:
            await stream.send_all(
                b"POST /async-function/echo HTTP/1.1\r\nHost: a\r\nContent-Length: 1048577\r\n\r\n"
            )
            with trio.fail_after(5):
                assert b" 413 " in await stream.receive_some()
        stream = await trio.open_tcp_stream(*site.address)
        async with stream:
            await stream.send_all(
                b"POST /async-function/echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
            )
            with trio.fail_after(5):
                for _ in range(17):
                    await stream.send_all(b"10000\r\n" + b"x" * 65536 + b"\r\n")
                assert b" 413 " in await stream.receive_some()
    assert site.books.calls == []
    assert not list(site.directory.glob("**/*.body")), "no spool file stays behind"


async def test_a_large_body_is_spooled_and_a_refused_one_removed(serve):
    """Above 256 KiB the call refers to a file; when the queue refuses the call, the file goes."""
    body = bytes(range(256)) * 2048
    async with serve(echo=(Echo(), settings())) as site:
        assert (await site.ask("POST", "/async-function/echo", body))[0] == 202
        (call,) = site.books.calls
        assert isinstance(call.body, Spooled)
        assert call.body.size == len(body)
        assert await trio.Path(call.body.path).read_bytes() == body
        site.books.refusal = QueueFull("the queue holds max_depth calls")
        assert (await site.ask("POST", "/async-function/echo", body))[0] == 503
        kept = [
            path for path in site.directory.rglob("*") if path.is_file() and path.stat().st_size == len(body)
        ]
        assert [str(path) for path in kept] == [call.body.path]


@pytest.mark.parametrize(
    ("refusal", "status", "retry"),
    [
        (QueueFull("full", retry_after=7), 503, "Retry-After: 7"),
        (QueueUnavailable("the disk is full"), 503, "Retry-After: 5"),
        (IdempotencyConflict("Idempotency-Key: used with another body"), 422, None),
    ],
)
async def test_what_the_queue_refuses_is_answered_with_its_status(serve, refusal, status, retry):
    """The queue's sentence is the body; 503 says when to come again."""
    async with serve(echo=(Echo(), settings())) as site:
        site.books.refusal = refusal
        got, head, body = await site.ask("POST", "/async-function/echo", b"x")
    assert (got, body) == (status, str(refusal).encode() + b"\n")
    assert (retry or "") in head


async def test_a_draining_gateway_accepts_nothing(serve):
    """503 with Retry-After, and nothing is put."""
    async with serve(echo=(Echo(), settings())) as site:
        site.enqueue.draining = True
        status, head, _ = await site.ask("POST", "/async-function/echo", b"x")
    assert status == 503
    assert "Retry-After" in head
    assert site.books.calls == []


async def test_idempotency_fingerprints_tell_bodies_and_targets_apart(serve):
    """Equal requests have equal fingerprints, in memory or spooled; without a key there is none."""
    large = b"z" * 300_000
    async with serve(echo=(Echo(), settings())) as site:
        for target, body in (
            ("/a", b"1"),
            ("/a", b"1"),
            ("/a", b"2"),
            ("/b", b"1"),
            ("/a", large),
            ("/a", large),
        ):
            await site.ask("POST", f"/async-function/echo{target}", body, Idempotency_Key="k")
        await site.ask("POST", "/async-function/echo/a", b"1")
    first, again, other, elsewhere, big, big_again, unkeyed = (call.fingerprint for call in site.books.calls)
    assert first == again
    assert big == big_again
    assert len({first, other, elsewhere, big}) == 4
    assert unkeyed == b""


@pytest.mark.parametrize(
    ("state", "call", "status"),
    [
        (None, "unknown", 404),
        (State.READY, "a", 202),
        (State.DELAYED, "a", 202),
        (State.DEAD, "a", 202),
        (State.LEASED, "running", 202),
        (State.LEASED, "finished-meanwhile", 409),
        (State.DONE, "a", 409),
        (State.CANCELLED, "a", 409),
    ],
)
async def test_cancelling_answers_by_what_it_found(serve, state, call, status):
    """Waiting calls vanish, a running attempt is stopped, finished ones are 409."""
    async with serve() as site:
        site.books.states[call] = state
        assert (await site.ask("DELETE", f"/async-function/{call}"))[0] == status
        assert site.stopped == ([call] if state is State.LEASED else [])


async def test_a_queue_that_cannot_cancel_says_501(serve):
    """Never a wrong answer: the capability is not there."""
    async with serve() as site:
        site.books.capabilities = Capabilities(durable=True)
        assert (await site.ask("DELETE", "/async-function/a"))[0] == 501


async def test_everything_else_goes_to_the_control_plane(serve):
    """Over its private socket; while nobody listens there, 503 with Retry-After."""
    async with serve() as site:
        status, head, _ = await site.ask("GET", "/healthz")
        assert status == 503
        assert "Retry-After: 1" in head

        async def desk(exchange):
            await exchange.answer(200, b"", exchange.method + b" " + exchange.target + b" " + exchange.host)

        listener = trio.socket.socket(trio.socket.AF_UNIX)
        await listener.bind(str(site.directory / "control.sock"))
        listener.listen()
        async with trio.open_nursery() as nursery:
            await nursery.start(Server(desk, LIMITS).run, [listener._sock])
            assert (await site.ask("POST", "/system/x?y", b"b"))[2] == b"POST /system/x?y box"
            nursery.cancel_scope.cancel()


async def test_calls_are_counted_with_their_status(serve):
    """Started, finished and status, for the function that was called."""
    async with serve(echo=(Echo(), settings())) as site:
        await site.ask("GET", "/function/echo")
        page = "".join(render(site.metrics, None, {}, None, 0.0))
    assert 'gateway_function_invocation_total{code="200",function_name="echo.openfaas-fn"} 1.0' in page

"""RuntimeConformance: what `runtime.contract` promises, as tests. Every runtime, built-in or plug-in, passes it.

Subclass it in a test module under a name that your runner collects, implement `opened`, and run it with a runner of
trio tests. The functions that it calls are those of `subject.py`; `opened(name)` opens a runtime that runs one of them.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path
from typing import Final

import trio

from faasd_py.core.errors import FunctionUnavailable
from faasd_py.runtime.contract import Invocation, Runtime, Source
from faasd_py.testing import subject
from faasd_py.testing.recorder import Pieces, Recorder

SUBJECT: Final = str(Path(subject.__file__))
MIB: Final = 1 << 20
PATIENCE: Final = 20.0
"""Seconds until a test that hangs is a test that failed."""


class Gone(Exception):
    """What a client's going away raises here."""


def request(
    name: str,
    body: bytes | None = b"",
    *,
    method: bytes = b"POST",
    target: bytes = b"/",
    headers: bytes = b"",
    source: Source | None = None,
    length: int | None = None,
    upgrade: bytes = b"",
) -> Invocation:
    """An invocation of a subject; with `source`, the body comes from there and `length` may be known."""
    size = length if source is not None else len(body or b"")
    lines = b"X-Subject: %s\r\nX-Call-Id: call-1\r\n" % name.encode() + headers
    if size is not None:
        lines += b"Content-Length: %d\r\n" % size
    return Invocation(
        method,
        target,
        b"gateway.test",
        lines,
        None if source is not None else body,
        size,
        source,
        "call-1",
        upgrade,
    )


class RuntimeConformance:
    """Subclass, and say what your runtime can."""

    methods: Sequence[bytes] = (b"GET", b"POST", b"PUT", b"PATCH", b"DELETE")
    """Methods that reach the function."""
    live: bool = True
    """Output reaches the caller while the function still runs."""
    serves: bool = True
    """The function speaks HTTP itself, so that it can break off an answer."""
    host: str = "gateway.test"
    """The Host that the function sees."""

    def opened(self, name: str) -> AbstractAsyncContextManager[Runtime]:
        """A runtime that runs the subject of that name (or all of them, by X-Subject)."""
        raise NotImplementedError

    @asynccontextmanager
    async def _ready(self, name: str) -> AsyncIterator[Runtime]:
        with trio.fail_after(PATIENCE):
            async with self.opened(name) as runtime:
                yield runtime

    async def _call(self, name: str, invocation: Invocation) -> Recorder:
        reply = Recorder()
        async with self._ready(name) as runtime:
            await runtime.invoke(invocation, reply)
        if not reply.ended:
            raise AssertionError("invoke returned before the answer was complete")
        return reply

    async def test_a_small_body_comes_back(self) -> None:
        """A body at hand reaches the function, and its answer the reply, as it was."""
        reply = await self._call("echo", request("echo", b"hello \x00\xff"))
        assert (reply.status, reply.body) == (200, b"hello \x00\xff")

    async def test_an_empty_body(self) -> None:
        """No body is a body of no bytes."""
        reply = await self._call("echo", request("echo", b""))
        assert (reply.status, reply.body) == (200, b"")

    async def test_a_large_body_at_hand(self) -> None:
        """A body larger than every pipe and socket buffer is written and read at the same time."""
        body = os.urandom(8 * MIB)
        reply = await self._call("echo", request("echo", body))
        assert reply.body == body

    async def test_a_streamed_body_of_known_length(self) -> None:
        """A source is read to its end."""
        pieces = [os.urandom(256 << 10) for _ in range(16)]
        reply = await self._call("echo", request("echo", source=Pieces(*pieces), length=4 * MIB))
        assert reply.body == b"".join(pieces)

    async def test_a_streamed_body_of_unknown_length(self) -> None:
        """A source needs no length."""
        reply = await self._call("echo", request("echo", source=Pieces(b"one ", b"two ", b"three")))
        assert reply.body == b"one two three"

    async def test_a_large_answer(self) -> None:
        """An answer of 8 MiB arrives whole."""
        reply = await self._call("large", request("large", b"%d" % (8 * MIB)))
        assert (reply.status, reply.body) == (200, b"".join(subject.fill(8 * MIB)))

    async def test_methods(self) -> None:
        """Each method reaches the function as it is."""
        async with self._ready("describe") as runtime:
            for method in self.methods:
                reply = Recorder()
                await runtime.invoke(request("describe", method=method), reply)
                assert json.loads(reply.body)["method"] == method.decode()

    async def test_path_and_query(self) -> None:
        """The target reaches the function; the query stays encoded."""
        reply = await self._call("describe", request("describe", target=b"/a/b?x=1&y=%20%2F"))
        assert json.loads(reply.body)["target"] == "/a/b?x=1&y=%20%2F"

    async def test_headers(self) -> None:
        """Headers, the call id and a Host reach the function."""
        reply = await self._call("describe", request("describe", b"12345", headers=b"X-Token: a, b\r\n"))
        seen = json.loads(reply.body)
        assert (seen["x-token"], seen["call"], seen["host"], seen["size"]) == ("a, b", "call-1", self.host, 5)

    async def test_an_answer_before_the_body(self) -> None:
        """A function that does not read its body is answered for, and the rest of the body is not waited for."""
        source = Pieces(*[bytes(256 << 10)] * 8, trio.sleep_forever)
        reply = await self._call("early", request("early", source=source, length=64 * MIB))
        assert (reply.status, reply.body) == (200, b"early")

    async def test_output_is_live(self) -> None:
        """What a function writes is passed on before its input has ended (where the runtime is live)."""
        if not self.live:
            return
        reply = Recorder()

        async def echoed() -> None:
            await reply.until(lambda: reply.body == b"first")

        source = Pieces(b"first", echoed, b" second")
        async with self._ready("echo") as runtime:
            await runtime.invoke(request("echo", source=source), reply)
        assert reply.body == b"first second"

    async def test_a_function_that_fails(self) -> None:
        """A function's failure is its answer, a 500, not an error."""
        reply = await self._call("fail", request("fail"))
        assert reply.status == 500

    async def test_a_function_that_breaks_off(self) -> None:
        """An answer that is cut short is an error, so that the caller breaks off too."""
        if not self.serves:
            return
        reply = Recorder()
        async with self._ready("broken") as runtime:
            try:
                await runtime.invoke(request("broken"), reply)
            except FunctionUnavailable:
                return
        raise AssertionError(f"half an answer passed for a whole one: {reply!r}")

    async def test_fifty_at_once(self) -> None:
        """Calls at the same time do not mix."""
        async with self._ready("echo") as runtime:

            async def one(number: int) -> None:
                body, reply = b"%d " % number * 1000, Recorder()
                await runtime.invoke(request("echo", body), reply)
                assert reply.body == body

            async with trio.open_nursery() as nursery:
                for number in range(50):
                    nursery.start_soon(one, number)

    async def test_cancelling_stops_the_work(self) -> None:
        """A cancelled call stops what the function does, and leaves the runtime fit for the next."""
        with tempfile.TemporaryDirectory() as directory:
            marker = Path(directory) / "marker"
            async with self._ready("slow") as runtime:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(runtime.invoke, request("slow", os.fsencode(marker)), Recorder())
                    await _reads(marker, "begun")
                    nursery.cancel_scope.cancel()
                await _reads(marker, "stopped")

    async def test_a_client_that_goes_away_while_sending(self) -> None:
        """What the source raises comes out of `invoke` as it is."""
        async with self._ready("echo") as runtime:
            try:
                await runtime.invoke(request("echo", source=Pieces(b"some", Gone())), Recorder())
            except Gone:
                return
        raise AssertionError("the source's error was lost")

    async def test_a_client_that_goes_away_while_receiving(self) -> None:
        """What the reply raises comes out of `invoke` as it is, and the function does not block for ever."""
        async with self._ready("large") as runtime:
            try:
                await runtime.invoke(request("large", b"%d" % (4 * MIB)), Recorder(failing=Gone()))
            except Gone:
                return
        raise AssertionError("the reply's error was lost")

    async def test_closing_waits_for_calls(self) -> None:
        """Leaving the runtime lets a call that runs finish."""
        reply, closing = Recorder(), trio.Event()
        source = Pieces(b"before ", closing.wait, b"after")
        async with trio.open_nursery() as nursery, self._ready("echo") as runtime:
            nursery.start_soon(runtime.invoke, request("echo", source=source), reply)
            while source.left == 3:
                await trio.sleep(0.001)
            nursery.start_soon(_set_soon, closing)
        assert reply.body == b"before after"

    async def test_replicas(self) -> None:
        """After a call somebody is available."""
        async with self._ready("echo") as runtime:
            await runtime.invoke(request("echo"), Recorder())
            assert runtime.replicas().available >= 1

    async def test_nothing_is_left_behind(self) -> None:
        """File descriptors and processes are given back."""
        await self._call("echo", request("echo", b"warm up"))
        files, processes = _open_files(), _processes()
        async with self._ready("echo") as runtime:
            for number in range(20):
                await runtime.invoke(request("echo", bytes(number * 10_000)), Recorder())
        await _settles(lambda: _open_files() <= files and _processes() <= processes)


async def _set_soon(event: trio.Event) -> None:
    for _ in range(10):
        await trio.lowlevel.checkpoint()
    event.set()


async def _reads(path: Path, word: str) -> None:
    while not path.exists() or path.read_text() != word:  # noqa: ASYNC240 - another process writes it
        await trio.sleep(0.005)


async def _settles(condition: object) -> None:
    with trio.fail_after(PATIENCE):
        while not condition():  # type: ignore[operator]
            await trio.sleep(0.01)


def _open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def _processes() -> int:
    """Our children and theirs."""
    found, waiting = 0, [os.getpid()]
    while waiting:
        pid = waiting.pop()
        with suppress(OSError):
            for task in Path(f"/proc/{pid}/task").iterdir():
                waiting += [int(word) for word in (task / "children").read_text().split()]
        found += 1
    return found

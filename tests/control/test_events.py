"""`GET /system/events` over a real socket: what is told, to whom, and what a stream leaves behind."""

from __future__ import annotations

import http.client
import socket
from contextlib import asynccontextmanager

import msgspec
import pytest
import trio

from faasd_py.control import events as control_events
from faasd_py.control import feed as control_feed


class Stream:
    """One who follows."""

    def __init__(self, response):
        self._response = response
        self.status = response.status
        self.headers = {name.lower(): value for name, value in response.getheaders()}

    def _next(self):
        fields = {}
        while line := self._response.readline().decode().rstrip("\n"):
            name, _, value = line.partition(":")
            fields[name] = value.strip()
        return fields

    async def next(self):
        """The fields of the next block; a comment's name is empty. Empty at the end."""
        with trio.fail_after(30):
            return await trio.to_thread.run_sync(self._next)

    async def event(self):
        """The next event that is no comment: its name, its data, its number."""
        while True:
            fields = await self.next()
            if not fields:
                return None
            if "event" in fields:
                return fields["event"], msgspec.json.decode(fields["data"]), int(fields.get("id", 0))


def _open(path, query, headers):
    connection = http.client.HTTPConnection("localhost", timeout=30)
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.settimeout(30)
    connection.sock.connect(str(path))
    who = {"X-Faasd-Py-Identity": "reader;read"}
    connection.request("GET", f"/system/events{query}", headers=who | headers)
    return connection, connection.getresponse()


@pytest.fixture
def follow(served):
    """Follow the events; the block's end hangs up."""

    @asynccontextmanager
    async def one(query="", door="control", **headers):
        connection, response = await trio.to_thread.run_sync(
            _open,
            served / f"{door}.sock",
            query,
            WHO | {name.replace("_", "-"): value for name, value in headers.items()},
        )
        try:
            stream = Stream(response)
            if stream.status == 200:
                await stream.next()
            yield stream
        finally:
            connection.close()

    return one


WHO = {"X-Faasd-Py-Identity": "somebody;read"}


async def until(condition):
    with trio.fail_after(30):
        while not condition():  # noqa: ASYNC110 - looked at from outside
            await trio.sleep(0.01)


async def test_events_come_as_they_happen(follow, daemon):
    """With a number, a name, and the facts."""
    async with follow() as stream:
        assert stream.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert stream.headers["cache-control"] == "no-store"
        daemon.events.emit("call.put", id="1", call_id="a", function="f.ns")
        daemon.events.emit("lane.paused", function="f.ns")
        name, data, number = await stream.event()
        assert name == "call.put"
        assert data.pop("time") > 1e9
        assert data == {"event": "call.put", "id": "1", "call_id": "a", "function": "f.ns"}
        assert (await stream.event())[2] == number + 1


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("?function=resize", ["call.put", "call.done"]),
        ("?function=resize.openfaas-fn&event=call.done", ["call.done"]),
        ("?event=call.", ["call.put", "call.put", "call.done"]),
        ("?event=lane.paused,config.", ["lane.paused", "config.reloaded"]),
        ("?function=callback:x:1", ["callback.dead"]),
    ],
)
async def test_filters(follow, daemon, query, names):
    """By function, and by kinds of events; the end of the daemon is told to everybody."""
    async with follow(query) as stream:
        daemon.events.emit("call.put", function="resize.openfaas-fn")
        daemon.events.emit("call.put", function="other.openfaas-fn")
        daemon.events.emit("call.done", function="resize.openfaas-fn")
        daemon.events.emit("callback.dead", function="callback:x:1")
        daemon.events.emit("lane.paused", function="other.openfaas-fn")
        daemon.events.emit("config.reloaded", functions=2)
        daemon.events.emit("daemon.stopping")
        seen = []
        while told := await stream.event():
            seen.append(told[0])
        assert seen == [*names, "daemon.stopping"]


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("?event=call.don", "event: there is no event 'call.don'"),
        ("?event=call.done,", "event: there is no event ''"),
        ("?function=a%20b", "function: expected NAME, NAME.NAMESPACE or callback:HOST:PORT, got 'a b'"),
        ("?state=dead", "state: there is no such parameter here (there is function, event)"),
    ],
)
async def test_bad_filters(ask, query, sentence):
    """400 naming the parameter."""
    answer = await ask("GET", f"/system/events{query}")
    assert (answer.status, answer.json) == (400, {"error": sentence})


async def test_going_on_after_a_break(follow, daemon):
    """`Last-Event-ID`: what came since, without a gap and without a repetition."""
    async with follow() as stream:
        daemon.events.emit("call.put", id="1")
        number = (await stream.event())[2]
    for name in ("2", "3"):
        daemon.events.emit("call.put", id=name)
    async with follow(Last_Event_ID=str(number)) as stream:
        daemon.events.emit("call.put", id="4")
        assert [(await stream.event())[1]["id"] for _ in range(3)] == ["2", "3", "4"]


@pytest.mark.parametrize("number", ["0", "17", "yesterday", "", "9" * 40])
async def test_going_on_after_what_nobody_remembers(follow, daemon, number):
    """The first event says that some are lost; how many, nobody knows."""
    async with follow(Last_Event_ID=number) as stream:
        daemon.events.emit("call.put", id="1")
        assert await stream.event() == ("lost", {"event": "lost", "count": None}, 0)
        assert (await stream.event())[1]["id"] == "1"


async def test_a_ring_that_ran_over(follow, daemon):
    """The count of what is gone, then the rest of it."""
    async with follow() as stream:
        daemon.events.emit("call.put", id="first")
        number = (await stream.event())[2]
    for name in range(control_feed.SIZE + 5):
        daemon.events.emit("call.put", id=name)
    async with follow(Last_Event_ID=str(number)) as stream:
        assert (await stream.event())[:2] == ("lost", {"event": "lost", "count": 5})
        assert (await stream.event())[1]["id"] == 5


async def test_a_slow_reader_loses_events_and_is_told(follow, daemon):
    """It holds nobody up, and costs no memory."""
    async with follow() as slow, follow() as quick:
        sent = 0
        for _ in range(40):
            for _ in range(500):
                daemon.events.emit("call.put", id=sent, function="x" * 200)
                sent += 1
            await quick.event()
        seen, lost = [], 0
        daemon.events.emit("daemon.stopping")
        while told := await slow.event():
            if told[0] == "lost":
                lost += told[1]["count"]
            elif told[0] == "call.put":
                seen.append(told[1]["id"])
        assert lost > 0
        assert len(seen) + lost == sent
        assert seen == sorted(set(seen))


async def test_a_heartbeat(follow, daemon, monkeypatch):
    """A comment when nothing happens, so that both ends learn of a dead connection."""
    monkeypatch.setattr(control_events, "HEARTBEAT", 0.05)
    async with follow() as stream:
        assert await stream.next() == {"": ""}
        daemon.events.emit("call.put", id="1")
        assert (await stream.event())[1]["id"] == "1"


async def test_streams_are_bounded(follow, ask, daemon, monkeypatch):
    """503 for one too many; who goes makes room."""
    monkeypatch.setattr(control_events, "STREAMS", 2)
    async with follow(), follow():
        answer = await ask("GET", "/system/events")
        assert (answer.status, answer.json) == (503, {"error": "2 follow the events already"})

    async def room():
        async with follow() as stream:
            return stream.status == 200

    with trio.fail_after(30):
        while not await room():  # noqa: ASYNC110 - looked at from outside
            await trio.sleep(0.05)


async def test_who_goes_leaves_nothing_behind(follow, daemon, monkeypatch):
    """The stream ends with its reader, and a minute later nobody listens any more."""
    monkeypatch.setattr(control_events, "HEARTBEAT", 0.05)
    made, original = [], control_feed.Feed._listen

    def listen(self):
        self._linger = 0.0
        made.append(self)
        original(self)

    monkeypatch.setattr(control_feed.Feed, "_listen", listen)
    async with follow():
        assert daemon.events
    await until(lambda: made[0].followers == 0)
    daemon.events.emit("call.put")
    assert not daemon.events.heard


async def test_a_daemon_that_stops_ends_the_streams(follow, ask, daemon):
    """After one last event; who comes later is refused."""
    async with follow(door="admin") as stream:
        daemon.stopping = True
        daemon.events.emit("daemon.stopping")
        assert (await stream.event())[0] == "daemon.stopping"
        assert await stream.event() is None
    answer = await ask("GET", "/system/events")
    assert (answer.status, answer.json) == (503, {"error": "the daemon is stopping"})

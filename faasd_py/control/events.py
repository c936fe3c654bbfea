"""`GET /system/events?function=&event=`: what happens in the daemon, as server-sent events (WHATWG HTML §9.2).

Each has an `id`, the event's kind as `event`, and its facts as JSON in `data`. `Last-Event-ID` goes on behind that one; what
is gone by then, and what somebody reads too slowly for, is told by an event `lost` with the count (null: unknown). `:`
is a heartbeat. The last event is `daemon.stopping`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Final

import msgspec
import trio
from quart import Response, request
from quart_trio import QuartTrio

from faasd_py.control import query
from faasd_py.control.daemon import Daemon
from faasd_py.control.feed import Feed, Missed, Told
from faasd_py.control.operation import Answer, Operation, Parameter, problems
from faasd_py.control.refused import Refused
from faasd_py.observe.kinds import KINDS

OPERATIONS: Final = (
    Operation(
        method="GET",
        path="/system/events",
        name="followEvents",
        about="What happens, as server-sent events; `Last-Event-ID` goes on behind that one.",
        scope="read",
        parameters=(
            Parameter(name="function", about="Of this function (or `callback:HOST:PORT`) only."),
            Parameter(
                name="event",
                about="Of these kinds only, with commas between them; `call.` is all that begin so.",
            ),
        ),
        answers={200: Answer("The stream.", None, "text/event-stream"), **problems(400, 503)},
    ),
)
STREAMS: Final = 32
"""Who may follow at once."""
HEARTBEAT: Final = 15.0
_HEADERS: Final = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
STOPPING: Final = "daemon.stopping"


class Wanted(msgspec.Struct, frozen=True):
    """Which events: of a function (a lane's name), of some kinds; None: any. `daemon.stopping` is for everybody."""

    function: str | None
    kinds: frozenset[str] | None

    def takes(self, told: Told) -> bool:
        """This one is."""
        if told.event == STOPPING:
            return True
        return self.function in {None, told.function} and (self.kinds is None or told.event in self.kinds)


def add_events(app: QuartTrio, daemon: Daemon) -> None:
    """The route."""
    feed = Feed(daemon.events)

    @app.get("/system/events")
    async def follow_events() -> Response:
        wanted = _wanted(request.args, daemon.config.gateway.namespace)
        since = _since(request.headers.get("Last-Event-ID"))
        if feed.followers >= STREAMS:
            raise Refused(503, f"{STREAMS} follow the events already")
        if daemon.stopping:
            raise Refused(503, "the daemon is stopping")
        body = _body(feed, wanted, since)
        return Response(body, 200, _HEADERS, content_type="text/event-stream; charset=utf-8")


async def _body(feed: Feed, wanted: Wanted, since: int | None) -> AsyncIterator[bytes]:
    with feed.following():
        at = feed.last if since is None else since
        yield b": what happens in this daemon\n\n"
        while True:
            missed, events = feed.after(at)
            at = feed.last
            if piece := b"".join(_lines(missed, events, wanted)):
                yield piece
            if events and events[-1].event == STOPPING:
                return
            with trio.move_on_after(HEARTBEAT) as patience:
                await feed.wait(at)
            if patience.cancelled_caught:
                yield b":\n\n"


def _lines(missed: Missed | None, events: Iterable[Told], wanted: Wanted) -> Iterable[bytes]:
    if missed is not None:
        yield b"event: lost\ndata: %s\n\n" % msgspec.json.encode({"event": "lost", "count": missed.count})
    for told in events:
        if wanted.takes(told):
            yield b"id: %d\nevent: %s\ndata: %s\n\n" % (told.number, told.event.encode(), told.data)


def _wanted(args: Mapping[str, str], namespace: str) -> Wanted:
    for key in args:
        if key not in {"function", "event"}:
            raise Refused(400, f"{key}: there is no such parameter here (there is function, event)")
    try:
        function = query.lane(args.get("function"), namespace)
    except ValueError as error:
        raise Refused(400, str(error)) from None
    return Wanted(function, _kinds(args.get("event")))


def _kinds(text: str | None) -> frozenset[str] | None:
    """Names with commas between them; `call.` stands for all that begin so."""
    if not text:
        return None
    kinds: set[str] = set()
    for word in text.split(","):
        found = {kind for kind in KINDS if kind == word or (word.endswith(".") and kind.startswith(word))}
        if not found:
            raise Refused(400, f"event: there is no event {word[:80]!r}")
        kinds |= found
    return frozenset(kinds)


def _since(text: str | None) -> int | None:
    """Whatever is no number of ours is one that nobody has any more."""
    if text is None:
        return None
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else -1

"""`GET /system/logs`: the lines of a function as a stream of JSON objects (OpenFaaS wire contract §1.4).

?name=&namespace=&instance=&since=&tail=&follow=    as OpenFaaS has them; of a repeated parameter the last one counts
?call_id=                                           only the lines of this call
?more=true                                          with `stream` and `call_id`

200 and NDJSON, each line sent as soon as it is there; 404 a function that is not there and has left no lines, 422 a
parameter that cannot be understood, 501 lines are not kept, 503 too many follow. Memory and descriptors do not grow with the log, nor with the
slowness of the reader.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from typing import Final

import msgspec
from quart import Response, request
from quart_trio import QuartTrio

from faasd_py.control.daemon import Daemon
from faasd_py.control.log_query import NANO, LogQuery, read
from faasd_py.control.operation import NAMESPACE, Answer, Operation, Parameter, refusals, text
from faasd_py.control.refused import Refused
from faasd_py.control.steps import in_steps
from faasd_py.observe.logbook import Line

NDJSON: Final = "application/x-ndjson"
BAD: Final = "could not parse the log request"
FAILED: Final = "function log request failed"


MOST: Final = 32
"""Who may follow at once."""
AT_ONCE: Final = 50
"""So many lines are put into words in one step of the loop."""
_HEADERS: Final = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
"""A proxy in between must not hold back lines."""


class LogLine(msgspec.Struct, frozen=True):
    """OpenFaaS' log message (wire contract §1.2): all of it always there."""

    name: str
    namespace: str
    instance: str
    timestamp: str
    text: str


class FullLogLine(LogLine, frozen=True):
    """What we know besides: `stdout`, `stderr`, or `daemon` for what the daemon says; and the call, where it is known."""

    stream: str
    call_id: str


OPERATIONS: Final = (
    Operation(
        method="GET",
        path="/system/logs",
        name="readLogs",
        about="The lines of a function, a JSON object each.",
        scope="read",
        parameters=(
            Parameter(name="name", about="The function: NAME or NAME.NAMESPACE; required."),
            NAMESPACE,
            Parameter(name="instance", about="Only lines of this process."),
            Parameter(name="since", about="RFC 3339; the last five minutes when it is left out."),
            Parameter(name="tail", about="At most so many, the newest; all when below 1.", kind="integer"),
            Parameter(name="follow", about="Then those to come.", kind="boolean"),
            Parameter(name="call_id", about="Only lines of this call."),
            Parameter(name="more", about="With `stream` and `call_id`.", kind="boolean"),
        ),
        answers={
            200: Answer("Lines; with `more` FullLogLine.", LogLine, NDJSON),
            **refusals(404, 422, 500, 503),
            501: text("Logs are not kept here."),
        },
    ),
)


def add_logs(app: QuartTrio, daemon: Daemon) -> None:
    """The route."""

    @app.get("/system/logs")
    async def logs() -> Response:
        query = _asked(daemon)
        try:
            await _check(daemon, query)
            pages = await daemon.logbook.pages(query.label, query.wanted, follow=query.follow)
        except OSError:
            raise Refused(500, FAILED) from None
        return Response(_stream(query, pages), 200, _HEADERS, content_type=NDJSON)


def _asked(daemon: Daemon) -> LogQuery:
    try:
        return read(_last, daemon.config.gateway.namespace, time.time_ns())
    except ValueError:
        raise Refused(422, BAD) from None


def _last(key: str) -> str:
    return request.args.getlist(key)[-1] if key in request.args else ""


async def _check(daemon: Daemon, query: LogQuery) -> None:
    if not daemon.config.logs.enabled:
        raise Refused(501, "logs are not kept: logs.enabled is false")
    if query.follow and daemon.logbook.followers >= MOST:
        raise Refused(503, f"{MOST} follow logs already")
    if any(function.label == query.label for function in daemon.registry.functions()):
        return
    if not await daemon.logbook.is_known(query.label):
        raise Refused(404, f"function {query.label[:200]} not found")


async def _stream(query: LogQuery, pages: AsyncGenerator[list[Line], None]) -> AsyncIterator[bytes]:
    encode = _encoder(query)
    async with aclosing(pages):
        async for lines in pages:
            pieces = [b"".join(map(encode, some)) async for some in in_steps(lines, AT_ONCE)]
            yield b"".join(pieces)


def _encoder(query: LogQuery) -> Callable[[Line], bytes]:
    name, namespace, encode = query.name, query.namespace, msgspec.json.encode

    def plain(line: Line) -> bytes:
        return encode(LogLine(name, namespace, line.instance, instant(line.at), line.text)) + b"\n"

    def full(line: Line) -> bytes:
        timestamp = instant(line.at)
        return (
            encode(
                FullLogLine(name, namespace, line.instance, timestamp, line.text, line.stream, line.call_id)
            )
            + b"\n"
        )

    return full if query.more else plain


def instant(at: int) -> str:
    """Nanoseconds since 1970 as RFC 3339 in UTC."""
    seconds, rest = divmod(at, NANO)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{rest:09d}Z"

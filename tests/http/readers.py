"""Four readers of a request stream that disagree wherever the stream is ambiguous.

What they all find alike is unambiguous. Only the strict one is a library (h11, the parser under hypercorn); the others
are wrong on purpose, in the ways of servers that were found to be smuggled through.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

import h11


@dataclass
class Found:
    """The complete requests of a stream, and what is left behind them."""

    requests: list[tuple[bytes, bytes, bytes]] = field(default_factory=list)
    rest: bytes = b""


def strict(raw: bytes) -> Found:
    """By h11; what it refuses is left as the rest."""
    found, peer = Found(), h11.Connection(h11.SERVER)
    peer.receive_data(raw)
    try:
        while request := _strict_one(peer):
            found.requests.append(request)
            peer.send(h11.Response(status_code=200, headers=[("content-length", "0")]))
            peer.send(h11.EndOfMessage())
            peer.start_next_cycle()
    except h11.RemoteProtocolError as error:
        found.rest = b"refused: " + str(error).encode()
        return found
    except h11.LocalProtocolError:  # the request closes the connection
        pass
    found.rest = peer.trailing_data[0]
    return found


def _strict_one(peer: h11.Connection) -> tuple[bytes, bytes, bytes] | None:
    request, body = None, bytearray()
    while True:
        event = peer.next_event()
        if isinstance(event, h11.Request):
            request = event
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage) and request is not None:
            return bytes(request.method), bytes(request.target), bytes(body)
        else:
            return None


def _lax(
    raw: bytes,
    frame: Callable[[dict[bytes, bytes], bytes], tuple[bytes, bytes] | None],
    line_end: bytes = rb"[\r\n]+",
) -> Found:
    """Spaces around names, underscores for dashes, the last of equal names; `frame` cuts the body."""
    found = Found()
    while (head := re.match(rb"(?:\r?\n)*(.+?)\r?\n\r?\n", raw, re.DOTALL)) is not None:
        lines = re.split(line_end, head[1])
        words = lines[0].split()
        fields = dict(_lax_field(line) for line in lines[1:])
        cut = frame(fields, raw[head.end() :])
        if cut is None or len(words) < 2:
            break
        body, raw = cut
        found.requests.append((words[0], words[1], body))
    found.rest = raw
    return found


def _lax_field(line: bytes) -> tuple[bytes, bytes]:
    name, _, value = line.partition(b":")
    return name.strip(b' \t\x00\x0b"').lower().replace(b"_", b"-"), value.strip()


def _by_length(fields: dict[bytes, bytes], rest: bytes) -> tuple[bytes, bytes] | None:
    digits = re.search(rb"[0-9]+", fields.get(b"content-length", b"0"))
    size = int(digits[0]) if digits else 0
    return (rest[:size], rest[size:]) if len(rest) >= size else None


def _by_chunks(rest: bytes) -> tuple[bytes, bytes] | None:
    body = bytearray()
    while (line := re.match(rb"[^0-9a-fA-F]*([0-9a-fA-F]+)[^\n]*\n", rest)) is not None:
        size = int(line[1], 16)
        rest = rest[line.end() :]
        if size == 0:
            end = re.match(rb"(?:[^\n]+\n)*?\r?\n", rest)
            return (bytes(body), rest[end.end() :]) if end else None
        if len(rest) < size:
            return None
        body += rest[:size]
        rest = rest[size:].lstrip(b"\r\n")
    return None


def length_first(raw: bytes) -> Found:
    """Content-Length wins."""

    def frame(fields: dict[bytes, bytes], rest: bytes) -> tuple[bytes, bytes] | None:
        if b"content-length" in fields or b"chunked" not in fields.get(b"transfer-encoding", b"").lower():
            return _by_length(fields, rest)
        return _by_chunks(rest)

    return _lax(raw, frame)


def chunked_first(raw: bytes) -> Found:
    """Anything that has "chunked" in it wins."""

    def frame(fields: dict[bytes, bytes], rest: bytes) -> tuple[bytes, bytes] | None:
        if b"chunked" in fields.get(b"transfer-encoding", b"").lower():
            return _by_chunks(rest)
        return _by_length(fields, rest)

    return _lax(raw, frame)


def last_coding(raw: bytes) -> Found:
    """Chunked only if the value is exactly that, else Content-Length; a bare CR or LF ends no line."""

    def frame(fields: dict[bytes, bytes], rest: bytes) -> tuple[bytes, bytes] | None:
        if fields.get(b"transfer-encoding", b"").lower() == b"chunked":
            return _by_chunks(rest)
        return _by_length(fields, rest)

    return _lax(raw, frame, rb"\r\n")


READERS = (strict, length_first, chunked_first, last_coding)

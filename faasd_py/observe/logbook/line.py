"""Pure. One line of a function, and how it lies on disk: a JSON array, because that is short and any tool reads it."""

from __future__ import annotations

from typing import Final

import msgspec

MAX_TEXT: Final = 64 << 10
"""Bytes of a line's text; a longer one is cut, and says so."""
OWN: Final = "daemon"
"""The stream of lines that the logbook itself adds."""


class Line(msgspec.Struct, frozen=True, array_like=True):
    """`at` is in nanoseconds since 1970; `instance` the pid or the like, `stream` `stdout`, `stderr` or `daemon`."""

    at: int
    stream: str
    instance: str
    call_id: str
    text: str


_decoder: Final = msgspec.json.Decoder(Line)


def encode(line: Line) -> bytes:
    """With its end. What is no Unicode is escaped."""
    try:
        return msgspec.json.encode(line) + b"\n"
    except UnicodeEncodeError:
        instance, call_id, text = (_unicode(part) for part in (line.instance, line.call_id, line.text))
        return msgspec.json.encode(Line(line.at, line.stream, instance, call_id, text)) + b"\n"


def decode(raw: bytes) -> Line | None:
    """None when it is damaged: torn by a crash, or zeros after a power cut."""
    try:
        return _decoder.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def bounded(text: str) -> str:
    """The text, cut to MAX_TEXT bytes and marked if it is longer."""
    if len(text) <= MAX_TEXT // 4:
        return text
    raw = text.encode("utf-8", "backslashreplace")
    if len(raw) <= MAX_TEXT:
        return text
    return raw[:MAX_TEXT].decode("utf-8", "ignore") + f" … ({len(raw) - MAX_TEXT} bytes more)"


def _unicode(part: str) -> str:
    return part.encode("utf-8", "backslashreplace").decode()

"""The server's bytes, read in whatever pieces they come. Pure.

`Parser.feed` never raises and never holds more than one message and one line: bytes that are not NATS give one
`Broken`, after which nothing is read.
"""

from __future__ import annotations

import json
from typing import Final

from faasd_py_natsclient.headers import decode_headers
from faasd_py_natsclient.message import Broken, Err, Event, Info, Message, Ok, Ping, Pong

CRLF: Final = b"\r\n"
MAX_LINE: Final = 1024 * 1024
"""Bytes of one control line; the INFO of a large cluster has many addresses."""
MAX_MESSAGE: Final = 64 * 1024 * 1024 + MAX_LINE
"""Bytes of one message with its headers; no server can be set to more than 64 MiB."""


class NotNats(Exception):
    """Why the bytes are not NATS; never leaves this module."""


class Parser:
    """Feed it; it keeps what is not whole yet."""

    __slots__ = ("_broken", "_held", "_need", "_size")

    def __init__(self) -> None:
        self._held: list[bytes] = []
        self._size = 0
        self._need = 0
        self._broken = False

    @property
    def held(self) -> int:
        """Bytes of what is not whole yet."""
        return self._size

    def feed(self, data: bytes) -> list[Event]:
        """What these bytes complete, in order."""
        events: list[Event] = []
        if self._broken:
            return events
        self._held.append(data)
        self._size += len(data)
        if self._size >= self._need:
            try:
                self._read(events)
            except NotNats as error:
                events.append(Broken(str(error)))
                self._broken = True
                self._held, self._size = [], 0
        return events

    def _read(self, events: list[Event]) -> None:
        data = self._held[0] if len(self._held) == 1 else b"".join(self._held)
        self._need = at = 0
        while (end := data.find(CRLF, at)) >= 0:
            words = data[at:end].split()
            op = words[0] if words else b""
            if op == b"MSG" or op == b"HMSG":  # noqa: PLR1714 - twice as fast as a set
                start = end + 2
                stop = start + _length(words)
                if stop + 2 > len(data):
                    self._need = stop + 2 - at
                    break
                if data[stop : stop + 2] != CRLF:
                    raise NotNats("a message is not followed by the end of its line")
                events.append(
                    _plain(words, data[start:stop]) if op == b"MSG" else _headed(words, data[start:stop])
                )
                at = stop + 2
            else:
                events.append(_control(op, data[at:end]))
                at = end + 2
        self._keep(data, at)

    def _keep(self, data: bytes, at: int) -> None:
        rest = data[at:] if at else data
        if not self._need and len(rest) > MAX_LINE:
            raise NotNats(f"a line of more than {MAX_LINE} bytes")
        self._held, self._size = ([rest] if rest else []), len(rest)


def _number(word: bytes) -> int:
    if not word.isdigit() or len(word) > 18:
        raise NotNats(f"{word[:40]!r} where a number belongs")
    return int(word)


def _length(words: list[bytes]) -> int:
    if not 4 <= len(words) <= 6:
        raise NotNats(f"a message with {len(words) - 1} arguments")
    size = _number(words[-1])
    if size > MAX_MESSAGE:
        raise NotNats(f"a message of {size} bytes")
    return size


def _plain(words: list[bytes], data: bytes) -> Message:
    """MSG subject sid [reply] size."""
    if len(words) == 4:
        return Message(words[1].decode("utf-8", "surrogateescape"), _number(words[2]), "", data)
    if len(words) == 5:
        subject, reply = (words[i].decode("utf-8", "surrogateescape") for i in (1, 3))
        return Message(subject, _number(words[2]), reply, data)
    raise NotNats(f"MSG with {len(words) - 1} arguments")


def _headed(words: list[bytes], data: bytes) -> Message:
    """HMSG subject sid [reply] header-size size."""
    if len(words) not in {5, 6}:
        raise NotNats(f"HMSG with {len(words) - 1} arguments")
    size = _number(words[-2])
    if size > len(data):
        raise NotNats("HMSG with more header bytes than bytes")
    message = _plain([*words[:-2], words[-1]], data[size:])
    message.headers, message.status, message.description = decode_headers(data[:size])
    return message


def _control(op: bytes, line: bytes) -> Event:
    match op.upper():
        case b"PING":
            return Ping()
        case b"PONG":
            return Pong()
        case b"+OK":
            return Ok()
        case b"-ERR":
            return Err(line.strip()[4:].decode("utf-8", "replace").strip().strip("'"))
        case b"INFO":
            return _info(line.strip()[4:])
    raise NotNats(f"a line that begins with {line[:20]!r}")


def _info(text: bytes) -> Info:
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError):
        raise NotNats("INFO without readable JSON") from None
    if not isinstance(fields, dict):
        raise NotNats("INFO with something else than an object")
    return Info(fields)

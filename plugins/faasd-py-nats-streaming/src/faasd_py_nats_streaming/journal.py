"""What the broker cannot remember for us, in a file of our own: which attempts began, and which calls are over.

Appended to with one `write` a line, so that it survives the death of this process at any moment; the death of the
machine may cost the last lines (`sync` is for those who must be sure). A torn or damaged line ends the reading.

    S place attempts          attempt number `attempts` began
    H place attempts due      it ended, and the call waits (until `due`, when that is given)
    O place                   the call is over: delivered again, it is only acknowledged
    N id                      its put was refused, though the broker may have stored it
    F {lane: [coming, late, bytes]}   what was under way to us
A place is channel, sequence and timestamp. A line is its length, its CRC-32, and MessagePack.
"""

from __future__ import annotations

import errno
import logging
import os
import zlib
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from struct import Struct
from typing import Any, Final

import msgspec

log: Final = logging.getLogger("faasd_py_nats_streaming")
Place = tuple[str, int, int]
HEAD: Final = Struct(">HI")
REMEMBERED: Final = 16_384
"""How many calls that are over are known again after a restart."""
LARGE: Final = 8 << 20
"""Bytes above which the file is written anew."""


class Known(msgspec.Struct):
    """What an earlier life knew of a call. `running`: its attempt had begun and not ended."""

    attempts: int
    running: bool
    due: float | None = None


class Journal:
    """`fresh`: there was no file, so nothing is known of what an earlier life did."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.fresh = not path.exists()
        self.known: dict[Place, Known] = {}
        self.over: dict[Place, None] = {}
        self.disowned: dict[str, None] = {}
        self.figures: dict[str, list[int]] = {}
        self._recent: deque[Place] = deque(maxlen=REMEMBERED)
        self._encode = msgspec.msgpack.Encoder().encode
        for line in _read(path):
            self._learn(line)
        self._handle = -1
        self._size = 0
        self.compact(())

    def _learn(self, line: list[Any]) -> None:
        match line:
            case ["S", str(name), int(seq), int(ts), int(attempts)]:
                self.known[name, seq, ts] = Known(attempts, running=True)
            case ["H", str(name), int(seq), int(ts), int(attempts), due]:
                self.known[name, seq, ts] = Known(attempts, running=False, due=due)
            case ["O", str(name), int(seq), int(ts)]:
                self.known.pop((name, seq, ts), None)
                self.remember((name, seq, ts))
            case ["N", str(identity)]:
                self.disowned[identity] = None
            case ["F", dict(figures)]:
                self.figures = figures
            case _:
                log.warning("%s: a line of a kind that is not known is skipped", self.path)

    def remember(self, place: Place) -> None:
        """The call is over; the oldest of too many are forgotten."""
        if len(self._recent) == REMEMBERED:
            self.over.pop(self._recent[0], None)
        self._recent.append(place)
        self.over[place] = None

    # writing: each raises OSError, and leaves the file as it was

    def started(self, place: Place, attempts: int) -> None:
        """An attempt begins."""
        self._append(("S", *place, attempts))

    def waits(self, place: Place, attempts: int, due: float | None) -> None:
        """The attempt is over, and the call waits."""
        self._append(("H", *place, attempts, due))

    def ended(self, place: Place) -> None:
        """The call is over. Remembered, also when it cannot be written."""
        self.remember(place)
        self._append(("O", *place))

    def disown(self, identity: str) -> None:
        """A put was refused. Remembered, also when it cannot be written."""
        if len(self.disowned) >= REMEMBERED:
            self.disowned.pop(next(iter(self.disowned)))
        self.disowned[identity] = None
        self._append(("N", identity))

    def note(self, figures: dict[str, list[int]]) -> None:
        """What is under way to us."""
        if figures != self.figures:
            self.figures = figures
            self._append(("F", figures))

    def _append(self, line: tuple[Any, ...]) -> None:
        data = self._frame(line)
        try:
            _write(self._handle, data)
        except OSError:
            with suppress(OSError):
                os.ftruncate(self._handle, self._size)
            raise
        self._size += len(data)

    def _frame(self, line: tuple[Any, ...]) -> bytes:
        data = self._encode(line)
        return HEAD.pack(len(data), zlib.crc32(data)) + data

    @property
    def large(self) -> bool:
        """It is time to write it anew."""
        return self._size > LARGE

    def compact(self, live: Iterable[tuple[Place, Known]]) -> None:
        """Write it anew: what is still needed, with what `live` knows of the calls in our hands.

        Raises:
            OSError: it cannot be; the old one stays.
        """
        new = self.path.with_suffix(".new")
        data = b"".join(self._needed(dict(live)))
        handle = os.open(new, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_APPEND, 0o600)
        try:
            _write(handle, data)
            os.fsync(handle)
            new.replace(self.path)
        except OSError:
            os.close(handle)
            raise
        self.close()
        self._handle, self._size = handle, len(data)

    def _needed(self, live: dict[Place, Known]) -> Iterator[bytes]:
        for place in self._recent:
            yield self._frame(("O", *place))
        for place, known in {**self.known, **live}.items():
            if known.running:
                yield self._frame(("S", *place, known.attempts))
            else:
                yield self._frame(("H", *place, known.attempts, known.due))
        for identity in self.disowned:
            yield self._frame(("N", identity))
        if self.figures:
            yield self._frame(("F", self.figures))

    def sync(self) -> None:
        """Make it survive the machine, too. Blocks.

        Raises:
            OSError: it cannot be.
        """
        os.fdatasync(self._handle)

    def close(self) -> None:
        """No more lines."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1


def _write(handle: int, data: bytes) -> None:
    """All of it, or OSError."""
    if os.write(handle, data) != len(data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _read(path: Path) -> Iterator[list[Any]]:
    """The lines up to the end, or to the first that is damaged."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return
    at = 0
    while at + HEAD.size <= len(data):
        size, check = HEAD.unpack_from(data, at)
        line = data[at + HEAD.size : at + HEAD.size + size]
        if len(line) != size or zlib.crc32(line) != check:
            break
        yield msgspec.msgpack.decode(line)
        at += HEAD.size + size
    if at < len(data):
        log.warning("%s: %d bytes at its end are damaged and left out", path, len(data) - at)

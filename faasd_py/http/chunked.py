"""Pure. Chunked bodies (RFC 9112 §7.1), both ways.

httptools does not say where in its input a message ended, so a chunked body that another message follows cannot be
left to it; these thirty lines can, and a differential test holds them to llhttp's verdicts.
Extensions and trailers are bounded, and dropped.
"""

from __future__ import annotations

import re
from typing import Final

from faasd_py.http.errors import BadChunk

MAX_LINE: Final = 1024
"""Bytes of one chunk-size line with its extensions."""
MAX_OVERHEAD: Final = 16 * 1024
"""Bytes of size lines beyond 16 a chunk and two a byte of the body that are put up with; as many of trailers."""
LAST_CHUNK: Final = b"0\r\n\r\n"
_TOKEN: Final = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_QUOTED: Final = rb'"(?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t\x20-\x7e\x80-\xff])*"'
# RFC 9112 allows blanks around an extension's parts for the sake of old senders; llhttp does not, and neither do we.
_EXTENSION: Final = rb";%b(?:=(?:%b|%b))?" % (_TOKEN, _TOKEN, _QUOTED)
_SIZE: Final = re.compile(rb"([0-9A-Fa-f]{1,15})((?:%b)*)\r\n" % _EXTENSION)
_TRAILER: Final = re.compile(rb"%b:[\t\x20-\x7e\x80-\xff]*\r\n" % _TOKEN)
_PARTIAL_SIZE: Final = re.compile(rb"(?:[0-9A-Fa-f]{1,15}(?:;[\t\x20-\x7e\x80-\xff]*)?\r?)?")
_PARTIAL_TRAILER: Final = re.compile(rb"\r?|%b(?::[\t\x20-\x7e\x80-\xff]*\r?)?" % _TOKEN)


def chunk(data: bytes) -> bytes:
    """One chunk; `data` is not empty."""
    return b"%x\r\n%b\r\n" % (len(data), data)


class Dechunker:
    """Takes bytes as they come and gives the body's. `done`: complete, and `rest` is what followed."""

    __slots__ = ("_left", "_overhead", "_trailers", "done", "rest")

    def __init__(self) -> None:
        self.rest = b""
        self.done = False
        self._left = 0
        """Of the chunk at hand; -2 .. -1: so many bytes of the CRLF behind it are missing."""
        self._overhead = 0
        self._trailers = False

    def feed(self, data: bytes) -> bytes:
        """The body's bytes in `data` and what was left before; may be empty before the end.

        Raises:
            BadChunk: the coding is broken.
        """
        data = self.rest + data if self.rest else data
        pieces: list[bytes] = []
        at = 0
        while not self.done:
            after = self._step(data, at, pieces)
            if after == at:
                break
            at = after
        self.rest = data[at:]
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _step(self, data: bytes, at: int, pieces: list[bytes]) -> int:
        """One element of the coding; where it ends, or `at` when more bytes are needed."""
        if self._trailers:
            return self._trailer(data, at)
        if self._left > 0:
            piece = data[at : at + self._left]
            if piece:
                pieces.append(piece)
                self._left -= len(piece)
                self._left = self._left or -2
            return at + len(piece)
        if self._left < 0:
            return self._crlf(data, at)
        return self._size(data, at)

    def _crlf(self, data: bytes, at: int) -> int:
        """The CRLF behind a chunk's data, whole or half."""
        expected = b"\r\n"[self._left :]
        got = data[at : at + len(expected)]
        if not expected.startswith(got):
            raise BadChunk("a chunk is longer than its size")
        self._left += len(got)
        return at + len(got)

    def _size(self, data: bytes, at: int) -> int:
        line = _SIZE.match(data, at)
        if line is None:
            self._check_partial(data, at, _PARTIAL_SIZE, "a chunk's size is malformed")
            return at
        if line.end() - at > MAX_LINE:
            raise BadChunk("a chunk's extensions are too long")
        self._left = int(line[1], 16)
        self._overhead = max(0, self._overhead - 16 - 2 * self._left)
        self._spend(line.end() - at)
        self._trailers = self._left == 0
        if self._trailers:
            self._overhead = 0
        return line.end()

    def _trailer(self, data: bytes, at: int) -> int:
        if data.startswith(b"\r\n", at):
            self.done = True
            return at + 2
        line = _TRAILER.match(data, at)
        if line is None:
            self._check_partial(data, at, _PARTIAL_TRAILER, "a trailer field is malformed")
            return at
        self._spend(line.end() - at)
        return line.end()

    def _spend(self, size: int) -> None:
        self._overhead += size
        if self._overhead > MAX_OVERHEAD:
            raise BadChunk("chunk extensions or trailer fields are too long")

    def _check_partial(self, data: bytes, at: int, pattern: re.Pattern[bytes], reason: str) -> None:
        """What has come of a line so far could still become one."""
        if not pattern.fullmatch(data, at):
            raise BadChunk(reason)
        if len(data) - at > (MAX_OVERHEAD if self._trailers else MAX_LINE):
            raise BadChunk("chunk extensions or trailer fields are too long")

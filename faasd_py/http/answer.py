"""Pure. The head of a peer's answer. llhttp has accepted its bytes first, as in head.py; the same reasoning holds."""

from __future__ import annotations

import re
from typing import Final

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from faasd_py.http import fields
from faasd_py.http.errors import BadAnswer
from faasd_py.http.status import BODILESS

MAX_HEAD: Final = 64 * 1024
MAX_HEADERS: Final = 256
_LINE: Final = re.compile(rb"HTTP/1\.([01]) ([1-9]\d\d)[ \r]")
_NAMES: Final = b"|".join(sorted(fields.HOP_BY_HOP | {b"content-length"}))
_cutter: Final = fields.Cutter(fields.HOP_BY_HOP)
_NAMELESS: Final = frozenset({b"close", b"keep-alive", b"upgrade", b"content-length"})
_find: Final = re.compile(rb"\r\n(%b):[ \t]*([^\r]*)" % _NAMES, re.IGNORECASE).findall


class AnswerHead:
    """What a peer answered.

    `headers` are its end-to-end lines, with Content-Length exactly when the body has a known length. `length` None:
    the body is chunked when `chunked`, else it ends with the connection.
    """

    status: int
    headers: bytes
    keep_alive: bool
    length: int | None = None
    chunked = False
    upgrade = b""
    heads = 0

    def on_headers_complete(self) -> None:
        """llhttp: a head is complete."""
        self.heads += 1

    def __init__(self, head: bytes, method: bytes) -> None:
        """Read a whole head, up to and with its blank line.

        Raises:
            BadAnswer: it is not HTTP.
        """
        try:
            HttpResponseParser(self).feed_data(head)
        except HttpParserUpgrade:
            pass
        except HttpParserError as error:
            raise BadAnswer(f"the answer's head is malformed: {error}") from None
        line = _LINE.match(head)
        if line is None or self.heads != 1:
            raise BadAnswer("the answer's status line is malformed")
        if head.count(b"\r\n") > MAX_HEADERS + 2:
            raise BadAnswer(f"the answer has more than {MAX_HEADERS} header fields")
        minor, status = line.groups()
        self.status = int(status)
        self.keep_alive = minor == b"1"
        self._scan_fields(head, head.index(b"\r\n") + 2, minor)
        if method == b"HEAD" or self.status in BODILESS:
            self.length = 0
            self.chunked = False

    def _scan_fields(self, head: bytes, start: int, minor: bytes) -> None:
        rare: dict[bytes, list[bytes]] | None = None
        for raw_name, value in _find(head, start - 2):
            name = raw_name.lower()
            if name == b"content-length":
                self.length = int(value)
            else:
                rare = rare or {}
                rare.setdefault(name, []).append(value.strip(b" \t"))
        if rare is None:
            self.headers = head[start:-2]
            return
        self.headers = _cutter.cut(head, start)
        if len(rare) == 1 and rare.get(b"connection") == [b"keep-alive"]:
            self.keep_alive = True
        else:
            self._apply(rare, minor)

    def _apply(self, rare: dict[bytes, list[bytes]], minor: bytes) -> None:
        """Act on hop-by-hop fields."""
        named = {token for value in rare.get(b"connection", ()) for token in fields.tokens(value)}
        if b"close" in named:
            self.keep_alive = False
        elif b"keep-alive" in named:
            self.keep_alive = True
        codings = rare.get(b"transfer-encoding")
        if codings is not None:
            if [value.lower() for value in codings] != [b"chunked"] or minor == b"0":
                raise BadAnswer("the answer has a Transfer-Encoding other than chunked, or is HTTP/1.0")
            self.chunked = True
        if self.status == 101:
            self.upgrade = b", ".join(rare.get(b"upgrade", ()))
        if named - _NAMELESS:
            self.headers = fields.without(self.headers, *(named - _NAMELESS))

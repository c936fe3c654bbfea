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
_find: Final = re.compile(rb"\r\n(%b):[ \t]*([^\r]*)" % _NAMES, re.IGNORECASE).findall


class _Witness:
    """What llhttp tells about a head."""

    __slots__ = ("heads",)

    def __init__(self) -> None:
        self.heads = 0

    def on_headers_complete(self) -> None:
        """One head is complete."""
        self.heads += 1


class AnswerHead:
    """What a peer answered.

    `headers` are its end-to-end lines, with Content-Length exactly when the body has a known length. `length` None:
    the body is chunked when `chunked`, else it ends with the connection.
    """

    __slots__ = ("chunked", "headers", "keep_alive", "length", "status", "upgrade")

    def __init__(self, head: bytes, method: bytes) -> None:
        """Read a whole head, up to and with its blank line.

        Raises:
            BadAnswer: it is not HTTP.
        """
        self._accept(head)
        line = _LINE.match(head)
        if line is None:
            raise BadAnswer("the answer's status line is malformed")
        if head.count(b"\r\n") > MAX_HEADERS + 2:
            raise BadAnswer(f"the answer has more than {MAX_HEADERS} header fields")
        self.status = int(line[2])
        self.keep_alive = line[1] == b"1"
        self.length: int | None = None
        self.chunked = False
        self.upgrade = b""
        start = head.index(b"\r\n") + 2
        rare: dict[bytes, list[bytes]] | None = None
        for name, value in _find(head, start - 2):
            lower = name.lower()
            if lower == b"content-length":
                self.length = int(value)
            else:
                rare = rare or {}
                rare.setdefault(lower, []).append(value.strip(b" \t"))
        self.headers = head[start:-2]
        if rare is not None:
            self._apply(rare, line[1])
        if method == b"HEAD" or self.status in BODILESS:
            self.length = 0
            self.chunked = False

    @staticmethod
    def _accept(head: bytes) -> None:
        """Llhttp's verdict."""
        witness = _Witness()
        try:
            HttpResponseParser(witness).feed_data(head)
        except HttpParserUpgrade:
            pass
        except HttpParserError as error:
            raise BadAnswer(f"the answer's head is malformed: {error}") from None
        if witness.heads != 1:
            raise BadAnswer("the answer's head is malformed")

    def _apply(self, rare: dict[bytes, list[bytes]], minor: bytes) -> None:
        """Act on hop-by-hop fields and take them out."""
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
        self.headers = fields.without(self.headers, *fields.HOP_BY_HOP, *(named - {b"content-length"}))

"""Pure. The head of a request: strict rules, and the handful of fields that are acted on.

The head's bytes go through llhttp first. It refuses bare CR and LF, folded lines, spaces
before a colon, NUL and control characters, repeated or malformed Content-Length, Content-Length with
Transfer-Encoding. So every CRLF in the head ends a line and every line is `name:value`: only because of that is it
safe to find fields with one regular expression. What llhttp lets pass and HTTP does not is refused here:
no Host or two (RFC 9112 §3.2), HTTP/1.0 with Transfer-Encoding (§6.1), codings other than chunked (§6.1), targets
that are not a path (§3.2.1), versions that are not 1.0 or 1.1.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

from httptools import HttpParserError, HttpParserInvalidMethodError, HttpParserUpgrade, HttpRequestParser

from faasd_py.http import fields
from faasd_py.http.errors import Refused

MAX_TARGET: Final = 16 * 1024
NO_FIELDS: Final[dict[bytes, bytes]] = {}
_LINE: Final = re.compile(rb"(?!TRACE |CONNECT )([A-Z-]+) (/[^ #\r\n]*) HTTP/(1\.[01])\r\n")
_ANY_LINE: Final = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+) ([^ \r\n]+) HTTP/(\d)\.(\d)\r\n")
_HOST_BYTES: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~%!$&'()*+;=:[]"  # RFC 3986 §3.2.2, less the comma: two joined fields
_ACTED_ON: Final = fields.HOP_BY_HOP | {b"host", b"content-length", b"expect"}
_ALWAYS_CUT: Final = fields.HOP_BY_HOP | {b"host", b"expect"}
_NAMELESS: Final = frozenset({b"close", b"keep-alive", b"upgrade", b"te", b"content-length"})
"""Members of Connection that need no further cut; Content-Length is framing and stays whatever Connection says."""
_cutter: Final = fields.Cutter(_ALWAYS_CUT)


class RequestHead:
    """What a request asks for. `headers` are its end-to-end lines, as they came."""

    method: bytes
    target: bytes
    version: bytes
    """`1.1` or `1.0`."""
    host: bytes
    headers: bytes
    fields: dict[bytes, bytes]
    length: int | None
    """Bytes of the body; 0: none; None: chunked."""
    upgrade: bytes = b""
    expects: bool = False
    """The client waits for 100 Continue."""
    keep_alive: bool
    plan: Any = None
    """What the handler worked out from the head alone, see `Exchange.remember`."""
    heads: int = 0
    """How many heads llhttp saw in the bytes of this one."""

    def on_headers_complete(self) -> None:
        """llhttp: a head is complete."""
        self.heads += 1

    def be_like(self, other: RequestHead) -> None:
        """The same bytes mean the same."""
        self.method = other.method
        self.target = other.target
        self.version = other.version
        self.host = other.host
        self.headers = other.headers
        self.fields = other.fields
        self.length = other.length
        self.upgrade = other.upgrade
        self.keep_alive = other.keep_alive
        self.plan = other.plan


class RequestScanner:
    """Reads heads; `wanted` names the fields that a handler wants to have at hand."""

    def __init__(self, wanted: Iterable[bytes], max_headers: int) -> None:
        self._wanted = frozenset(name.lower() for name in wanted)
        self._max_headers = max_headers
        names = sorted(self._wanted | _ACTED_ON)
        pattern = rb"\r\n(%b):[ \t]*([^\r]*)" % b"|".join(map(re.escape, names))
        self._find = re.compile(pattern, re.IGNORECASE).findall

    def scan(self, head: bytes, into: RequestHead) -> None:
        """Fill `into` from a whole head.

        Raises:
            Refused: with the status to answer.
        """
        try:
            HttpRequestParser(into).feed_data(head)
        except HttpParserUpgrade:
            pass
        except HttpParserError as error:
            raise refusal_of_head(head, error) from None
        if into.heads != 1:
            raise refusal_of_head(head, HttpParserError("it is none"))
        line = _LINE.match(head)
        if line is None:
            raise refusal_of_line(head)
        into.method, into.target, into.version = line.groups()
        if len(into.target) > MAX_TARGET:
            raise Refused(414, f"the request target is over {MAX_TARGET} bytes")
        if head.count(b"\r\n") - 2 > self._max_headers:
            raise Refused(431, f"there are more than {self._max_headers} header fields")
        self._scan_fields(head, line.end(), into)

    def _scan_fields(self, head: bytes, start: int, into: RequestHead) -> None:
        host = name_of_host = length = None
        wanted, seen = self._wanted, NO_FIELDS
        rare: dict[bytes, list[bytes]] | None = None
        for raw_name, value in self._find(head, start - 2):
            name = raw_name.lower()
            if name in wanted:
                if seen is NO_FIELDS:
                    seen = {}
                seen.setdefault(name, value.rstrip(b" \t"))
            if name == b"host":
                if host is not None:
                    raise Refused(400, "there is more than one Host field")
                host, name_of_host = value.rstrip(b" \t"), raw_name
            elif name == b"content-length":
                length = int(value)
            elif name in _ALWAYS_CUT:
                rare = rare or {}
                rare.setdefault(name, []).append(value)
        into.host = _checked_host(host, into)
        into.fields = seen
        into.length = length or 0
        into.keep_alive = into.version == b"1.1"
        if rare is None:
            into.headers = _without_host(head, start, name_of_host)
        else:
            into.headers = _apply(rare, head, start, into)


def _checked_host(host: bytes | None, into: RequestHead) -> bytes:
    if host is None:
        if into.version == b"1.0":
            return b""
        raise Refused(400, "the Host field is missing")
    if host.translate(None, _HOST_BYTES):
        raise Refused(400, "the Host field is malformed")
    return host


def _without_host(head: bytes, start: int, name: bytes | None) -> bytes:
    if name is None:
        return head[start:-2]
    line = name + b":"
    if head.startswith(line, start):
        return head[head.index(b"\r\n", start) + 2 : -2]
    begin = head.index(b"\r\n" + line, start - 2) + 2
    return head[start:begin] + head[head.index(b"\r\n", begin) + 2 : -2]


def _apply(rare: dict[bytes, list[bytes]], head: bytes, start: int, into: RequestHead) -> bytes:
    """Act on the fields that most requests lack; the lines without what goes no further than this hop."""
    named = {token for value in rare.get(b"connection", ()) for token in fields.tokens(value)}
    if b"close" in named:
        into.keep_alive = False
    elif b"keep-alive" in named:
        into.keep_alive = True
    _apply_coding(rare, into)
    if into.version == b"1.1":
        _apply_expect(rare, into)
        if b"upgrade" in named and into.length == 0:
            into.upgrade = _protocol(rare.get(b"upgrade", []))
    headers = _cutter.cut(head, start)
    named -= _NAMELESS
    if named:
        into.fields = {name: value for name, value in into.fields.items() if name not in named}
        headers = fields.without(headers, *named)
    return headers


def _apply_coding(rare: dict[bytes, list[bytes]], into: RequestHead) -> None:
    codings = rare.get(b"transfer-encoding")
    if codings is None:
        return
    if into.version == b"1.0":
        raise Refused(400, "HTTP/1.0 has no Transfer-Encoding")
    if len(codings) != 1 or codings[0].strip(b" \t").lower() != b"chunked":
        raise Refused(501, "no Transfer-Encoding but chunked is understood")
    into.length = None


def _apply_expect(rare: dict[bytes, list[bytes]], into: RequestHead) -> None:
    values = rare.get(b"expect")
    if values is None:
        return
    if any(value.strip(b" \t").lower() != b"100-continue" for value in values):
        raise Refused(417, "no Expect but 100-continue is understood")
    into.expects = into.length != 0


def _protocol(values: list[bytes]) -> bytes:
    """The one protocol asked for. h2c is never switched to: behind it the peer would speak past our rules."""
    asked = [token for value in values for token in fields.tokens(value)]
    return asked[0] if asked and asked[0] != b"h2c" else b""


def refusal_of_line(head: bytes) -> Refused:
    """Why a request line is refused (RFC 9112 §3)."""
    line = _ANY_LINE.match(head)
    if line is None:
        return Refused(400, "the request line is malformed")
    method, target, major, minor = line.groups()
    if major != b"1" or minor not in b"01":
        return Refused(505, "only HTTP/1.1 and HTTP/1.0 are spoken here")
    if method == b"TRACE":
        return Refused(405, "TRACE is not allowed")
    if method == b"CONNECT":
        return Refused(501, "CONNECT is not implemented")
    if not target.startswith(b"/") or b"#" in target:
        return Refused(400, "the request target must be a path beginning with /")
    return Refused(501, "the method is not implemented")


def refusal_of_head(head: bytes, error: HttpParserError) -> Refused:
    """Why a head that llhttp did not accept is refused: 501 and 505 where HTTP has them, else 400."""
    if b"\r\n" not in head:
        return Refused(400, "the request line is malformed")
    if _LINE.match(head) is None or isinstance(error, HttpParserInvalidMethodError):
        return refusal_of_line(head)
    values = fields.get_all(head, b"transfer-encoding")
    if (
        values
        and not fields.has(head, b"content-length")
        and not any(b"chunked" in v.lower() for v in values)
    ):
        return Refused(501, "no Transfer-Encoding but chunked is understood")
    return Refused(400, f"the request head is malformed: {error}")

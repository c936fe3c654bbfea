"""Pure. Status lines, made once each."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

_REASONS: Final = {status.value: status.phrase for status in HTTPStatus}
BODILESS: Final = frozenset({204, 304})


def status_line(status: int) -> bytes:
    """`HTTP/1.1 200 OK` with its CRLF.

    Raises:
        ValueError: not three digits from 100 on.
    """
    if not 100 <= status <= 999:
        raise ValueError(f"{status} is not an HTTP status")
    return f"HTTP/1.1 {status} {_REASONS.get(status, 'Status')}\r\n".encode("ascii")


STATUS_LINES: Final = {status: status_line(status) for status in range(100, 1000)}


def one_line(text: str) -> tuple[bytes, bytes]:
    """Headers and body of an answer that is one line of text."""
    body = f"{text}\n".encode()
    return b"Content-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\n" % len(body), body

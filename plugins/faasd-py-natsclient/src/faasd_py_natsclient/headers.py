"""Header blocks, both ways (NATS architecture decision 4). Pure.

Reading is total: the server passes on whatever a publisher called headers, and one odd publisher must not cost its
readers their connection. Writing is strict.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from faasd_py_natsclient.errors import BadHeader

VERSION: Final = "NATS/1.0"
NAME: Final = re.compile(r"[!-9;-~]+")
"""Printable ASCII without the colon."""
BREAKING: Final = re.compile(r"[\r\n\0]")


def encode_headers(headers: Mapping[str, str]) -> bytes:
    """The block with its empty last line.

    Raises:
        BadHeader: a name or value would end its line or change its meaning.
    """
    lines = [VERSION]
    for name, value in headers.items():
        if not NAME.fullmatch(name):
            raise BadHeader(f"header name {name!r}: only printable ASCII without a colon or space")
        if BREAKING.search(value):
            raise BadHeader(f"header {name}: a line break or NUL in its value")
        lines.append(f"{name}: {value}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("utf-8", "surrogateescape")


def decode_headers(block: bytes) -> tuple[dict[str, str], int | None, str]:
    """The headers, the status and its description. Never raises: a line that is no header is skipped."""
    first, *lines = block.decode("utf-8", "surrogateescape").split("\r\n")
    headers: dict[str, str] = {}
    if not first.startswith(VERSION):
        return headers, None, ""
    for line in lines:
        name, colon, value = line.partition(":")
        if colon:
            headers.setdefault(name.strip(), value.strip(" \t"))
    return (headers, *_status(first[len(VERSION) :].strip()))


def _status(text: str) -> tuple[int | None, str]:
    code, _, description = text.partition(" ")
    if len(code) == 3 and code.isascii() and code.isdigit():
        return int(code), description.strip()
    return None, text

"""Pure. An Authorization field's value, read (RFC 7617 basic, RFC 6750 bearer)."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Final

import msgspec

LONGEST: Final = 4096
"""Bytes of the longest value that is looked at."""
_BEARER: Final = re.compile(rb"[-A-Za-z0-9._~+/]+=*")


class Basic(msgspec.Struct, frozen=True):
    """A user and a password, as they were sent."""

    user: bytes
    password: bytes

    def __repr__(self) -> str:
        return "<Basic>"


class Bearer(msgspec.Struct, frozen=True):
    """A token, as it was sent."""

    token: bytes

    def __repr__(self) -> str:
        return "<Bearer>"


def read(value: bytes) -> Basic | Bearer | None:
    """What the value of an Authorization field says; None when it is neither kind, or malformed."""
    if len(value) > LONGEST:
        return None
    scheme, _, rest = value.partition(b" ")
    rest = rest.strip(b" \t")
    if scheme.lower() == b"bearer":
        return Bearer(rest) if _BEARER.fullmatch(rest) else None
    if scheme.lower() == b"basic":
        return _basic(rest)
    return None


def _basic(words: bytes) -> Basic | None:
    try:
        user, colon, password = base64.b64decode(words, validate=True).partition(b":")
    except binascii.Error:
        return None
    return Basic(user, password) if colon else None

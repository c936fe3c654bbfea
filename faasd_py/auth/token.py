"""Bearer tokens: made from 256 random bits, kept as their SHA-256.

A slow digest (scrypt, Argon2) makes guessing dear where people chose the secret. A token has 256 random bits: nobody can try
them all against a digest however fast it is, so a slow one would protect nothing, and cost every request what it costs.
"""

from __future__ import annotations

import re
import secrets
from datetime import datetime
from hashlib import sha256
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from faasd_py.auth import scopes

PREFIX: Final = "fpy_"
"""How a token begins, so that people and scanners for leaked secrets know one when they see it."""
NAME: Final = re.compile(r"[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?", re.ASCII)
Moment = Annotated[datetime, Meta(tz=True)]


class Token(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """What is kept of a token. `sha256`: of its text, in 64 small hexadecimal digits; without `expires_at` it never expires."""

    name: str
    scopes: tuple[str, ...]
    sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
    created_at: Moment | None = None
    expires_at: Moment | None = None

    def valid(self, now: float) -> bool:
        """Whether it has not expired yet; `now` in seconds since 1970."""
        return self.expires_at is None or now < self.expires_at.timestamp()


def make_secret() -> str:
    """The text of a new token."""
    return PREFIX + secrets.token_urlsafe(32)


def digest(secret: bytes) -> str:
    """What is kept of a token's text."""
    return sha256(secret).hexdigest()


def check(name: str, wanted: tuple[str, ...]) -> None:
    """A token may be called that, and have these scopes.

    Raises:
        ValueError: one sentence saying what was expected.
    """
    if not NAME.fullmatch(name):
        raise ValueError(
            f"name: expected 1 to 63 letters, digits, '-', '_' or '.', first and last a letter or digit, got {name[:70]!r}"
        )
    try:
        scopes.check(wanted)
    except ValueError as error:
        raise ValueError(f"scopes: {error}") from None

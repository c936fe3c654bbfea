"""tokens.json: the tokens there are, none of them in clear.

{"tokens": [{"name": "ci", "scopes": ["read"], "sha256": "…64 digits…", "expires_at": "2027-01-01T00:00:00Z"}]}
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from faasd_py.auth import files, token
from faasd_py.auth.token import Token
from faasd_py.core.errors import ConfigError

MOST: Final = 1000
"""Tokens in one file."""


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    tokens: list[Token]


def load(path: Path, *, required: bool) -> tuple[Token, ...]:
    """The tokens in a file; none when it is not there and need not be.

    Raises:
        ConfigError: it cannot be read, or something in it is wrong; the text names the file and the place.
    """
    data = files.read(path)
    if data is None:
        if required:
            raise ConfigError(f"auth.tokens: {path}: there is no such file")
        return ()
    try:
        found = msgspec.json.decode(data, type=_File).tokens
        _check(found)
    except (msgspec.DecodeError, ValueError) as error:
        raise ConfigError(f"{path}: {_sentence(str(error))}") from None
    return tuple(found)


def save(path: Path, kept: Sequence[Token]) -> None:
    """Write the file anew, mode 0600; on the disk when this returns.

    Raises:
        OSError: it cannot be written; the old one is untouched.
    """
    data = msgspec.json.encode(_File(list(kept)))
    files.write(path, msgspec.json.format(data, indent=2) + b"\n")


def _check(found: Sequence[Token]) -> None:
    if len(found) > MOST:
        raise ValueError(f"there are more than {MOST} tokens")
    for index, one in enumerate(found):
        try:
            token.check(one.name, one.scopes)
        except ValueError as error:
            raise ValueError(f"tokens[{index}].{error}") from None
    for key in ("name", "sha256"):
        value, count = Counter(getattr(one, key) for one in found).most_common(1)[0] if found else ("", 0)
        if count > 1:
            raise ValueError(f"there are {count} tokens with the {key} {value}")


def _sentence(text: str) -> str:
    return text[:1].lower() + text[1:]

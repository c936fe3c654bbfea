"""A plug-in's own table of config.toml, read as ours are: the same values, and the same sentences when it is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from faasd_py.config.explain import explain
from faasd_py.core.durations import Duration, parse_duration, parse_size
from faasd_py.core.errors import ConfigError

T = TypeVar("T")


def convert_options(given: Mapping[str, Any], kind: type[T], place: str) -> T:
    """The table `given`, which lies at `place` in config.toml, as a Struct of `kind`; `Duration` and `Size` are read, too.

    Raises:
        ConfigError: naming the key, what was expected there, and what was found.
    """
    try:
        return msgspec.convert(dict(given), kind, dec_hook=decode)
    except msgspec.ValidationError as error:
        raise ConfigError(explain(str(error), given, kind, place)) from None


def read_secret(path: str | None, place: str) -> str | None:
    """The secret in the file that the setting at `place` names, without the white space around it; None: no file is named.

    Raises:
        ConfigError: it cannot be read.
    """
    if path is None:
        return None
    try:
        return Path(path).read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{place}: cannot read {path}: {error}") from None


def decode(kind: type, value: Any) -> object:
    """What a duration or a size in the file means, for msgspec."""
    return parse_duration(value) if kind is Duration else parse_size(value)

"""Print settings as the TOML that would make them."""

from __future__ import annotations

import datetime as dt
import json
import math
import re
from collections.abc import Iterator
from typing import Any

import msgspec

from faasd_py.core.durations import Duration, Size

_BARE = re.compile(r"[A-Za-z0-9_-]+")


def show(settings: msgspec.Struct) -> str:
    """The settings as TOML, every value written out; keys whose value is None are left out."""
    return "\n".join(_table(plain(settings), "")).strip() + "\n"


def plain(value: Any) -> Any:
    """The settings as dicts, lists, numbers and strings; durations and sizes as people write them."""
    if isinstance(value, msgspec.Struct):
        return {name: plain(getattr(value, name)) for name in value.__struct_fields__}
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, frozenset):
        return sorted(value)
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return str(value) if isinstance(value, Duration | Size) else value


def _table(table: dict[str, Any], path: str) -> Iterator[str]:
    for key, value in table.items():
        if value is not None and not isinstance(value, dict):
            yield f"{_key(key)} = {_value(value)}"
    for key, value in table.items():
        if isinstance(value, dict):
            below = f"{path}.{_key(key)}" if path else _key(key)
            yield f"\n[{below}]"
            yield from _table(value, below)


def _key(key: str) -> str:
    return key if _BARE.fullmatch(key) else _value(key)


def _value(value: Any) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(_value(item) for item in value) + "]"
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_key(k)} = {_value(v)}" for k, v in value.items()) + " }"
    if isinstance(value, dt.date | dt.time):
        return value.isoformat()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")

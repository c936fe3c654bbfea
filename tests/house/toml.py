"""Settings as the TOML that says them: only as much of it as configurations need."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def toml(tables: Mapping[str, Any], path: str = "") -> str:
    """The tables as TOML."""
    plain = [
        f"{json.dumps(key)} = {_value(value)}" for key, value in tables.items() if not isinstance(value, dict)
    ]
    below = [
        f"\n[{path}{json.dumps(key)}]\n{toml(value, f'{path}{json.dumps(key)}.')}"
        for key, value in tables.items()
        if isinstance(value, dict)
    ]
    return "\n".join(plain + below)


def _value(value: Any) -> str:
    return json.dumps(value)

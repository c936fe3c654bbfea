"""Pure. The watchdogs' variables that a process mode can heed (OpenFaaS wire contract §4.4, §4.5).

A value that cannot be read counts as not given, as with the watchdogs; so does one of what the function's mode has not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from faasd_py.config.rules import SETTINGS_OF
from faasd_py.core.durations import parse_duration

MODES: Final = {"http": "http", "streaming": "stream", "serializing": "fork"}
"""Of-watchdog's `mode` to ours."""
ELSEWHERE: Final = frozenset({"afterburn", "inproc", "static"})
"""Its modes that nothing here is like."""
_LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1", "0.0.0.0"})  # noqa: S104 - compared, not bound


def heeded(variables: Mapping[str, str], mode: str) -> dict[str, Any]:
    """The settings that these variables mean to a function of this mode."""
    found = {}
    for variable, (key, read) in _READ.items():
        everywhere = not any(key in settings for settings in SETTINGS_OF.values())
        if variable in variables and (everywhere or key in SETTINGS_OF[mode]):
            try:
                found[key] = read(variables[variable].strip())
            except ValueError:
                continue
    return found


def process(variables: Mapping[str, str]) -> str:
    """The command that the watchdog would run; empty when there is none."""
    return variables.get("function_process") or variables.get("fprocess") or ""


def _true(text: str) -> bool:
    return text in {"true", "1"}


def _at_once(text: str) -> int:
    return max(0, int(text)) if len(text) < 10 else 0


def _path(text: str) -> str:
    if not text.startswith("/"):
        raise ValueError(text)
    return text


def _port(text: str) -> int:
    url = urlsplit(text)
    if url.hostname not in _LOOPBACK or not url.port:
        raise ValueError(text)
    return url.port


_READ: Final[dict[str, tuple[str, Callable[[str], object]]]] = {
    "read_timeout": ("read_timeout", parse_duration),
    "write_timeout": ("write_timeout", parse_duration),
    "exec_timeout": ("exec_timeout", parse_duration),
    "grace_period": ("kill_grace", parse_duration),
    "max_inflight": ("max_inflight", _at_once),
    "combine_output": ("combine_output", _true),
    "cgi_headers": ("cgi_headers", _true),
    "content_type": ("content_type", str),
    "ready_path": ("ready_path", _path),
    "upstream_url": ("port", _port),
    "http_upstream_url": ("port", _port),
}

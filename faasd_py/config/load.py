"""Read config.toml: find it, parse it, refuse what is not so, naming the file, the table and the key."""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path
from typing import Any, Final

import msgspec

from faasd_py.config.settings import Config, FunctionSettings
from faasd_py.core import names
from faasd_py.core.durations import Duration, Size, parse_duration, parse_size
from faasd_py.core.errors import ConfigError

DEFAULT_PATH: Final = "/etc/faasd-py/config.toml"
_PATH: Final = re.compile(r"^(?P<what>.*?)(?: - at `\$\.?(?P<path>.*)`)?$", re.DOTALL)
_UNKNOWN: Final = re.compile(r"Object contains unknown field `(?P<key>.*)`")
_MISSING: Final = re.compile(r"Object missing required field `(?P<key>.*)`")


def find(path: str | None) -> Path:
    """The file to read: the argument, else $FAASD_PY_CONFIG, else /etc/faasd-py/config.toml."""
    return Path(path or os.environ.get("FAASD_PY_CONFIG") or DEFAULT_PATH)


def load(path: Path) -> Config:
    """The settings in a file.

    Raises:
        ConfigError: one sentence with file, table and key.
    """
    try:
        text = path.read_bytes().decode()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not UTF-8: byte {error.start} is wrong") from error
    return parse(text, str(path))


def parse(text: str, source: str) -> Config:
    """The settings in a text; `source` is what errors call it.

    Raises:
        ConfigError: one sentence with file, table and key.
    """
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{source}: {_sentence(str(error))}") from error
    try:
        config = msgspec.convert(raw, Config, dec_hook=_decode)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{source}: {_explain(str(error), raw)}") from error
    for name, function in config.functions.items():
        _check_function(f"{source}: functions.{name}", name, function)
    return _with_environment(config, raw)


def _decode(kind: type, value: object) -> object:
    if kind is Duration and isinstance(value, str | int):
        return parse_duration(value)
    if kind is Size and isinstance(value, str | int):
        return parse_size(value)
    if kind is Duration:
        raise ValueError(f'expected a duration like "250ms", "10s" or "1m30s", got {value!r}')
    raise ValueError(f'expected a size like "256KiB" or "64MiB", got {value!r}')


def _with_environment(config: Config, raw: dict[str, Any]) -> Config:
    """Under systemd, the directories that the unit made win over the defaults (not over the file)."""
    given = raw.get("state", {})
    state = config.state
    for key, variable in (("directory", "STATE_DIRECTORY"), ("runtime_directory", "RUNTIME_DIRECTORY")):
        if key not in given and (value := os.environ.get(variable)):
            state = msgspec.structs.replace(state, **{key: value.split(":")[0]})
    return msgspec.structs.replace(config, state=state)


def _check_function(place: str, name: str, function: FunctionSettings) -> None:
    try:
        names.check(name)
    except ValueError as error:
        raise ConfigError(f"{place}: {error}") from None
    kinds = [key for key in ("command", "url", "image") if getattr(function, key) is not None]
    if len(kinds) != 1:
        got = "none of them" if not kinds else " and ".join(kinds)
        raise ConfigError(f"{place}: expected exactly one of command, url and image, got {got}")
    if function.command is not None and not all(function.command[:1]):
        raise ConfigError(f"{place}.command: expected the program to run, got an empty list")
    if function.command == []:
        raise ConfigError(f"{place}.command: expected the program to run, got an empty list")
    if function.retry.attempts < 1:
        raise ConfigError(f"{place}.retry.attempts: expected an integer >= 1, got {function.retry.attempts}")
    if function.replicas.max < function.replicas.min:
        raise ConfigError(f"{place}.replicas: expected max >= min, got max {function.replicas.max}")


def _sentence(text: str) -> str:
    return text[:1].lower() + text[1:]


def _explain(text: str, raw: dict[str, Any]) -> str:
    """An error of msgspec as `table.key: what was expected, got what`."""
    match = _PATH.match(text)
    what, path = (match["what"], match["path"] or "") if match else (text, "")
    if "[...]" in path:
        path = _locate(path, what, raw)
    if unknown := _UNKNOWN.fullmatch(what):
        return f"{'.'.join(filter(None, (path, unknown['key'])))}: there is no such setting"
    if missing := _MISSING.fullmatch(what):
        return f"{path}.{missing['key']}: this setting is required"
    return f"{path}: {_sentence(what).replace('`', '')}{_got(path, raw, what)}"


def _locate(path: str, what: str, raw: dict[str, Any]) -> str:
    """The path msgspec gives has no dict keys (`functions[...].x`): find which function it is by trying each."""
    head, _, tail = path.partition("[...]")
    if head != "functions":
        return path
    for name, value in raw.get("functions", {}).items():
        try:
            msgspec.convert(value, FunctionSettings, dec_hook=_decode)
        except msgspec.ValidationError as error:
            if what in str(error):
                return f"functions.{name}{tail}"
    return path


def _got(path: str, raw: Any, what: str) -> str:
    """`, got VALUE`, when the path can be followed and the sentence does not say it yet."""
    if ", got " in what and "`" not in what:
        return ""
    value = raw
    for part in re.findall(r"[^.\[\]]+", path):
        try:
            value = value[int(part)] if isinstance(value, list) else value[part]
        except (KeyError, IndexError, ValueError, TypeError):
            return ""
    shown = value if isinstance(value, dict | list) else msgspec.json.encode(value, enc_hook=str).decode()
    return f" (it is {shown})"

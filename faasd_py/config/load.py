"""Read config.toml: find it, parse it, refuse what is not so, naming the file, the table and the key."""

from __future__ import annotations

import json
import os
import tomllib
from pathlib import Path
from typing import Any, Final

import msgspec

from faasd_py.config.explain import explain
from faasd_py.config.options import decode
from faasd_py.config.rules import broken
from faasd_py.config.settings import Config, FunctionSettings
from faasd_py.core.errors import ConfigError

DEFAULT_PATH: Final = "/etc/faasd-py/config.toml"
_OF_FUNCTIONS: Final = ("functions", "images")
"""Tables of tables with a function's settings."""


def find(path: str | None) -> Path:
    """The file to read: the argument, else $FAASD_PY_CONFIG, else /etc/faasd-py/config.toml."""
    return Path(path or os.environ.get("FAASD_PY_CONFIG") or DEFAULT_PATH)


def load(path: Path) -> Config:
    """The settings in a file.

    Raises:
        ConfigError: one sentence with file, table and key.
    """
    return parse(read(path), str(path))


def read(path: Path) -> str:
    """The text of a file.

    Raises:
        ConfigError: it cannot be read, or is not UTF-8.
    """
    try:
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        place = f": byte {error.start} is wrong" if isinstance(error, UnicodeDecodeError) else ""
        raise ConfigError(f"{path}: is not UTF-8{place}") from error


def parse(text: str, source: str) -> Config:
    """The settings in a text; `source` is what errors call it.

    Raises:
        ConfigError: one sentence with file, table and key: the first thing that is wrong.
    """
    config, wrong = examine(text)
    if config is None or wrong:
        raise ConfigError(f"{source}: {wrong[0]}")
    return config


def examine(text: str) -> tuple[Config | None, list[str]]:
    """The settings in a text, and a sentence for each thing that is wrong; None when there are no settings for it."""
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        return None, [_sentence(str(error))]
    except RecursionError:
        return None, ["is nested too deeply"]
    wrong: list[str] = []
    functions, images = (_functions(raw, key, wrong) for key in _OF_FUNCTIONS)
    tables = {key: _table(key, value, wrong) for key, value in raw.items() if key not in _OF_FUNCTIONS}
    if wrong:
        return None, wrong
    config = _with_environment(Config(**tables, functions=functions, images=images), raw)
    return config, list(broken(config))


def _table(key: str, value: Any, wrong: list[str]) -> Any:
    """One table, or one setting outside of the tables; each by itself, so that all errors come to light at once."""
    try:
        return getattr(msgspec.convert({key: value}, Config, dec_hook=decode), key)
    except msgspec.ValidationError as error:
        wrong.append(explain(str(error), {key: value}, Config))


def _functions(raw: dict[str, Any], key: str, wrong: list[str]) -> dict[str, FunctionSettings]:
    tables = raw.get(key, {})
    if not isinstance(tables, dict):
        _table(key, tables, wrong)
        return {}
    functions = {}
    for name, value in tables.items():
        try:
            functions[name] = msgspec.convert(value, FunctionSettings, dec_hook=decode)
        except msgspec.ValidationError as error:
            wrong.append(explain(str(error), value, FunctionSettings, _place(key, name)))
    return functions


def _place(key: str, name: str) -> str:
    return f"{key}.{name}" if key == "functions" else f"{key}.{json.dumps(name)}"


def _with_environment(config: Config, raw: dict[str, Any]) -> Config:
    """Under systemd, the directories that the unit made win over the defaults (not over the file)."""
    given = raw.get("state", {})
    state = config.state
    for key, variable in (("directory", "STATE_DIRECTORY"), ("runtime_directory", "RUNTIME_DIRECTORY")):
        if key not in given and (value := os.environ.get(variable)):
            state = msgspec.structs.replace(state, **{key: value.split(":")[0]})
    return msgspec.structs.replace(config, state=state)


def _sentence(text: str) -> str:
    return text[:1].lower() + text[1:]

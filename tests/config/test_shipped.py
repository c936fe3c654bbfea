"""config.toml as it is shipped: every setting is there, at its default."""

import re
import tomllib
from pathlib import Path

import msgspec
import pytest

from faasd_py.config import Config, FunctionSettings, load, parse, plain
from faasd_py.config.show import _table
from faasd_py.core.durations import Duration, Size

SHIPPED = Path(__file__).parents[2] / "config.toml"
TEXT = SHIPPED.read_text()
UNSET = {"gateway.tls", "auth.user_file", "auth.password_file", "auth.tokens", "workers.groups"}
"""Settings that have no default: in the file as an example, commented out."""


def uncommented() -> dict:
    """The file with its examples switched on: lines that are settings or tables behind one '# '."""
    lines = [
        re.sub(r"^# (?=(\[[a-z.]+(\"[^\"]+\")?\]|[A-Za-z_]+ = ))", "", line) for line in TEXT.splitlines()
    ]
    return tomllib.loads("\n".join(line for line in lines if not line.startswith("#   ")))


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch):
    for name in ("STATE_DIRECTORY", "RUNTIME_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)


def test_it_parses_to_the_defaults():
    """Starting with it is starting with nothing."""
    assert load(SHIPPED) == Config()


def names(kind: type, path: str = "") -> set[str]:
    """Every setting below a table, by its path: `gateway.listen`."""
    found = set()
    for field in msgspec.structs.fields(kind):
        place = f"{path}{field.name}"
        found.add(place)
        value = field.default if field.default is not msgspec.NODEFAULT else None
        if isinstance(value, msgspec.Struct):
            found |= names(type(value), f"{place}.")
    return found


def given(table: dict, path: str = "") -> set[str]:
    """Every key of a parsed file."""
    found = set()
    for key, value in table.items():
        found.add(f"{path}{key}")
        if isinstance(value, dict):
            found |= given(value, f"{path}{key}.")
    return found


def test_every_setting_is_named_at_its_default():
    """Live, not commented out, except what has no default."""
    missing = names(Config) - given(tomllib.loads(TEXT)) - UNSET - {"functions"}
    assert missing == set()
    assert given(uncommented()) >= UNSET | {"gateway.tls.certificate", "gateway.tls.key"}


def merged() -> dict:
    """The example functions laid over each other: together they show every setting."""
    table: dict = {}
    for function in uncommented()["functions"].values():
        table |= function
    return table


def test_every_function_setting_is_named():
    """In the commented examples."""
    assert names(FunctionSettings) - given(merged()) == set()


def test_examples_show_the_defaults():
    """A commented setting has its default, except where the comment says what the default is, or it names something."""
    free = {
        "command",
        "url",
        "image",
        "working_directory",
        "user",
        "environment",
        "limits",
        "confine",
        "labels",
        "annotations",
    }
    free |= {"auth", "rate", "content_type", "ready_path", "health_path", "retry.max_retry_after", "mode"}
    defaults, examples = plain(FunctionSettings()), merged()

    def compare(defaults: dict, examples: dict, path: str = "") -> None:
        for key, value in examples.items():
            if f"{path}{key}" in free:
                continue
            if isinstance(value, dict):
                compare(defaults[key], value, f"{path}{key}.")
            else:
                assert value == defaults[key], f"{path}{key}"

    compare(defaults, examples)


def test_the_examples_are_valid():
    """Whoever takes the comment signs away gets a configuration that is accepted."""
    config = parse("\n".join(_table(uncommented(), "")), "examples")
    assert set(config.functions) == {"resize", "api", "remote", "box"}
    assert set(config.images) == {"functions/alpine:*"}


def test_every_line_says_what_it_means():
    """Each live setting has a comment above it or behind it."""
    lines = TEXT.splitlines()
    for number, line in enumerate(lines):
        if re.match(r"[a-z_]+ = ", line):
            assert lines[number - 1].startswith("# "), line


def test_durations_and_sizes_are_written_as_people_write_them():
    """No bare numbers of unknown unit."""

    def walk(kind: type, table: dict) -> None:
        for field in msgspec.structs.fields(kind):
            value = table.get(field.name)
            default = field.default
            if isinstance(default, Duration | Size):
                assert isinstance(value, str), field.name
            elif isinstance(default, msgspec.Struct):
                walk(type(default), value)

    walk(Config, tomllib.loads(TEXT) | {"functions": {}})

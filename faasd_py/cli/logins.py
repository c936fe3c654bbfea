"""The file in which faas-cli keeps credentials, `~/.openfaas/config.yml`: found, read, and changed without touching the rest of it.

The file is YAML, but always of one shape, and this reads that shape and no other: a library for all of YAML would be the
largest thing in the house that takes in a file.

    auths:
        - gateway: http://127.0.0.1:8080
          auth: basic
          token: YWRtaW46c2VjcmV0
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Final

import msgspec

from faasd_py.cli.errors import Failed, Usage

FILE: Final = "config.yml"
BASIC, BEARER = "basic", "oauth2"
"""What faas-cli calls the two kinds: `token` is base64 of USER:PASSWORD, or a bearer token."""
_HEAD: Final = re.compile(r"auths:\s*(?:\[\]|null|~)?\s*(?:#.*)?")
_ITEM: Final = re.compile(r"( *)-( +)(?=\w)")
_FIELD: Final = re.compile(r"(\w+):(?:\s+(.*))?")
_NOTHING: Final = re.compile(r"\s*(?:#.*)?")
_QUOTED: Final = re.compile(r"""(?:'((?:[^']|'')*)'|("(?:[^"\\]|\\.)*"))(?:\s+#.*)?""")
_PLAIN: Final = re.compile(r"[^\s'\"\[\]{}&*!|>%@`#,-][^\s]*(?: +[^\s#][^\s]*)*")


class Login(msgspec.Struct, frozen=True):
    """Credentials for one gateway. `kind` is one of the two, or whatever else somebody wrote."""

    gateway: str
    kind: str
    token: str

    def __repr__(self) -> str:
        return f"<Login {self.gateway} {self.kind}>"


class _Entry(msgspec.Struct):
    """Lines `start` to `end` of the file, and the values in them."""

    start: int
    end: int
    values: dict[str, str]


class _Parsed(msgspec.Struct):
    """`head` is the line with `auths:`, None without one; `indent` is where its dashes stand."""

    lines: list[str]
    head: int | None = None
    indent: int = 4
    entries: list[_Entry] = []


def path() -> Path:
    """Where it is: $OPENFAAS_CONFIG is the folder (or the file itself), by default ~/.openfaas."""
    given = os.environ.get("OPENFAAS_CONFIG")
    place = Path(given).expanduser() if given else Path.home() / ".openfaas"
    return place if place.is_file() else place / FILE


def find(gateway: str) -> Login | None:
    """What is kept for a gateway; None when there is nothing.

    Raises:
        Failed: the file cannot be read.
        Usage: it is not of the known shape; the sentence has the line.
    """
    file = path()
    wanted = normal(gateway)
    for entry in _parse(_read(file), file).entries:
        values = entry.values
        if normal(values.get("gateway", "")) == wanted and values.get("token"):
            return Login(values["gateway"], values.get("auth", BASIC), values["token"])
    return None


def keep(login: Login) -> Path:
    """Put it into the file, in the place of what was kept for the same gateway; mode 0600. Raises as `find`."""
    file = path()
    parsed = _parse(_read(file), file)
    dash, field = " " * parsed.indent + "- ", " " * (parsed.indent + 2)
    words = {"gateway": normal(login.gateway), "auth": login.kind, "token": login.token}
    block = [
        f"{dash if key == 'gateway' else field}{key}: {json.dumps(value)}" for key, value in words.items()
    ]
    for entry in reversed(parsed.entries):
        if normal(entry.values.get("gateway", "")) == normal(login.gateway):
            del parsed.lines[entry.start : entry.end]
    if parsed.head is None:
        parsed.lines += ["auths:", *block]
    else:
        parsed.lines[parsed.head : parsed.head + 1] = ["auths:", *block]
    _write(file, "\n".join(parsed.lines) + "\n")
    return file


def normal(gateway: str) -> str:
    """As faas-cli compares gateways: in small letters, without a slash at the end."""
    return gateway.strip().lower().rstrip("/")


def _parse(text: str, file: Path) -> _Parsed:
    parsed = _Parsed(text.splitlines(), entries=[])
    inside = False
    for number, line in enumerate(parsed.lines):
        if _NOTHING.fullmatch(line):
            continue
        if line[0] not in " -\t":
            inside = parsed.head is None and line.startswith("auths:")
            if inside:
                _check(_HEAD.fullmatch(line), file, number)
                parsed.head = number
        elif inside:
            _take(parsed, file, number, line)
    return parsed


def _take(parsed: _Parsed, file: Path, number: int, line: str) -> None:
    """A line below `auths:`: a new entry, a field of the last one, or something deeper that is not ours to understand."""
    item = _ITEM.match(line)
    if not parsed.entries:
        _check(item, file, number)
        parsed.indent = len(item[1]) if item else 0
    depth = len(line) - len(line.lstrip(" "))
    if item and depth == parsed.indent:
        parsed.entries.append(_Entry(number, number + 1, {}))
        line, depth = line[item.end() :], item.end()
    last = parsed.entries[-1]
    last.end = number + 1
    _check(depth > parsed.indent, file, number)
    field = _FIELD.fullmatch(line.strip())
    if field and depth == parsed.indent + 2 and field[1] in {"gateway", "auth", "token"}:
        value = _scalar(field[2] or "")
        _check(value is not None, file, number)
        last.values[field[1]] = value or ""


def _scalar(text: str) -> str | None:
    """A plain or quoted word; None when it is something else."""
    text = text.strip()
    quoted = _QUOTED.fullmatch(text)
    if quoted and quoted[1] is not None:
        return quoted[1].replace("''", "'")
    if quoted:
        try:
            return str(json.loads(quoted[2]))
        except ValueError:
            return None
    text = text.partition(" #")[0].rstrip()
    return text if not text or _PLAIN.fullmatch(text) else None


def _check(good: object, file: Path, number: int) -> None:
    if not good:
        raise Usage(f"{file}:{number + 1}: is not as faas-cli writes it; take the line out, or log in anew")


def _read(file: Path) -> str:
    try:
        return file.read_text("utf-8")
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise Failed(f"{file}: cannot be read: {getattr(error, 'strerror', 'it is not UTF-8')}") from None


def _write(file: Path, text: str) -> None:
    beside = file.with_name(f".{file.name}.new")
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        beside.unlink(missing_ok=True)
        fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "w", encoding="utf-8") as out:
            out.write(text)
        beside.replace(file.resolve())
    except OSError as error:
        raise Failed(f"{file}: cannot be written: {error.strerror}") from None

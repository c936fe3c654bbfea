"""Pure. An error of msgspec in the operator's words: `table.key: what was expected, got what`."""

from __future__ import annotations

import difflib
import json
import re
from types import UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin, get_type_hints

import msgspec

_WHERE: Final = re.compile(r"^(?P<what>.*?)(?: - at `\$\.?(?P<path>.*)`)?$", re.DOTALL)
_FIELD: Final = re.compile(
    r"Object (?P<fault>contains unknown|missing required) field `(?P<key>.*)`", re.DOTALL
)
_EXPECTED: Final = re.compile(r"Expected `(?P<kind>[^`]*)`(?P<bound>[^,]*)(?:, got .*)?", re.DOTALL)
_GOT: Final = re.compile(r", got .*", re.DOTALL)
_STEP: Final = re.compile(r"(?P<key>[^.\[\]]+)|\[(?P<index>\d+)\]|(?P<any>\[\.\.\.\])")
_LONGEST: Final = 80
_KINDS: Final = {
    "object": "a table",
    "array": "an array",
    "str": "a string",
    "int": "an integer",
    "float": "a number",
    "bool": "true or false",
    "str | array": "a string or an array",
}


def explain(error: str, raw: Any, kind: Any, place: str = "") -> str:
    """The sentence for a ValidationError's text: `raw` is what was converted to `kind`, `place` is where it lies."""
    match = _WHERE.match(error)
    what, path = (match["what"], match["path"] or "") if match else (error, "")
    steps, raw, kind = _walk(path, raw, kind)
    where = ".".join(filter(None, (place, steps))).replace(".[", "[")
    if field := _FIELD.fullmatch(what):
        key = ".".join(filter(None, (where, field["key"])))
        if field["fault"] == "missing required":
            return f"{key}: this setting is required"
        return f"{key}: there is no such setting{_meant(field['key'], kind)}"
    return f"{where}: {_expected(what, kind)}, got {shown(raw)}"


def shown(value: Any) -> str:
    """A value as the file might have it, not too long."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _expected(what: str, kind: Any) -> str:
    if choices := get_args(kind) if get_origin(kind) is Literal else ():
        return "expected " + " or ".join(", ".join(f'"{choice}"' for choice in choices).rsplit(", ", 1))
    if match := _EXPECTED.fullmatch(what):
        word = match["kind"].removesuffix(" | null")
        return f"expected {_KINDS.get(word, word)}{match['bound']}"
    text = _GOT.sub("", what).replace("`", "")
    return text[:1].lower() + text[1:]


def _walk(path: str, raw: Any, kind: Any) -> tuple[str, Any, Any]:
    """Follow a path of msgspec's: the path as the operator writes it, the value there, and the type it should have."""
    steps = ""
    for step in _STEP.finditer(path):
        kind = _bare(kind)
        key: Any = int(step["index"]) if step["index"] else step["key"]
        if step["any"]:  # msgspec does not tell the key: all such tables hold strings
            key = next((name for name, value in raw.items() if not isinstance(value, str)), "")
        steps += f"[{key}]" if step["index"] else f".{key}"
        raw, kind = raw[key], _below(kind, key)
    return steps.removeprefix("."), raw, _bare(kind)


def _below(kind: Any, key: Any) -> Any:
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return get_type_hints(kind, include_extras=True)[key]
    return (get_args(kind) or (Any,))[-1]


def _bare(kind: Any) -> Any:
    """The type without its annotations and without `| None`."""
    while True:
        if get_origin(kind) not in {Annotated, Union, UnionType}:
            return kind
        kind = get_args(kind)[0]


def _meant(key: str, kind: Any) -> str:
    known = kind.__struct_fields__ if isinstance(kind, type) and issubclass(kind, msgspec.Struct) else ()
    close = difflib.get_close_matches(key.lower().replace("-", "_"), known, n=1)
    return f" (is {close[0]} meant?)" if close else ""

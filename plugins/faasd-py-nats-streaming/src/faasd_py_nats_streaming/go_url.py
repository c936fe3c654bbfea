"""Pure. A URL as Go's JSON has its `url.URL`: an object with these keys, and no user (OpenFaaS wire contract §2.2)."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import quote, unquote, urlsplit

KEYS: Final = (
    "Scheme", "Opaque", "User", "Host", "Path", "RawPath", "OmitHost", "ForceQuery", "RawQuery", "Fragment",
    "RawFragment",
)  # fmt: skip
"""In Go's order, which encoding/json keeps."""
_PATH: Final = "$&+,/:;=@!'()*~-._[]"
"""What Go leaves as it is in a path, when it has to spell one (net/url, encodePath, and the marks it accepts)."""
_FRAGMENT: Final = _PATH + "?"


def parse(text: str) -> dict[str, Any]:
    """The object of an absolute http URL, as Go's parser fills it. Credentials do not survive."""
    bare, hash_, raw_fragment = text.partition("#")
    parts = urlsplit(bare)
    path, fragment = unquote(parts.path), unquote(raw_fragment)
    return {
        "Scheme": parts.scheme,
        "Opaque": "",
        "User": None,
        "Host": parts.netloc.rpartition("@")[2],
        "Path": path,
        "RawPath": "" if _go_quote(path) == parts.path else parts.path,
        "OmitHost": False,
        "ForceQuery": not parts.query and bare.endswith("?"),
        "RawQuery": parts.query,
        "Fragment": fragment,
        "RawFragment": "" if not hash_ or quote(fragment, safe=_FRAGMENT) == raw_fragment else raw_fragment,
    }


def _go_quote(path: str) -> str:
    return quote(path, safe="$&+,/:;=@~-._")


def unparse(url: dict[str, Any]) -> str:
    """The URL of an object, as Go's `String` puts it together; other kinds of values count as not there."""
    opaque, path = _text(url, "Opaque"), _path(url)
    scheme, host = _text(url, "Scheme"), _text(url, "Host")
    out = f"{scheme}:" if scheme else ""
    if opaque:
        out += opaque
    else:
        if host or (scheme and path.startswith("/") and not url.get("OmitHost")):
            out += f"//{host}"
        out += f"/{path}" if host and path and not path.startswith("/") else path
    query = _text(url, "RawQuery")
    if query or url.get("ForceQuery") is True:
        out += f"?{query}"
    fragment = _text(url, "RawFragment") or quote(_text(url, "Fragment"), safe=_FRAGMENT)
    return f"{out}#{fragment}" if fragment else out


def _path(url: dict[str, Any]) -> str:
    """RawPath counts only where it is a spelling of Path."""
    path, raw = _text(url, "Path"), _text(url, "RawPath")
    return raw if raw and unquote(raw) == path else _go_quote(path)


def _text(url: dict[str, Any], key: str) -> str:
    value = url.get(key)
    return value if isinstance(value, str) else ""

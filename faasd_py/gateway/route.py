"""Pure. Where a request target leads: a function, the queue, the control plane, or a cleaner path.

OpenFaaS wire contract §1.0 and §1.5: three forms of a name (`/function/NAME`, `…/NAME/`, `…/NAME/path`), a path that is not
canonical is answered with 301, the query is left as it is. The rest of the path reaches the function as it came, still
percent-encoded.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote_to_bytes

SYNC: Final = b"/function/"
ASYNC: Final = b"/async-function/"
_ROUTE: Final = re.compile(rb"/(?:(async-)?function)/([-a-zA-Z_0-9.%]*)(/[^?]*)?(\?.*)?", re.DOTALL)
_UNCLEAN: Final = re.compile(rb"//|/\.\.?(?:/|$)")


def split(target: bytes) -> tuple[bytes, bytes] | None:
    """`(name, rest)` of an invocation's target; the rest begins with `/` and carries the query. None: no such route."""
    match = _ROUTE.fullmatch(target)
    if match is None:
        return None
    _, name, path, query = match.groups(b"")
    if b"%" in name:
        name = unquote_to_bytes(name)
    return name, (path or b"/") + query


def is_system(target: bytes) -> bool:
    """Whether the path, however it is written, is an operator's: below /system/ or /ui/."""
    path = unquote_to_bytes(target.partition(b"?")[0])
    return path == b"/ui" or path.startswith((b"/system/", b"/ui/"))


def cleaned(target: bytes) -> bytes | None:
    """The canonical target when this one has `//`, `.` or `..` in its path; None when it is canonical."""
    path, mark, query = target.partition(b"?")
    if not _UNCLEAN.search(path):
        return None
    parts: list[bytes] = []
    for part in path.split(b"/"):
        if part == b"..":
            parts = parts[:-1]
        elif part not in {b"", b"."}:
            parts.append(part)
    end = b"/" if parts and path.endswith((b"/", b"/.", b"/..")) else b""
    return b"/" + b"/".join(parts) + end + mark + query

"""What a request carries: a JSON body as a Struct, and the namespace that it means."""

from __future__ import annotations

from typing import TypeVar

import msgspec
from quart import request

from faasd_py.control.refused import Refused

_Kind = TypeVar("_Kind", bound=msgspec.Struct)


async def incoming(kind: type[_Kind]) -> _Kind:
    """The body as a `kind`; keys that it does not know are ignored, as clients of every age send some.

    Raises:
        Refused: 400, there is none, or it is not what was expected: with the place.
    """
    body = await request.get_data()
    if not body:
        raise Refused(400, "expected a body")
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Refused(400, f"the body cannot be read: {_sentence(error)}") from None


def namespace_of(in_body: str, default: str) -> str:
    """New clients name the namespace in the body, old ones in the query (wire contract §1.4); else the default one."""
    return in_body or request.args.get("namespace", "") or default


def _sentence(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    text = str(error)
    return text[:1].lower() + text[1:]

"""Pure. One operation of the REST API as it is documented: the OpenAPI page is made of these, and tests hold the app to them."""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec

from faasd_py.control.views import Problem

Scope = Literal["open", "read", "admin"]
Kind = Literal["string", "integer", "boolean"]
TEXT: Final = "text/plain"
"""An answer that is one line of text."""
JSON: Final = "application/json"
BINARY: Final = "application/octet-stream"


class Nothing(msgspec.Struct, frozen=True):
    """An answer without a body."""


class Parameter(msgspec.Struct, frozen=True, kw_only=True):
    """A parameter of the query, or of the path when the path has its name in braces."""

    name: str
    about: str
    kind: Kind = "string"
    values: tuple[str, ...] = ()
    """All that it may be."""


class Answer(msgspec.Struct, frozen=True):
    """What comes back with a status: a type that msgspec knows as JSON, or None for a body that is no JSON."""

    about: str
    body: Any = Nothing
    media: str = JSON


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """`path` has its parameters in braces; `body` is the type of the request's JSON, None when there is none."""

    method: Literal["GET", "POST", "PUT", "DELETE"]
    path: str
    name: str
    """Unique, for clients that are generated."""
    about: str
    scope: Scope
    answers: dict[int, Answer]
    body: Any = None
    parameters: tuple[Parameter, ...] = ()


NAMESPACE: Final = Parameter(name="namespace", about="The namespace; the default one when it is left out.")


def text(about: str) -> Answer:
    """A line of text."""
    return Answer(about, None, TEXT)


def refusals(*statuses: int) -> dict[int, Answer]:
    """A line of text for each of these statuses."""
    return {status: text(_REFUSALS[status]) for status in statuses}


def problems(*statuses: int) -> dict[int, Answer]:
    """`{"error": sentence}` for each of these statuses."""
    return {status: Answer(_REFUSALS[status], Problem) for status in statuses}


_REFUSALS: Final = {
    400: "Not usable: it says why.",
    404: "There is nothing of that name.",
    409: "It cannot be done as things stand: it says why.",
    422: "It cannot be read: it says why.",
    500: "It failed here: it says why.",
    501: "The configured queue cannot do that.",
    503: "Not now: it says why.",
}

"""`/system/openapi.json`: the REST API in OpenAPI 3.1, made of the operations that each topic's module lists."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

import msgspec
from quart import Response
from quart_trio import QuartTrio

import faasd_py
from faasd_py.control import (
    alert,
    calls_operations,
    events,
    functions_operations,
    logs,
    namespaces,
    reload,
    secrets,
    tokens,
)
from faasd_py.control.operation import JSON, Answer, Nothing, Operation, Parameter, text

PATH: Final = "/system/openapi.json"
OWN: Final = Operation(
    method="GET",
    path=PATH,
    name="describe",
    about="This description.",
    scope="read",
    answers={200: Answer("OpenAPI 3.1.", dict[str, Any])},
)
HEALTH: Final = Operation(
    method="GET",
    path="/healthz",
    name="health",
    about="Whether calls are accepted.",
    scope="open",
    answers={200: text("They are."), 503: text("They are not: the line says why.")},
)
OPERATIONS: Final = (
    OWN,
    HEALTH,
    *functions_operations.OPERATIONS,
    *calls_operations.OPERATIONS,
    *alert.OPERATIONS,
    *events.OPERATIONS,
    *logs.OPERATIONS,
    *secrets.OPERATIONS,
    *namespaces.OPERATIONS,
    *tokens.OPERATIONS,
    *reload.OPERATIONS,
)
_FORBIDDEN: Final = "The token's scope does not reach so far, or a browser asks for a page of another site."
_BRACES: Final = re.compile(r"\{(\w+)\}")
_REFERENCE: Final = "#/components/schemas/{name}"


def add_openapi(app: QuartTrio) -> None:
    """The route; the page is made once."""
    page: list[bytes] = []

    @app.get(PATH)
    async def describe() -> Response:
        if not page:
            page.append(msgspec.json.encode(document(OPERATIONS, faasd_py.__version__)))
        return Response(page[0], 200, content_type=JSON)


def document(operations: Iterable[Operation], version: str) -> dict[str, Any]:
    """The OpenAPI document."""
    operations = list(operations)
    kinds = _kinds(operations)
    schemas, components = msgspec.json.schema_components(kinds, ref_template=_REFERENCE)
    known = list(zip(kinds, schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation, known)
    return {
        "openapi": "3.1.0",
        "info": {"title": "faasd-py", "version": version, "license": {"name": "MIT", "identifier": "MIT"}},
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "basic": {"type": "http", "scheme": "basic"},
                "token": {"type": "http", "scheme": "bearer"},
            },
        },
        "security": [{"basic": []}, {"token": []}],
    }


def _kinds(operations: list[Operation]) -> list[Any]:
    """The types of all bodies, each once."""
    bodies = [operation.body for operation in operations]
    bodies += [answer.body for operation in operations for answer in operation.answers.values()]
    kinds: list[Any] = []
    for kind in bodies:
        if kind is not None and kind is not Nothing and kind not in kinds:
            kinds.append(kind)
    return kinds


def _operation(operation: Operation, known: list[tuple[Any, Any]]) -> dict[str, Any]:
    answers = dict(operation.answers)
    if operation.scope != "open":
        answers |= {401: text("Who is asking?"), 403: text(_FORBIDDEN)}
    if operation.body is not None:
        answers[413] = text("The body is over 1 MiB.")
    described: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.about,
        "parameters": _parameters(operation),
        "responses": {str(status): _answer(answer, known) for status, answer in sorted(answers.items())},
    }
    if operation.body is not None:
        content = {JSON: {"schema": _schema(operation.body, known)}}
        described["requestBody"] = {"required": True, "content": content}
    if operation.scope == "open":
        described["security"] = []
    return described


def _parameters(operation: Operation) -> list[dict[str, Any]]:
    given = {parameter.name: parameter for parameter in operation.parameters}
    in_path = _BRACES.findall(operation.path)
    for name in in_path:
        given.setdefault(name, Parameter(name=name, about="A name."))
    return [_parameter(parameter, in_path=name in in_path) for name, parameter in given.items()]


def _parameter(parameter: Parameter, *, in_path: bool) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": parameter.kind}
    if parameter.values:
        schema["enum"] = list(parameter.values)
    return {
        "name": parameter.name,
        "in": "path" if in_path else "query",
        "required": in_path,
        "description": parameter.about,
        "schema": schema,
    }


def _answer(answer: Answer, known: list[tuple[Any, Any]]) -> dict[str, Any]:
    described: dict[str, Any] = {"description": answer.about}
    if answer.body is None:
        described["content"] = {answer.media: {"schema": {"type": "string"}}}
    elif answer.body is not Nothing:
        described["content"] = {answer.media: {"schema": _schema(answer.body, known)}}
    return described


def _schema(kind: Any, known: list[tuple[Any, Any]]) -> Any:
    return next(schema for other, schema in known if other == kind)

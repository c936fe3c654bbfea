"""`/system/namespaces` and `/system/namespace/NAME`, in the plural as well (OpenFaaS wire contract §1.3, §1.4)."""

from __future__ import annotations

from typing import Final, Literal

import msgspec
from quart import Response
from quart_trio import QuartTrio

from faasd_py.control.bare_app import empty_answer
from faasd_py.control.daemon import Daemon
from faasd_py.control.detached import detached
from faasd_py.control.incoming import incoming
from faasd_py.control.operation import Answer, Operation, refusals
from faasd_py.control.problems import json_answer
from faasd_py.control.refused import Refused
from faasd_py.deploy.namespaces import Namespace

_CHANGES: Final[tuple[tuple[Literal["PUT", "DELETE"], str, str], ...]] = (
    ("PUT", "update", "Replace its labels and annotations."),
    ("DELETE", "delete", "Remove a namespace that has no functions, with its secrets."),
)


def _operations(base: str, plural: str) -> tuple[Operation, ...]:
    """Both spellings of the path are the same."""
    named = f"{base}{{name}}"
    return (
        Operation(
            method="POST",
            path=base,
            name=f"createNamespace{plural}",
            about="Make a namespace; it must carry the label openfaas=1.",
            scope="admin",
            body=Namespace,
            answers={201: Answer("It is made."), **refusals(400, 409, 500)},
        ),
        Operation(
            method="GET",
            path=named,
            name=f"getNamespace{plural}",
            about="A namespace with its labels and annotations.",
            scope="read",
            answers={200: Answer("The namespace.", Namespace), **refusals(404)},
        ),
        *(
            Operation(
                method=method,
                path=named,
                name=f"{verb}Namespace{plural}",
                about=about,
                scope="admin",
                body=Namespace,
                answers={202: Answer("Done."), **refusals(400, 404, 409, 500)},
            )
            for method, verb, about in _CHANGES
        ),
    )


OPERATIONS: Final = (
    Operation(
        method="GET",
        path="/system/namespaces",
        name="listNamespaces",
        about="The names of all namespaces, the default one first.",
        scope="read",
        answers={200: Answer("The names.", list[str])},
    ),
    *_operations("/system/namespace/", ""),
    *_operations("/system/namespaces/", "Plural"),
)


def add_namespaces(app: QuartTrio, daemon: Daemon) -> None:
    """The routes."""
    _listing(app, daemon)
    for base in ("/system/namespace/", "/system/namespaces/"):
        _each(app, daemon, base)


def _listing(app: QuartTrio, daemon: Daemon) -> None:
    @app.get("/system/namespaces")
    async def list_namespaces() -> Response:
        return json_answer(daemon.namespaces.names())


def _each(app: QuartTrio, daemon: Daemon, base: str) -> None:
    async def create() -> Response:
        new = await incoming(Namespace)
        await detached(app, lambda: daemon.namespaces.create(new))
        return empty_answer(201)

    async def show(name: str) -> Response:
        return json_answer(daemon.namespaces.get(name))

    async def update(name: str) -> Response:
        new = _named(await incoming(Namespace), name)
        await detached(app, lambda: daemon.namespaces.update(new))
        return empty_answer(202)

    async def remove(name: str) -> Response:
        _named(await incoming(Namespace), name)
        await detached(app, lambda: daemon.namespaces.remove(name, daemon.deployer.in_use))
        return empty_answer(202)

    for method, path, view in (
        ("POST", base, create), ("GET", f"{base}<name>", show),
        ("PUT", f"{base}<name>", update), ("DELETE", f"{base}<name>", remove),
    ):  # fmt: skip
        app.add_url_rule(path, f"{method} {path}", view, methods=[method], strict_slashes=False)


def _named(given: Namespace, name: str) -> Namespace:
    """The body's name may be left out, but not be another one than the path's."""
    if given.name and given.name != name:
        raise Refused(400, f"the body names namespace {given.name[:80]!r}, the path {name[:80]!r}")
    return msgspec.structs.replace(given, name=name)

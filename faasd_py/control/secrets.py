"""`/system/secrets`: values come in and never go out (OpenFaaS wire contract §1.3, §1.4)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final, Literal

import msgspec
from quart import Response, request
from quart_trio import QuartTrio

from faasd_py.control.bare_app import empty_answer
from faasd_py.control.daemon import Daemon
from faasd_py.control.detached import detached
from faasd_py.control.incoming import incoming, namespace_of
from faasd_py.control.operation import NAMESPACE, Answer, Operation, refusals
from faasd_py.control.problems import json_answer
from faasd_py.control.refused import Refused


class Secret(msgspec.Struct, frozen=True, kw_only=True):
    """OpenFaaS' Secret (wire contract §1.2); `rawValue` is base64 and wins over `value`."""

    name: str = ""
    namespace: str = ""
    value: str | None = None
    rawValue: bytes | None = None  # noqa: N815  # the name on the wire

    def content(self) -> bytes:
        """The value.

        Raises:
            Refused: there is none.
        """
        if self.rawValue is not None:
            return self.rawValue
        if self.value is None:
            raise Refused(400, "value or rawValue is required")
        return self.value.encode("utf-8", "surrogatepass")


class SecretView(msgspec.Struct, frozen=True, kw_only=True):
    """A secret as it is listed."""

    name: str
    namespace: str


def _change(
    method: Literal["POST", "PUT", "DELETE"], name: str, about: str, done: dict[int, Answer]
) -> Operation:
    refused = refusals(400, 409, 500) if method == "POST" else refusals(400, 404, 409, 500)
    return Operation(
        method=method, path="/system/secrets", name=name, about=about, scope="admin", parameters=(NAMESPACE,),
        body=Secret, answers={**done, **refused},
    )  # fmt: skip


OPERATIONS: Final = (
    Operation(
        method="GET",
        path="/system/secrets",
        name="listSecrets",
        about="The names of a namespace's secrets, never their values.",
        scope="read",
        parameters=(NAMESPACE,),
        answers={200: Answer("The names.", list[SecretView]), **refusals(400)},
    ),
    _change("POST", "createSecret", "Keep a new secret.", {201: Answer("It is kept.")}),
    _change("PUT", "updateSecret", "Replace a secret.", {200: Answer("It is kept.")}),
    _change("DELETE", "deleteSecret", "Remove a secret.", {202: Answer("It is gone.")}),
)


def add_secrets(app: QuartTrio, daemon: Daemon) -> None:
    """The routes. What was begun is ended, also when the client goes."""

    @app.get("/system/secrets")
    async def list_secrets() -> Response:
        namespace = request.args.get("namespace") or daemon.namespaces.default
        names = await daemon.secrets.names(namespace)
        return json_answer([SecretView(name=name, namespace=namespace) for name in names])

    async def keep(act: Callable[[str, str, bytes], Awaitable[None]], status: int) -> Response:
        secret = await incoming(Secret)
        await detached(app, partial(act, secret.name, _namespace(daemon, secret), secret.content()))
        return empty_answer(status)

    @app.post("/system/secrets")
    async def create_secret() -> Response:
        return await keep(daemon.secrets.create, 201)

    @app.put("/system/secrets")
    async def update_secret() -> Response:
        return await keep(daemon.secrets.update, 200)

    @app.delete("/system/secrets")
    async def delete_secret() -> Response:
        secret = await incoming(Secret)
        await detached(app, partial(daemon.secrets.remove, secret.name, _namespace(daemon, secret)))
        return empty_answer(202)  # 204 is an error to faas-cli


def _namespace(daemon: Daemon, secret: Secret) -> str:
    return namespace_of(secret.namespace, daemon.namespaces.default)

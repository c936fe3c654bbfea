"""`/system/tokens`: the bearer tokens there are, without their texts; make one, revoke one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Final

import msgspec
from msgspec import Meta
from quart import Response
from quart_trio import QuartTrio

from faasd_py.auth.token import Token
from faasd_py.control.daemon import Daemon
from faasd_py.control.detached import detached
from faasd_py.control.incoming import incoming
from faasd_py.control.operation import Answer, Operation, problems
from faasd_py.control.problems import json_answer
from faasd_py.control.refused import Refused
from faasd_py.core.durations import parse_duration


class NewToken(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked for. `expires` is a duration from now (`90d`); without it the token never expires."""

    name: str
    scopes: Annotated[tuple[str, ...], Meta(max_length=16)]
    expires: str | int | None = None


class TokenView(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is known of a token."""

    name: str
    scopes: tuple[str, ...]
    created_at: datetime | None = None
    expires_at: datetime | None = None
    expired: bool = False
    token: str | None = None
    """Its text: told once, to whoever made it."""


OPERATIONS: Final = (
    Operation(
        method="GET",
        path="/system/tokens",
        name="listTokens",
        about="The bearer tokens there are, without their texts.",
        scope="admin",
        answers={200: Answer("The tokens.", list[TokenView])},
    ),
    Operation(
        method="POST",
        path="/system/tokens",
        name="createToken",
        about="Make a bearer token. Its text is in this answer, and never again anywhere.",
        scope="admin",
        body=NewToken,
        answers={201: Answer("It is accepted from now on.", TokenView), **problems(400, 409, 503)},
    ),
    Operation(
        method="DELETE",
        path="/system/tokens/{name}",
        name="revokeToken",
        about="Revoke a bearer token: it is refused from now on.",
        scope="admin",
        answers={200: Answer("What it was.", TokenView), **problems(404, 409, 503)},
    ),
)


def add_tokens(app: QuartTrio, daemon: Daemon) -> None:
    """The routes."""

    @app.get("/system/tokens")
    async def list_tokens() -> Response:
        return json_answer([_view(token) for token in daemon.keyring.tokens])

    @app.post("/system/tokens")
    async def create_token() -> Response:
        asked = await incoming(NewToken)
        made, secret = await detached(app, lambda: _create(daemon, asked))
        return json_answer(msgspec.structs.replace(_view(made), token=secret), 201)

    @app.delete("/system/tokens/<name>")
    async def revoke_token(name: str) -> Response:
        return json_answer(_view(await detached(app, lambda: _revoke(daemon, name))))


async def _create(daemon: Daemon, asked: NewToken) -> tuple[Token, str]:
    now = datetime.now(UTC).replace(microsecond=0)
    try:
        expires_at = None if asked.expires is None else now + timedelta(seconds=_lifetime(asked.expires))
        return await daemon.keyring.create(asked.name, asked.scopes, now=now, expires_at=expires_at)
    except (ValueError, OverflowError) as error:
        raise Refused(400, str(error)) from None
    except OSError as error:
        raise Refused(503, f"the token could not be kept: {error.strerror}") from error


async def _revoke(daemon: Daemon, name: str) -> Token:
    try:
        return await daemon.keyring.revoke(name)
    except OSError as error:
        raise Refused(503, f"the token could not be revoked: {error.strerror}") from error


def _lifetime(text: str | int) -> float:
    try:
        seconds = parse_duration(text)
    except ValueError as error:
        raise ValueError(f"expires: {error}") from None
    if not seconds > 0:
        raise ValueError('expires: expected a duration above 0, like "90d"')
    return seconds


def _view(token: Token) -> TokenView:
    return TokenView(
        name=token.name,
        scopes=token.scopes,
        created_at=token.created_at,
        expires_at=token.expires_at,
        expired=not token.valid(datetime.now(UTC).timestamp()),
    )

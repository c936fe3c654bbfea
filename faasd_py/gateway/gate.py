"""Who may come in, where callers must say who they are (OpenFaaS wire contract §1.1).

Asked before a byte of the body is read, and only what is refused ever waits. The credential goes no further than this.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection
from typing import Final

import trio

from faasd_py.auth import scopes
from faasd_py.auth.cross_site import is_cross_site
from faasd_py.auth.host_names import is_public
from faasd_py.auth.identity import EVERYONE, Identity
from faasd_py.auth.keyring import BASIC, Keyring
from faasd_py.auth.slowdown import Slowdown, address_of
from faasd_py.config import AuthSettings, FunctionSettings
from faasd_py.gateway import answers
from faasd_py.http import fields
from faasd_py.http.exchange import Exchange

AUTHORIZATION: Final = b"authorization"
MOST_WAITING: Final = 256
"""Refusals that wait at once; more are given at once, for each that waits holds a connection."""
WINDOW: Final = 10.0
"""Seconds for which the log has no second line about refusals of one kind: who guesses must not fill it."""
_TOLD: Final = {
    "credentials": "wrong credentials",
    "cross-site": "a request that a page of another site made a browser send",
    "host": "a request for a host that is none of gateway.names",
}
"""What the log says of a refusal; too small scopes are everyday."""
_log: Final = logging.getLogger("faasd_py.auth")


class Gate:
    """Asks callers of functions, and operators. Without a keyring nobody is asked anything.

    `functions`: whether functions ask that do not say; `system`: whether /system and /ui do. `failed` is told of each
    refusal: `credentials`, `scope`, `cross-site` or `host`.
    """

    def __init__(
        self,
        keyring: Keyring | None = None,
        settings: AuthSettings | None = None,
        failed: Callable[[str], None] = lambda _: None,
        names: Collection[str] = (),
    ) -> None:
        self._keyring = keyring
        self._failed = failed
        self._slow = Slowdown()
        self._waiting = 0
        self._untold: dict[str, tuple[float, int]] = {}
        """When the log may have its next line about a kind of refusal, and how many there were since the last."""
        self.reconfigure(settings or AuthSettings(enabled=False), names)

    def reconfigure(self, settings: AuthSettings, names: Collection[str]) -> None:
        """For requests from now on. `names`: the hosts under which this gateway is known."""
        self.functions = settings.functions and self._keyring is not None
        self.system = settings.enabled and self._keyring is not None
        self._names = frozenset(name.lower() for name in names)

    def guards(self, settings: FunctionSettings) -> bool:
        """Whether this function's callers are asked."""
        return self.functions if settings.auth is None else settings.auth

    async def operator(self, exchange: Exchange) -> Identity | None:
        """Who asks for the control plane; None when it was nobody known, who has been answered.

        Also where nobody is asked, a page of another site may not have its visitors' browsers do our operators' work.
        """
        if _is_cross_site(exchange):
            self._count(exchange, "cross-site")
            await exchange.answer(*answers.CROSS_SITE)
            return None
        if not self.system:
            return await self._anybody(exchange)
        identity = await self._recognise(exchange)
        if identity is None:
            await exchange.answer(*answers.UNKNOWN_OPERATOR)
        return identity

    async def _anybody(self, exchange: Exchange) -> Identity | None:
        """Everyone who reaches the gateway, but no page that has given its own name our address."""
        if is_public(exchange.host, self._names):
            self._count(exchange, "host")
            await exchange.answer(*answers.UNKNOWN_HOST)
            return None
        return EVERYONE

    async def caller(self, exchange: Exchange) -> bool:
        """Whether a function that asks may be called; if not, that has been answered.

        A page of another site can make a browser send the password that it knows, but no token.
        """
        identity = await self._recognise(exchange)
        if identity is None:
            await exchange.answer(*answers.UNKNOWN_CALLER)
        elif not identity.may(scopes.INVOKE):
            self._count(exchange, "scope")
            await exchange.answer(*answers.MAY_NOT_INVOKE)
        elif identity is BASIC and _is_cross_site(exchange):
            self._count(exchange, "cross-site")
            await exchange.answer(*answers.CROSS_SITE)
        else:
            return True
        return False

    async def _recognise(self, exchange: Exchange) -> Identity | None:
        """Who it is; None at once when nothing was said, and after a while when it was wrong."""
        said = fields.get_all(exchange.headers, AUTHORIZATION)
        if not said or self._keyring is None:
            return None
        identity = self._keyring.identify(said[0], time.time()) if len(said) == 1 else None
        if identity is None:
            self._count(exchange, "credentials")
            await self._delay(exchange)
        return identity

    async def _delay(self, exchange: Exchange) -> None:
        _, seconds = self._slow.fail(exchange.peer, trio.current_time())
        if seconds and self._waiting < MOST_WAITING:
            self._waiting += 1
            try:
                await trio.sleep(seconds)
            finally:
                self._waiting -= 1

    def _count(self, exchange: Exchange, reason: str) -> None:
        self._failed(reason)
        if reason not in _TOLD:
            return
        now = trio.current_time()
        due, untold = self._untold.get(reason, (now, 0))
        if now < due:
            self._untold[reason] = due, untold + 1
            return
        self._untold[reason] = now + WINDOW, 0
        who, where = address_of(exchange.peer).decode("ascii", "replace"), _shown(exchange.target)
        more = f" ({untold} more since the last such line)" if untold else ""
        _log.warning("refused %s from %s for %s%s", _TOLD[reason], who, where, more)


def _is_cross_site(exchange: Exchange) -> bool:
    site, origin = (fields.get(exchange.headers, name) for name in (b"sec-fetch-site", b"origin"))
    return is_cross_site(exchange.method, site, origin, exchange.host)


def _shown(target: bytes) -> str:
    """The path, without the query: it may hold what is nobody's business."""
    return target.partition(b"?")[0][:80].decode("latin-1")

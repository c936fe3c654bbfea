"""Who may come in, where callers must say who they are (OpenFaaS wire contract §1.1).

Asked before a byte of the body is read, and only what is refused ever waits. The credential goes no further than this.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final

import trio

from faasd_py.auth import scopes
from faasd_py.auth.cross_site import is_cross_site
from faasd_py.auth.identity import EVERYONE, Identity
from faasd_py.auth.keyring import Keyring
from faasd_py.auth.slowdown import Slowdown, address_of
from faasd_py.config import AuthSettings, FunctionSettings
from faasd_py.gateway import answers
from faasd_py.http import fields
from faasd_py.http.exchange import Exchange

AUTHORIZATION: Final = b"authorization"
MOST_WAITING: Final = 256
"""Refusals that wait at once; more are given at once, for each that waits holds a connection."""
_log: Final = logging.getLogger("faasd_py.auth")


class Gate:
    """Asks callers of functions, and operators. Without a keyring nobody is asked anything.

    `functions`: whether functions ask that do not say; `system`: whether /system and /ui do. `failed` is told of each
    refusal: `credentials`, `scope` or `cross-site`.
    """

    def __init__(
        self,
        keyring: Keyring | None = None,
        settings: AuthSettings | None = None,
        failed: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._keyring = keyring
        self._failed = failed
        self._slow = Slowdown()
        self._waiting = 0
        self.reconfigure(settings or AuthSettings(enabled=False))

    def reconfigure(self, settings: AuthSettings) -> None:
        """For requests from now on."""
        self.functions = settings.functions and self._keyring is not None
        self.system = settings.enabled and self._keyring is not None

    def guards(self, settings: FunctionSettings) -> bool:
        """Whether this function's callers are asked."""
        return self.functions if settings.auth is None else settings.auth

    async def operator(self, exchange: Exchange) -> Identity | None:
        """Who asks for the control plane; None when it was nobody known, who has been answered.

        Also where nobody is asked, a page of another site may not have its visitors' browsers do our operators' work.
        """
        site, origin = (fields.get(exchange.headers, name) for name in (b"sec-fetch-site", b"origin"))
        if is_cross_site(exchange.method, site, origin, exchange.host):
            self._failed("cross-site")
            await exchange.answer(*answers.CROSS_SITE)
            return None
        if not self.system:
            return EVERYONE
        identity = await self._recognise(exchange)
        if identity is None:
            await exchange.answer(*answers.UNKNOWN_OPERATOR)
        return identity

    async def caller(self, exchange: Exchange) -> bool:
        """Whether a function that asks may be called; if not, that has been answered."""
        identity = await self._recognise(exchange)
        if identity is None:
            await exchange.answer(*answers.UNKNOWN_CALLER)
        elif not identity.may(scopes.INVOKE):
            self._failed("scope")
            await exchange.answer(*answers.MAY_NOT_INVOKE)
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
            self._failed("credentials")
            await self._delay(exchange)
        return identity

    async def _delay(self, exchange: Exchange) -> None:
        count, seconds = self._slow.fail(exchange.peer, trio.current_time())
        if count & (count - 1) == 0:  # the 1st, 2nd, 4th, 8th, …: who guesses must not fill the log
            who = address_of(exchange.peer).decode("ascii", "replace")
            _log.warning("wrong credentials from %s for %s (%d lately)", who, _shown(exchange.target), count)
        if seconds and self._waiting < MOST_WAITING:
            self._waiting += 1
            try:
                await trio.sleep(seconds)
            finally:
                self._waiting -= 1


def _shown(target: bytes) -> str:
    """The path, without the query: it may hold what is nobody's business."""
    return target.partition(b"?")[0][:80].decode("latin-1")

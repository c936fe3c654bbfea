"""Plug-in: mode `url`, an HTTP service that someone else runs.

`http://HOST[:PORT][/BASE]`, `https://…`, or `http+unix:///PATH` for a unix socket. BASE goes before each call's path; Host
is the URL's own. Redirects are passed on, not followed.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Final
from urllib.parse import SplitResult, urlsplit

import trio

from faasd_py.config import FunctionSettings
from faasd_py.core.errors import ConfigError
from faasd_py.hookspecs import RegisterRuntime, RuntimeSite, hookimpl
from faasd_py.http.client import Dial, Pool, dial_tcp, dial_unix
from faasd_py.runtime.contract import Invocation, Replicas, Reply
from faasd_py.runtime.nursery import open_nursery
from faasd_py.runtime.relay import PEER_ERRORS, relay, unavailable
from faasd_py.runtime.running import Running

_PORTS: Final = {"http": 80, "https": 443}
_CONNECT_TIMEOUT: Final = 10.0
_IDLE_TIMEOUT: Final = 30.0
"""Seconds: shorter than the servers' usual 60 or 75, so that a connection is seldom used as it is being closed."""


class Upstream:
    """One function that is a URL."""

    def __init__(self, pool: Pool, url: SplitResult) -> None:
        self._pool = pool
        self._base = url.path.rstrip("/").encode() if url.scheme in _PORTS else b""
        self._host = b"Host: %s\r\n" % (url.netloc.encode() or b"localhost")
        self.running = Running()

    async def invoke(self, invocation: Invocation, reply: Reply) -> None:
        """See Runtime."""
        try:
            with self.running:
                await relay(self._pool, self._base, self._host, invocation, reply)
        except PEER_ERRORS as error:
            raise unavailable(error) from error

    def replicas(self) -> Replicas:
        """Always one: whether it answers shows when it is called."""
        return Replicas(wanted=1, available=1)


def problems(name: str, settings: FunctionSettings) -> Iterator[str]:
    """What is wrong with a function's `url`, a sentence each."""
    place, text = f"functions.{name}.url", settings.url or ""
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError as error:
        yield f"{place}: {text!r} is no URL: {error}"
        return
    if url.scheme == "http+unix":
        if url.netloc or not url.path.strip("/"):
            yield f"{place}: expected http+unix:///PATH, got {text!r}"
    elif url.scheme not in _PORTS or not url.hostname:
        yield f"{place}: expected http://HOST, https://HOST or http+unix:///PATH, got {text!r}"
    elif port == 0 or url.username is not None or not text.isascii() or any(c <= " " for c in text):
        yield f"{place}: expected a host, a port, and a path in ASCII without a user, got {text!r}"
    if url.query or url.fragment:
        yield f"{place}: a query or fragment cannot be kept, got {text!r}"


@asynccontextmanager
async def open_upstream(site: RuntimeSite) -> AsyncIterator[Upstream]:
    """Mode `url`.

    Raises:
        ConfigError: the URL is not usable.
    """
    settings = site.settings
    for problem in problems(site.name, settings):
        raise ConfigError(problem)
    url = urlsplit(settings.url or "")
    pool = Pool(
        _dial(url),
        tls=ssl.create_default_context() if url.scheme == "https" else None,
        server_name=url.hostname or "",
        max_idle=settings.max_idle_connections,
        idle_timeout=_IDLE_TIMEOUT,
        write_timeout=settings.read_timeout,
    )
    async with open_nursery() as nursery:
        nursery.start_soon(pool.run)
        upstream = Upstream(pool, url)
        try:
            yield upstream
            await upstream.running.drained()
        finally:
            pool.close_idle()
            nursery.cancel_scope.cancel()
            with trio.CancelScope(shield=True):
                await pool.aclose()


def _dial(url: SplitResult) -> Dial:
    if url.scheme == "http+unix":
        return dial_unix(url.path, _CONNECT_TIMEOUT)
    return dial_tcp(url.hostname or "", url.port or _PORTS[url.scheme], _CONNECT_TIMEOUT)


@hookimpl
def faasd_py_register_runtimes(register: RegisterRuntime) -> None:
    """One mode."""
    register("url", open_upstream)

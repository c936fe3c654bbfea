"""The guard: whom callbacks may reach. Asked when a call is accepted, and again about the address really connected to.

Own names are hosts (`gateway`), which mean this daemon in URLs without a port, and hosts with a port
(`gateway:8080`), which mean it in URLs with that port; `own_names` makes them from the configuration.
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from ipaddress import ip_address
from typing import Final

import trio

from faasd_py.callback.allow import Allow, compile_allow, describe
from faasd_py.callback.url import Address, ParsedUrl, parse_url
from faasd_py.core.errors import BadOption
from faasd_py.http.client import Dial, dial_tcp
from faasd_py.http.errors import ConnectFailed

Resolve = Callable[[str], Awaitable[Sequence[str]]]
"""From a host name to its addresses as text; raises OSError."""
OPENFAAS_PORT: Final = 8080
"""Where OpenFaaS' gateway listens: callers write `http://gateway.openfaas:8080` wherever ours does."""
LOOKUPS: Final = 16
"""Threads that may wait for name servers at once."""


class AddressRefused(ConnectFailed):
    """No address of the host may be connected to; trying again is of no use until somebody changes something."""


def own_names(names: Iterable[str], listen: Iterable[str]) -> frozenset[str]:
    """The names of this daemon: each host bare, and with each port that `listen` has (`HOST:PORT`).

    Names that are not this box's own (`localhost`, addresses) also get OpenFaaS' port 8080.
    """
    hosts = {name.lower().strip("[]") for name in names}
    ports = {int(address.rpartition(":")[2]) for address in listen if not address.startswith("unix:")}
    own = hosts | {f"{host}:{port}" for host in hosts for port in ports}
    return frozenset(own | {f"{host}:{OPENFAAS_PORT}" for host in hosts if not _is_local(host)})


def is_own(url: ParsedUrl, names: Iterable[str]) -> bool:
    """The URL means this daemon itself."""
    return f"{url.host}:{url.port}" in names or (url.default_port and url.host in names)


def check_url(url: str, allow: Iterable[str], names: Iterable[str] = ()) -> ParsedUrl:
    """The URL, if a callback may be sent there; names are not resolved here, so a later refusal is possible.

    Raises:
        BadOption: one sentence naming the reason.
    """
    parsed = parse_url(url)
    if is_own(parsed, names) or parsed.literal is None:
        return parsed
    rules = compile_allow(allow)
    if not rules.address(parsed.literal) and not rules.host(parsed.host):
        raise BadOption(f"callback URL: {describe(parsed.literal)}, which callback.allow does not name")
    return parsed


class Guard:
    """Dials hosts by addresses that were checked, and by no others: what a name resolves to later does not matter."""

    def __init__(self, allow: Iterable[str], resolve: Resolve | None = None) -> None:
        self.allow = compile_allow(allow)
        self._limiter = trio.CapacityLimiter(LOOKUPS)
        self._resolve = resolve or self._look_up

    def dial(self, host: str, port: int, timeout: float) -> Dial:
        """A dial to the host; `timeout` is in seconds, for each address.

        The dial raises AddressRefused when no address may be used, else ConnectFailed when none answers.
        """
        return partial(self._dial, host, port, timeout)

    async def _dial(self, host: str, port: int, timeout: float) -> socket.socket:  # noqa: ASYNC109 - for each of several
        allow, failure = self.allow, ConnectFailed(f"{host}: has no address")
        for address in checked(allow, host, await self._addresses(host)):
            try:
                return await dial_tcp(str(address), port, timeout)()
            except ConnectFailed as error:
                failure = error if host == str(address) else ConnectFailed(f"{host}: {error}")
        raise failure

    async def _addresses(self, host: str) -> list[Address]:
        try:
            return [ip_address(host)]
        except ValueError:
            pass
        try:
            found = await self._resolve(host)
        except OSError as error:
            raise ConnectFailed(f"{host}: cannot be resolved: {error.strerror or error}") from error
        return [ip_address(text.partition("%")[0]) for text in found]

    async def _look_up(self, host: str) -> list[str]:
        """Ask the system's resolver in a thread; cancelled, the thread is left to end by itself."""
        ask = partial(socket.getaddrinfo, host, None, type=socket.SOCK_STREAM)
        answers = await trio.to_thread.run_sync(ask, limiter=self._limiter, abandon_on_cancel=True)
        return list(dict.fromkeys(str(answer[4][0]) for answer in answers))


def checked(allow: Allow, host: str, addresses: Sequence[Address]) -> list[Address]:
    """Pure. The addresses that may be connected to.

    Raises:
        AddressRefused: there are addresses, and none may.
    """
    if allow.host(host):
        return list(addresses)
    good = [address for address in addresses if allow.address(address)]
    if addresses and not good:
        place = "" if host == str(addresses[0]) else f"{host}: "
        raise AddressRefused(f"{place}{describe(addresses[0])}, which callback.allow does not name")
    return good


def _is_local(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return host == "localhost"
    return True

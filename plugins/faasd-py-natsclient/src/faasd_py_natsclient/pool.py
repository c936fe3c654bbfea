"""The servers there are, and which is tried next. Pure: the clock and the dice are handed in."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import SplitResult, unquote, urlsplit

from faasd_py_natsclient.errors import BadServer

PORT: Final = 4222
HOST: Final = re.compile(r"[0-9A-Za-z_.:%-]{1,253}")


@dataclass(slots=True)
class Server:
    """One server's address, how often in a row it failed, and from when on it may be tried again."""

    host: str
    port: int = PORT
    tls: bool = False
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)
    tls_name: str = ""
    discovered: bool = False
    failures: int = 0
    not_before: float = float("-inf")

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def address(self) -> tuple[str, int]:
        """What makes it this server."""
        return self.host, self.port


def parse_server(text: str) -> Server:
    """`nats://user:password@host:port`, `tls://…`, `nats://token@host`, or `host:port`.

    Raises:
        BadServer: none of these; the message does not repeat a password.
    """
    try:
        url = urlsplit(text if "://" in text else f"nats://{text}")
        host, port = url.hostname or "", PORT if url.port is None else url.port
    except ValueError:
        raise BadServer("server: not an address like nats://127.0.0.1:4222") from None
    if url.scheme not in {"nats", "tls"} or url.path not in {"", "/"} or url.query or url.fragment:
        raise BadServer(f"server {host!r}: not an address like nats://127.0.0.1:4222")
    if not HOST.fullmatch(host) or not port:
        raise BadServer(f"server {host!r}: no host name or no port")
    return _with_secrets(Server(host, port, url.scheme == "tls"), url)


def _with_secrets(server: Server, url: SplitResult) -> Server:
    """A user with a password, or one word: a token."""
    name = unquote(url.username) if url.username is not None else None
    if url.password is None:
        server.token = name
    else:
        server.user, server.password = name, unquote(url.password)
    return server


class Pool:
    """Each server is tried at most once in a while, and the one that rested longest first."""

    def __init__(self, servers: Sequence[str], *, shuffle: Callable[[list[Server]], None]) -> None:
        if isinstance(servers, str) or not servers:
            raise BadServer("servers: a list of at least one address like nats://127.0.0.1:4222")
        self.servers = [parse_server(text) for text in servers]
        self._shuffle = shuffle
        shuffle(self.servers)

    def next(self, max_failures: int | None) -> Server | None:
        """The one to try next (not before its time), or None when each has failed too often in a row."""
        left = [s for s in self.servers if max_failures is None or s.failures < max_failures]
        return min(left, key=lambda server: server.not_before, default=None)

    def tried(self, server: Server, not_before: float) -> None:
        """It is being tried now, and not again before then."""
        server.not_before = not_before

    def reached(self) -> None:
        """A connection stands: everybody's past is forgotten."""
        for server in self.servers:
            server.failures = 0

    def discover(self, urls: Iterable[str], current: Server) -> None:
        """Take the cluster's word for its members; those given by hand stay."""
        told = {server.address: server for server in map(_lenient, urls) if server is not None}
        self.servers = [s for s in self.servers if not s.discovered or s is current or s.address in told]
        known = {server.address for server in self.servers}
        found = [_kin(server, current) for address, server in told.items() if address not in known]
        self._shuffle(found)
        self.servers += found


def _lenient(text: str) -> Server | None:
    try:
        return parse_server(text)
    except BadServer:
        return None


def _kin(server: Server, current: Server) -> Server:
    """A cluster's members share credentials, and a certificate's name when known by number only."""
    server.discovered = True
    server.tls = current.tls
    server.user, server.password, server.token = current.user, current.password, current.token
    if _is_number(server.host):
        server.tls_name = current.tls_name or ("" if _is_number(current.host) else current.host)
    return server


def _is_number(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True

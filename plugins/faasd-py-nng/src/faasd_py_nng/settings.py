"""`[services.nng-hub]` and `[queue.options]`: read, checked, and explained when wrong."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from faasd_py.api import ConfigError, Duration, Size, convert_options
from faasd_py_nng.nng import Certificates, check_certificates

HUB: Final = "services.nng-hub"
SPOKE: Final = "queue.options"
SCHEMES: Final = ("ipc", "tcp", "tls+tcp")
SHORTEST_KEY: Final = 16
"""Bytes. A key is a secret, not a word."""


class HubOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The hub's settings, and their defaults."""

    listen: list[str]
    """`ipc:///path`, `tcp://host:port`, `tls+tcp://host:port`."""
    key_file: str | None = None
    """The shared key; whoever comes must prove that they know it."""
    tls_certificate: str | None = None
    tls_key: str | None = None
    tls_client_ca: str | None = None
    """PEM: who comes by tls+tcp:// must show a certificate of this authority's."""
    lanes: list[str] = msgspec.field(default_factory=lambda: ["*"])
    """Which lanes spokes may serve, whatever they ask for; deliveries only by a pattern that names them."""
    max_spokes: Annotated[int, Meta(ge=1, le=4096)] = 64
    max_body: Size = Size(64 << 20)
    """The largest body that a spoke may put."""
    lease_timeout: Duration = Duration(15)
    """A spoke that was not heard for so long is gone: what it ran is given to others."""


class SpokeOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The spoke's settings, and their defaults."""

    hub: str
    mode: Literal["remote", "store-and-forward"] = "remote"
    lanes: list[str] = msgspec.field(default_factory=list)
    """Which lanes this daemon serves: those of its functions. None: it puts calls and runs none."""
    name: str = ""
    """How the hub's log calls it; empty: the host's name."""
    key_file: str | None = None
    tls_ca: str | None = None
    """PEM: whom to trust as the hub."""
    tls_server_name: str | None = None
    tls_certificate: str | None = None
    tls_key: str | None = None
    prefetch: Annotated[int, Meta(ge=1, le=4096)] = 64
    """The most calls of one lane on their way or at hand; quick functions use it, slow ones stay near 1."""
    connect_timeout: Duration = Duration(5)
    put_timeout: Duration = Duration(5)
    """A put that is not confirmed by then is answered 503 (store-and-forward: kept here)."""
    ask_timeout: Duration = Duration(10)
    """Of what a person asks: records, results, cancel."""
    reconnect_max: Duration = Duration(10)
    """The longest pause between two attempts to connect; the first is a fiftieth of it."""


def read_hub_options(given: Mapping[str, Any]) -> HubOptions:
    """The hub's options.

    Raises:
        ConfigError: naming the key.
    """
    options = convert_options(given, HubOptions, HUB)
    if not options.listen:
        raise ConfigError(f"{HUB}.listen: expected at least one address like 'ipc:///run/faasd-py/hub'")
    for address in options.listen:
        _check_address(address, f"{HUB}.listen")
        _check_open(address, options)
    _check_pair(options.tls_certificate, options.tls_key, f"{HUB}.tls_key")
    if options.lease_timeout < 1:
        raise ConfigError(f"{HUB}.lease_timeout: expected at least 1s")
    return options


def read_spoke_options(given: Mapping[str, Any]) -> SpokeOptions:
    """The spoke's options.

    Raises:
        ConfigError: naming the key.
    """
    options = convert_options(given, SpokeOptions, SPOKE)
    _check_address(options.hub, f"{SPOKE}.hub")
    if options.hub.startswith("tls+tcp:") and options.tls_ca is None:
        raise ConfigError(
            f"{SPOKE}.tls_ca: a hub by tls+tcp:// needs the authority that signed its certificate"
        )
    _check_pair(options.tls_certificate, options.tls_key, f"{SPOKE}.tls_key")
    for key in ("connect_timeout", "put_timeout", "ask_timeout", "reconnect_max"):
        if getattr(options, key) <= 0:
            raise ConfigError(f"{SPOKE}.{key}: expected more than nothing")
    return options


def _check_address(address: str, where: str) -> None:
    scheme, _, rest = address.partition("://")
    if scheme not in SCHEMES or not rest:
        raise ConfigError(f"{where}: {address!r} is no address like 'ipc:///path' or 'tcp://host:port'")
    if scheme == "ipc":
        return
    try:
        parts = urlsplit(address)
        fits = bool(parts.hostname) and parts.port is not None and parts.path == ""
    except ValueError:
        fits = False
    if not fits:
        raise ConfigError(f"{where}: {address!r} needs a host and a port, like 'tcp://10.0.0.1:7776'")


def is_loopback(address: str) -> bool:
    """Whether only this machine can come by this address."""
    if address.startswith("ipc:"):
        return True
    host = urlsplit(address).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _check_open(address: str, options: HubOptions) -> None:
    """Nobody of another machine comes in without having proved who they are."""
    tls = address.startswith("tls+tcp:")
    if tls and options.tls_certificate is None:
        raise ConfigError(f"{HUB}.tls_certificate: {address} needs a certificate")
    if is_loopback(address) or options.key_file is not None or (tls and options.tls_client_ca is not None):
        return
    more = "key_file or tls_client_ca" if tls else "key_file, or use tls+tcp:// with tls_client_ca"
    raise ConfigError(f"{HUB}.listen: {address} can be reached from other machines: set {more}")


def _check_pair(certificate: str | None, key: str | None, where: str) -> None:
    if (certificate is None) is not (key is None):
        raise ConfigError(f"{where}: a certificate and its key come together")


def read_key(path: str | None, where: str) -> bytes | None:
    """The shared key; white space around it is not part of it.

    Raises:
        ConfigError: it cannot be read, or is too short.
    """
    if path is None:
        return None
    try:
        key = Path(path).read_bytes().strip()
    except OSError as error:
        raise ConfigError(f"{where}.key_file: cannot read {path}: {error.strerror}") from None
    if len(key) < SHORTEST_KEY:
        raise ConfigError(
            f"{where}.key_file: {path} holds {len(key)} bytes, a key has at least {SHORTEST_KEY}"
        )
    return key


def _pem(path: str | None, where: str) -> str | None:
    if path is None:
        return None
    try:
        return Path(path).read_text("ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{where}: cannot read {path}: {error}") from None


def hub_certificates(options: HubOptions) -> Certificates | None:
    """What the hub shows and demands; None without tls+tcp://.

    Raises:
        ConfigError: a file cannot be used.
    """
    if options.tls_certificate is None:
        return None
    found = Certificates(
        _pem(options.tls_client_ca, f"{HUB}.tls_client_ca"),
        _pem(options.tls_certificate, f"{HUB}.tls_certificate"),
        _pem(options.tls_key, f"{HUB}.tls_key"),
    )
    return _usable(found, HUB, listener=True)


def spoke_certificates(options: SpokeOptions) -> Certificates | None:
    """What the spoke trusts and shows; None without tls+tcp://.

    Raises:
        ConfigError: a file cannot be used.
    """
    if not options.hub.startswith("tls+tcp:"):
        return None
    found = Certificates(
        _pem(options.tls_ca, f"{SPOKE}.tls_ca"),
        _pem(options.tls_certificate, f"{SPOKE}.tls_certificate"),
        _pem(options.tls_key, f"{SPOKE}.tls_key"),
        options.tls_server_name or urlsplit(options.hub).hostname,
    )
    return _usable(found, SPOKE, listener=False)


def _usable(found: Certificates, where: str, *, listener: bool) -> Certificates:
    try:
        check_certificates(found, listener=listener)
    except ValueError as error:
        raise ConfigError(f"{where}: the certificates cannot be used: {error}") from None
    return found


def serves(patterns: list[str], lane: str) -> bool:
    """Whether one of the patterns means this lane. A delivery's lane is meant only by a pattern that says so."""
    if lane.startswith("callback:"):
        patterns = [pattern for pattern in patterns if pattern.startswith("callback:")]
    return any(fnmatchcase(lane, pattern) for pattern in patterns)

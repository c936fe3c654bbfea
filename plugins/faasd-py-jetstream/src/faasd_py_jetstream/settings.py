"""`[queue.options]` of this backend: read, checked, and explained when wrong."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from faasd_py.api import ConfigError, Duration, convert_options
from faasd_py_jetstream.names import NAME
from faasd_py_natsclient import UnusableCertificate, client_context

WHERE: Final = "queue.options"


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Every setting, and its default."""

    servers: list[str] = msgspec.field(default_factory=lambda: ["nats://127.0.0.1:4222"])
    user: str | None = None
    password_file: str | None = None
    token_file: str | None = None
    tls_ca: str | None = None
    """PEM: whom to trust; with it, or a certificate, the connection is TLS."""
    tls_certificate: str | None = None
    tls_key: str | None = None
    tls_first: bool = False
    """TLS before the server's greeting."""
    domain: str | None = None
    """JetStream's domain, if it isn't the server's own."""
    prefix: str = "faasd"
    """Of all streams, buckets and subjects."""
    namespace: str = "openfaas-fn"
    """One queue each: daemons of one prefix and namespace share their calls."""
    replicas: Annotated[int, Meta(ge=1, le=5)] = 1
    storage: Literal["file", "memory"] = "file"
    ack_wait: Duration = Duration(30)
    """After so long without a sign of life of its daemon, a call is given to another."""
    duplicate_window: Duration = Duration(120)
    """A publish that is tried again within this time is known to be the same."""
    put_timeout: Duration = Duration(5)
    """A put that is not confirmed by then is answered 503."""
    prefetch: Annotated[int, Meta(ge=1, le=4096)] = 256
    """The most calls of one function that a daemon holds ready."""
    poll_interval: Duration = Duration(2)
    """Between two looks at the broker's figures."""
    idle_consumers: Duration = Duration(3600)
    """A consumer that had nothing to do for so long is removed."""


def read_options(given: Mapping[str, Any]) -> Options:
    """The options.

    Raises:
        ConfigError: naming the key.
    """
    options = convert_options(given, Options, WHERE)
    _check(options)
    return options


def _check(options: Options) -> None:
    for key in ("prefix", "namespace"):
        if not NAME.fullmatch(getattr(options, key)):
            raise ConfigError(f"{WHERE}.{key}: expected 1 to 64 letters, digits, '-' or '_'")
    if not options.servers:
        raise ConfigError(f"{WHERE}.servers: expected at least one address like 'nats://host:4222'")
    if options.ack_wait < 0.2:
        raise ConfigError(f"{WHERE}.ack_wait: expected at least 200ms")
    if options.duplicate_window < 1:
        raise ConfigError(f"{WHERE}.duplicate_window: expected at least 1s")
    if (options.tls_certificate is None) != (options.tls_key is None):
        raise ConfigError(f"{WHERE}.tls_key: a certificate and its key come together")
    if (options.user is None) != (options.password_file is None):
        raise ConfigError(f"{WHERE}.password_file: a user and a password file come together")


def tls_context(options: Options) -> ssl.SSLContext | None:
    """How to speak TLS; None: not unless an address says so.

    Raises:
        ConfigError: a file cannot be used.
    """
    try:
        return client_context(options.tls_ca, options.tls_certificate, options.tls_key)
    except UnusableCertificate as error:
        raise ConfigError(f"{WHERE}.tls_{error}") from None

"""`[queue.options]` of this backend: read, checked, and explained when wrong."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from faasd_py.api import ConfigError, Duration, Size, convert_options
from faasd_py_nats_streaming import names
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
    cluster_id: str = "faas-cluster"
    client_id: str = ""
    """One live client each; empty: `faasd-py-HOST`."""
    subject: str = "faas-request"
    queue_group: str = "faas"
    durable: str = ""
    """Empty: the subject with `_` for `.`, as OpenFaaS has it."""
    format: Literal["native", "openfaas"] = "native"
    namespace: str = "openfaas-fn"
    """The one that a function's name without a namespace means, in the OpenFaaS form."""
    consume: bool = True
    """False: publish only, for a queue-worker of OpenFaaS; native publishers have nobody to publish to."""
    subject_per_function: bool = False
    """A channel for each function, so that none waits behind another's backlog (native form only)."""
    shared: bool = False
    """Others are members of the group: OpenFaaS workers, or more daemons."""
    max_in_flight: Annotated[int, Meta(ge=1, le=100_000)] = 1024
    """Calls of one channel that the server hands us before it wants acks."""
    max_delayed: Annotated[int, Meta(ge=1, le=1_000_000)] = 8192
    """The same for the channel of what waits for its time."""
    ack_wait: Duration = Duration(60)
    """What is not acknowledged within this time is delivered again."""
    hold: Duration = Duration(10)
    """A retry that waits no longer than this keeps its place; others are published again."""
    put_timeout: Duration = Duration(10)
    """A put that the server does not confirm by then is answered 503."""
    max_pubs_in_flight: Annotated[int, Meta(ge=1, le=65_536)] = 4096
    connect_timeout: Duration = Duration(2)
    reconnect_wait: Duration = Duration(2)
    ping_interval: Duration = Duration(5)
    ping_max_out: Annotated[int, Meta(ge=1, le=1000)] = 3
    channel_max_msgs: Annotated[int, Meta(ge=0)] = 1_000_000
    """The server's own `max_msgs`: near it calls are refused, since the server would drop the oldest. 0: unlimited."""
    channel_max_bytes: Size = Size(1_024_000_000)
    """The server's own `max_bytes`."""

    @property
    def later_subject(self) -> str:
        """Where what waits for its time goes."""
        return f"{self.subject}.later"

    @property
    def callbacks_subject(self) -> str:
        """Where deliveries go, so that a receiver that is down holds up no function."""
        return f"{self.subject}.callbacks"

    @property
    def dead_subject(self) -> str:
        """Where dead letters go."""
        return f"{self.subject}.dead"

    @property
    def lanes_subject(self) -> str:
        """Where the channels of single functions are named."""
        return f"{self.subject}.lanes"


def read_options(given: Mapping[str, Any]) -> Options:
    """The options.

    Raises:
        ConfigError: naming the key.
    """
    options = convert_options(given, Options, WHERE)
    options = msgspec.structs.replace(
        options,
        client_id=options.client_id or names.client_id(socket.gethostname()),
        durable=options.durable or names.durable(options.subject),
    )
    for key, wrong, expected in _faults(options):
        if wrong:
            raise ConfigError(f"{WHERE}.{key}: {expected}")
    return options


def _faults(options: Options) -> tuple[tuple[str, bool, str], ...]:
    """Key, whether it is wrong, and what was expected."""
    clean = names.CHANNEL.fullmatch
    client = names.CLIENT.fullmatch
    return (
        ("servers", not options.servers, "expected at least one address like 'nats://host:4222'"),
        ("cluster_id", not client(options.cluster_id), "expected letters, digits, '-' or '_'"),
        ("client_id", not client(options.client_id), "expected letters, digits, '-' or '_'"),
        ("subject", not clean(options.subject), "expected words of letters, digits, '-' or '_' with dots between"),
        ("queue_group", not client(options.queue_group), "expected letters, digits, '-' or '_'"),
        ("durable", not client(options.durable), "expected letters, digits, '-' or '_'"),
        ("namespace", not client(options.namespace), "expected letters, digits, '-' or '_'"),
        ("ack_wait", options.ack_wait < 1, "expected at least 1s"),
        ("put_timeout", options.put_timeout <= 0, "expected more than 0s"),
        ("connect_timeout", options.connect_timeout <= 0, "expected more than 0s"),
        ("reconnect_wait", options.reconnect_wait <= 0, "expected more than 0s"),
        ("ping_interval", options.ping_interval <= 0, "expected more than 0s"),
        ("consume", not options.consume and options.format == "native", "only the openfaas format has other readers"),
        ("subject_per_function", options.subject_per_function and options.format == "openfaas",
         "only the native format has channels of single functions"),
        ("tls_key", (options.tls_certificate is None) != (options.tls_key is None),
         "a certificate and its key come together"),
        ("password_file", (options.user is None) != (options.password_file is None),
         "a user and a password file come together"),
    )  # fmt: skip


def tls_context(options: Options) -> ssl.SSLContext | None:
    """How to speak TLS; None: not unless an address says so.

    Raises:
        ConfigError: a file cannot be used.
    """
    try:
        return client_context(options.tls_ca, options.tls_certificate, options.tls_key)
    except UnusableCertificate as error:
        raise ConfigError(f"{WHERE}.tls_{error}") from None

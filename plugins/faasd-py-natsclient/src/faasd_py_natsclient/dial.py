"""From an address to a server that has let us in.

The order is NATS's: the server greets with INFO, TLS follows on the same socket if either side wants it, then CONNECT
and PING, answered by PONG or by -ERR.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import trio

from faasd_py_natsclient import encode
from faasd_py_natsclient.errors import AuthRefused, ConnectFailed, TlsRefused
from faasd_py_natsclient.info import ServerInfo
from faasd_py_natsclient.message import Broken, Err, Event, Info, Ping, Pong
from faasd_py_natsclient.options import Options
from faasd_py_natsclient.parse import Parser
from faasd_py_natsclient.pool import Server
from faasd_py_natsclient.tls import TlsWire
from faasd_py_natsclient.wire import SocketWire, Wire

VERSION: Final = "0.1.0"
ALERT: Final = "ALERT_"
DISTRUST: Final = ("CERTIFICATE", "_EXPIRED", "_REVOKED", "_REQUIRED", "_UNKNOWN", "_CA", "ACCESS_DENIED")
"""Ends of OpenSSL's names for the alerts about a certificate (RFC 8446 §6.2)."""
REFUSALS: Final = (
    "authorization violation",
    "user authentication expired",
    "user authentication revoked",
    "account authentication expired",
)
"""-ERR texts, in lower case, after which the same credentials will not do any more."""


@dataclass(slots=True)
class Opened:
    """A connection that stands; `events` came right behind the server's assent."""

    wire: Wire
    info: ServerInfo
    parser: Parser
    events: list[Event]


async def dial(server: Server, options: Options) -> Opened:
    """Connect to this one server within `connect_timeout`.

    Raises:
        ConnectFailed: it is not there, is no NATS server, or is too slow.
        TlsRefused: it is there, and TLS does not come about.
        AuthRefused: it is there, and does not let us in.
    """
    try:
        with trio.fail_after(options.connect_timeout):
            return await _dial(server, options)
    except trio.TooSlowError:
        raise ConnectFailed(f"{server}: no greeting within {options.connect_timeout:g} s") from None
    except (OSError, UnicodeError) as error:
        cause = _innermost(error)
        kind = TlsRefused if _is_refusal(cause) else ConnectFailed
        raise kind(f"{server}: {_why(cause)}") from error


def _innermost(error: BaseException) -> BaseException:
    while isinstance(error.__cause__, Exception):
        error = error.__cause__
    return _innermost(error.exceptions[0]) if isinstance(error, BaseExceptionGroup) else error


def _is_refusal(error: BaseException) -> bool:
    """We do not trust the server's certificate, or it tells us (TLS's alerts) that it does not trust ours."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return True
    reason = error.reason or "" if isinstance(error, ssl.SSLError) else ""
    return ALERT in reason and reason.endswith(DISTRUST)


def _why(error: BaseException) -> str:
    """The reason, on one line."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}"
    if _is_refusal(error):
        alert = str(getattr(error, "reason", "")).partition(ALERT)[2].lower().replace("_", " ")
        return f"it does not trust our certificate: {alert}"
    if isinstance(error, ssl.SSLError):
        return f"TLS: {error.reason or error}"
    number = getattr(error, "errno", None) or 0
    return os.strerror(number) if number > 0 else getattr(error, "strerror", None) or str(error)


async def _dial(server: Server, options: Options) -> Opened:
    stream = await trio.open_tcp_stream(server.host, server.port)
    wire: Wire = SocketWire(stream.socket)
    try:
        return await _greet(wire, server, options)
    except BaseException:
        wire.close()
        raise


async def _greet(wire: Wire, server: Server, options: Options) -> Opened:
    """TLS, when it comes, is laid over this wire; closing this one closes all."""
    parser, secured = Parser(), options.tls_first
    if secured:
        wire = await _secure(wire, server, options)
    info = await _read_info(wire, parser, server)
    if not secured and _wants_tls(info, server, options):
        if parser.held:
            raise ConnectFailed(f"{server}: it spoke on before TLS began")
        wire, secured = await _secure(wire, server, options), True
    hello = connect_fields(server, options, tls=secured)
    return Opened(wire, info, parser, await _enter(wire, info, parser, server, hello))


async def _read_info(wire: Wire, parser: Parser, server: Server) -> ServerInfo:
    """The greeting, and nothing more."""
    while True:
        data = await wire.receive()
        if not data:
            raise ConnectFailed(f"{server}: it hung up before its greeting")
        match parser.feed(data):
            case []:
                pass
            case [Info(fields)]:
                return ServerInfo.of(fields)
            case [Err(text), *_]:
                raise ConnectFailed(f"{server}: {text}")
            case _:
                raise ConnectFailed(f"{server}: it does not greet as a NATS server does")


def _wants_tls(info: ServerInfo, server: Server, options: Options) -> bool:
    """Never fall back to plain text when TLS was asked for: the greeting could be anybody's."""
    asked = server.tls or options.tls is not None
    if asked and not (info.tls_required or info.tls_available):
        raise TlsRefused(f"{server}: TLS is configured here, and the server offers none")
    return asked or info.tls_required


async def _secure(wire: Wire, server: Server, options: Options) -> TlsWire:
    secured = TlsWire(wire, options.tls or ssl.create_default_context(), server.tls_name or server.host)
    await secured.handshake()
    return secured


async def _enter(
    wire: Wire, info: ServerInfo, parser: Parser, server: Server, hello: Mapping[str, Any]
) -> list[Event]:
    """CONNECT, and the server's assent; what came right behind that is given back."""
    await wire.send_all(encode.connect(hello) + encode.PING)
    while True:
        data = await wire.receive()
        if not data:
            raise ConnectFailed(f"{server}: it hung up on our CONNECT")
        events = parser.feed(data)
        for at, event in enumerate(events):
            if isinstance(event, Pong):
                return [e for e in events[:at] if isinstance(e, Info)] + events[at + 1 :]
            await _hear(event, wire, server, info)


async def _hear(event: Event, wire: Wire, server: Server, info: ServerInfo) -> None:
    match event:
        case Err(text) if text.lower().startswith(REFUSALS):
            asked = "" if info.auth_required else ", though it did not ask for credentials"
            raise AuthRefused(f"{server}: {text}{asked}")
        case Err(text):
            raise ConnectFailed(f"{server}: {text}")
        case Broken(reason):
            raise ConnectFailed(f"{server}: {reason}")
        case Ping():
            await wire.send_all(encode.PONG)


def connect_fields(server: Server, options: Options, *, tls: bool) -> Mapping[str, Any]:
    """The CONNECT object. The address's own credentials come before those given for all."""
    fields: dict[str, Any] = {
        "verbose": False,
        "pedantic": False,
        "tls_required": tls,
        "name": options.name,
        "lang": "python-trio",
        "version": VERSION,
        "protocol": 1,
        "echo": True,
        "headers": True,
        "no_responders": True,
    }
    secrets = _credentials(server, options)
    return fields | {name: value for name, value in secrets.items() if value is not None}


def _credentials(server: Server, options: Options) -> dict[str, str | None]:
    if server.user is not None or server.token is not None:
        return {"user": server.user, "pass": server.password, "auth_token": server.token}
    return {"user": options.user, "pass": options.password, "auth_token": options.token}

"""Where the gateway is, and a connection to it."""

from __future__ import annotations

import http.client
import os
import socket
import ssl
from typing import Final
from urllib.parse import SplitResult, urlsplit

from faasd_py.cli.errors import Failed, Usage
from faasd_py.config import find, load

PATIENCE: Final = 10.0
"""Seconds for the connection to be made; the function itself may take as long as it takes."""
DEFAULT: Final = "http://127.0.0.1:8080"
_ANYWHERE: Final = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}  # noqa: S104  # not bound here, but connected to


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: str, timeout: float | None = None) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket's file."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def locate(gateway: str | None, config: str | None) -> str:
    """The gateway's URL: what was said, else $OPENFAAS_URL, else what the configuration listens on first."""
    if url := gateway or os.environ.get("OPENFAAS_URL"):
        return url if "://" in url or url.startswith("unix:") else f"http://{url}"
    path = find(config)
    if config is None and not path.exists():
        return DEFAULT
    settings = load(path).gateway
    address = settings.listen[0]
    if address.startswith("unix:"):
        return address
    host, _, port = address.rpartition(":")
    return f"{'https' if settings.tls else 'http'}://{_ANYWHERE.get(host, host)}:{port}"


def connect(url: str, *, verify: bool) -> tuple[http.client.HTTPConnection, str]:
    """A connection to the gateway, and the path that the URL puts before all others.

    Raises:
        Usage: the URL cannot be understood.
        Failed: nobody answers there.
    """
    connection: http.client.HTTPConnection
    if url.startswith("unix:"):
        connection, prefix = UnixConnection(url.removeprefix("unix:"), PATIENCE), ""
    else:
        parts = _split(url)
        connection, prefix = _over_tcp(parts, verify), parts.path.rstrip("/")
    try:
        connection.connect()
    except (OSError, ssl.SSLError) as error:
        connection.close()
        words = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise Failed(f"cannot connect to {url}: {words[:1].lower()}{words[1:]}") from None
    connection.sock.settimeout(None)
    return connection, prefix


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        usable = None
    if not usable or not url.isascii() or any(letter.isspace() for letter in url):
        raise Usage(f'expected a gateway like "http://127.0.0.1:8080" or "unix:/path", got {url!r}')
    if "@" in parts.netloc:
        raise Usage(
            f"credentials in a URL are seen by everybody: use faasd-py login --gateway {parts.scheme}://{parts.netloc.rpartition('@')[2]}"
        )
    return parts


def _over_tcp(parts: SplitResult, verify: bool) -> http.client.HTTPConnection:
    host, port = parts.hostname or "", parts.port
    if parts.scheme == "http":
        return http.client.HTTPConnection(host, port, timeout=PATIENCE)
    context = ssl.create_default_context()
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return http.client.HTTPSConnection(host, port, timeout=PATIENCE, context=context)

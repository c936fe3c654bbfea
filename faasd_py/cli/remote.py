"""The running daemon: over the private socket on its own box, or through its gateway from anywhere. One set of questions for both.

With --gateway, or $OPENFAAS_URL and no --config: the gateway, with credentials. Else the socket, which asks for none.
"""

from __future__ import annotations

import argparse
import http.client
import os
import select
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import quote, urlencode

import msgspec

from faasd_py.cli.credentials import authorization
from faasd_py.cli.errors import Failed
from faasd_py.cli.gateway import UnixConnection, connect, locate
from faasd_py.config import find, load

SOCKET: Final = "admin.sock"
PATIENCE: Final = 60.0
"""Seconds without an answer: the daemon answers within milliseconds, or it hangs."""
_PIECE: Final = 256 * 1024


class Remote:
    """The daemon that the options name; leaving it hangs up.

    `patience` is in seconds without an answer; None waits for as long as it takes.
    """

    def __init__(self, options: argparse.Namespace, patience: float | None = PATIENCE) -> None:
        self._patience = patience
        self._headers: dict[str, str] = {}
        self._prefix = ""
        self._connection: http.client.HTTPConnection
        if named := _gateway(options):
            self.place = locate(named, None)
            self._reach(verify=not options.tls_no_verify)
        else:
            self.place = str(Path(load(find(options.config)).state.runtime_directory) / SOCKET)
            self._local = True
            self._connection = UnixConnection(self.place, patience)

    _local = False

    def _reach(self, *, verify: bool) -> None:
        said = authorization(self.place)
        self._headers = {"Authorization": said} if said else {}
        self._connection, self._prefix = connect(self.place, verify=verify)
        self._connection.timeout = self._patience
        self._connection.sock.settimeout(self._patience)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def get(self, *path: str, **query: object) -> Any:
        """The answer to a GET, decoded.

        Raises:
            Failed: the daemon is not running, or refused; its own sentence.
        """
        return self.ask("GET", *path, **query)

    def post(self, *path: str, body: object = None, **query: object) -> Any:
        """The answer to a POST, decoded; raises as `get`. `body` goes as JSON."""
        return self.ask("POST", *path, body=body, **query)

    def delete(self, *path: str, body: object = None) -> Any:
        """The answer to a DELETE, decoded; raises as `get`."""
        return self.ask("DELETE", *path, body=body)

    def ask(self, method: str, *path: str, body: object = None, **query: object) -> Any:
        """The answer to any request, decoded; None when it has no body; raises as `get`."""
        data = self._good(method, path, query, body).read()
        try:
            return msgspec.json.decode(data) if data else None
        except msgspec.DecodeError:
            raise Failed(f"{self.place} answered what is no JSON: is it a gateway of faasd-py's?") from None

    def stream(self, *path: str, **query: object) -> Iterator[bytes]:
        """The body of an answer, piece by piece as it comes; raises as `get`."""
        response = self._good("GET", path, query)
        try:
            while piece := response.read1(_PIECE):
                yield piece
        except (OSError, http.client.HTTPException) as error:
            raise Failed(f"the daemon broke off its answer: {error}") from error

    def _good(
        self, method: str, path: tuple[str, ...], query: Mapping[str, object], body: object = None
    ) -> http.client.HTTPResponse:
        response = self._send(method, path, query, body)
        if response.status >= 300:
            raise Failed(self._refusal(response))
        return response

    def _send(
        self, method: str, path: tuple[str, ...], query: Mapping[str, object], body: object
    ) -> http.client.HTTPResponse:
        given = {key: str(value) for key, value in query.items() if value is not None}
        target = f"{self._prefix}/system/" + "/".join(quote(part, safe="") for part in path)
        target += f"?{urlencode(given)}" if given else ""
        data = None if body is None else msgspec.json.encode(body)
        kind = {} if data is None else {"Content-Type": "application/json"}
        self._hang_up_if_closed()
        try:
            self._connection.request(method, target, data, self._headers | kind)
            return self._connection.getresponse()
        except TimeoutError:
            raise Failed(f"the daemon did not answer within {self._patience:g} seconds") from None
        except (OSError, http.client.HTTPException) as error:
            raise Failed(self._trouble(error)) from None

    def _hang_up_if_closed(self) -> None:
        """The other side closes a connection that was idle for long: then the next request is made on a new one."""
        sock = self._connection.sock
        if sock is not None and select.select([sock], [], [], 0)[0]:
            self._connection.close()

    def _trouble(self, error: Exception) -> str:
        if self._local and isinstance(error, FileNotFoundError | ConnectionRefusedError):
            return f"the daemon is not running: nobody listens at {self.place}"
        if self._local and isinstance(error, PermissionError):
            return f"{self.place}: permission denied: be root or the daemon's own user, or use --gateway"
        return f"the daemon cannot be asked at {self.place}: {error}"

    def _refusal(self, response: http.client.HTTPResponse) -> str:
        sentence = _sentence(response)
        if response.status != 401:
            return sentence
        known = "does not accept the credentials" if self._headers else "asks who you are"
        return f"{self.place} {known}: faasd-py login --gateway {self.place}"


def _gateway(options: argparse.Namespace) -> str | None:
    """The gateway that is to be asked; None: the daemon of this box's configuration."""
    if options.gateway:
        return str(options.gateway)
    return None if options.config else os.environ.get("OPENFAAS_URL") or None


def _sentence(response: http.client.HTTPResponse) -> str:
    """What the daemon said, or failing that its status."""
    body = response.read()
    try:
        return str(msgspec.json.decode(body)["error"])
    except (msgspec.DecodeError, KeyError, TypeError):
        text = body[:1000].decode("utf-8", "replace").strip()
        return text or f"the daemon answered {response.status} {response.reason}"

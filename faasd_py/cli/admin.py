"""The running daemon, over the socket that only its user can connect to."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import quote, urlencode

import msgspec

from faasd_py.cli.errors import Failed
from faasd_py.config import find, load

SOCKET: Final = "admin.sock"
PATIENCE: Final = 60.0
"""Seconds without an answer: the daemon answers within milliseconds, or it hangs."""
_PIECE: Final = 256 * 1024


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


class Admin:
    """The admin API of the daemon that the configuration describes; leaving it hangs up.

    `patience` is in seconds without an answer; None waits for as long as it takes.
    """

    def __init__(self, config: str | None, patience: float | None = PATIENCE) -> None:
        directory = Path(load(find(config)).state.runtime_directory)
        self._path = str(directory / SOCKET)
        self._connection = UnixConnection(self._path, patience)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def get(self, *path: str, **query: object) -> Any:
        """The answer to a GET, decoded.

        Raises:
            Failed: the daemon is not running, or refused; its own sentence.
        """
        return self._json("GET", path, query)

    def post(self, *path: str, **query: object) -> Any:
        """The answer to a POST, decoded; raises as `get`."""
        return self._json("POST", path, query)

    def delete(self, *path: str) -> Any:
        """The answer to a DELETE, decoded; raises as `get`."""
        return self._json("DELETE", path, {})

    def stream(self, *path: str, **query: object) -> Iterator[bytes]:
        """The body of an answer, piece by piece as it comes; raises as `get`."""
        response = self._send("GET", path, query)
        if response.status >= 400:
            raise Failed(_sentence(response))
        try:
            while piece := response.read1(_PIECE):
                yield piece
        except (OSError, http.client.HTTPException) as error:
            raise Failed(f"the daemon broke off its answer: {error}") from error

    def _json(self, method: str, path: tuple[str, ...], query: Mapping[str, object]) -> Any:
        response = self._send(method, path, query)
        if response.status >= 400:
            raise Failed(_sentence(response))
        return msgspec.json.decode(response.read())

    def _send(
        self, method: str, path: tuple[str, ...], query: Mapping[str, object]
    ) -> http.client.HTTPResponse:
        given = {key: str(value) for key, value in query.items() if value is not None}
        target = "/system/" + "/".join(quote(part, safe="") for part in path)
        target += f"?{urlencode(given)}" if given else ""
        try:
            self._connection.request(method, target)
            return self._connection.getresponse()
        except (FileNotFoundError, ConnectionRefusedError):
            raise Failed(f"the daemon is not running: nobody listens at {self._path}") from None
        except PermissionError:
            raise Failed(f"{self._path}: permission denied: be root or the daemon's own user") from None
        except TimeoutError:
            raise Failed(f"the daemon did not answer within {PATIENCE:g} seconds") from None
        except (OSError, http.client.HTTPException) as error:
            raise Failed(f"the daemon cannot be asked at {self._path}: {error}") from error


def _sentence(response: http.client.HTTPResponse) -> str:
    """What the daemon said, or failing that its status."""
    body = response.read()
    try:
        return str(msgspec.json.decode(body)["error"])
    except (msgspec.DecodeError, KeyError, TypeError):
        text = body.decode("utf-8", "replace").strip()
        return text or f"the daemon answered {response.status} {response.reason}"

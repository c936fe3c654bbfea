"""podman's REST API over its unix socket: one request, one answer, and an error that is a sentence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Final, Self

import httpx
import msgspec

from faasd_py.api import FunctionUnavailable

_BASE: Final = "http://podman/v4.0.0/libpod"
TIMEOUT: Final = 60.0
"""Seconds for anything but a pull; podman answers in milliseconds, a loaded box in seconds."""
_LIMITS: Final = httpx.Limits(max_connections=32, max_keepalive_connections=0)
"""A connection a request: one that was kept may be a dead service's, and a new one costs next to nothing."""
AWAY: Final = 0
"""The status of an error when podman did not answer at all."""


class PodmanError(FunctionUnavailable):
    """podman said no, or nothing; `status` is its answer's, AWAY when there was none."""

    def __init__(self, text: str, status: int = AWAY) -> None:
        super().__init__(text)
        self.status = status


class Rest:
    """A client. Several tasks may use it at once."""

    def __init__(self, socket: str) -> None:
        self.socket = socket
        transport = httpx.AsyncHTTPTransport(uds=socket, limits=_LIMITS)
        self._client = httpx.AsyncClient(transport=transport, timeout=TIMEOUT, trust_env=False)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.aclose()

    async def call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        patient: bool = False,
    ) -> bytes:
        """The answer's body; `patient`: however long it takes.

        Raises:
            PodmanError: with podman's own words, or that it does not answer.
        """
        content = None if body is None else msgspec.json.encode(body)
        given = {"Content-Type": "application/json", **(headers or {})}
        timeout = None if patient else TIMEOUT
        with self._told():
            answer = await self._client.request(
                method, _BASE + path, params=query, content=content, headers=given, timeout=timeout
            )
        if answer.status_code >= 400:
            raise PodmanError(_words(answer.content), answer.status_code)
        return answer.content

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except httpx.HTTPError as error:
            reason = str(error) or type(error).__name__
            raise PodmanError(f"podman does not answer at {self.socket}: {reason}") from error

    async def ask(self, path: str, **query: str) -> Any:
        """What a GET tells, from JSON. Raises as `call`."""
        return msgspec.json.decode(await self.call("GET", path, query=query))

    async def exists(self, path: str) -> bool:
        """Whether the thing at `path` (an image, a network) exists. Raises as `call`."""
        try:
            await self.call("GET", f"{path}/exists")
        except PodmanError as error:
            if error.status == 404:
                return False
            raise
        return True


def _words(body: bytes) -> str:
    try:
        told = msgspec.json.decode(body)
        text = str(told["message"])
    except (msgspec.DecodeError, KeyError, TypeError):
        text = body.decode("utf-8", "replace")
    return " ".join(text.split())[:1000] or "podman failed without a word"

"""Getting an image: from this box when it is there, else from its registry, once however many ask."""

from __future__ import annotations

import base64
import binascii
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final
from urllib.parse import quote

import msgspec
import trio

from faasd_py.api import ConfigError
from faasd_py_podman import references
from faasd_py_podman.options import PLACE, Options, Pull
from faasd_py_podman.rest import PodmanError, Rest

_AT_ONCE: Final = 4
"""Pulls; podman is asked other things meanwhile."""


class Images:
    """The images of one podman."""

    def __init__(self, rest: Rest, options: Options) -> None:
        self._rest = rest
        self._options = options
        self._turns: dict[str, trio.Lock] = {}
        self._pulls = trio.CapacityLimiter(_AT_ONCE)

    async def get(self, reference: str, pull: Pull) -> str:
        """The image's id.

        Raises:
            PodmanError: it is neither here nor to be had, with podman's reason.
            ConfigError: the file with the credentials cannot be read.
        """
        async with self._turn(reference):
            if pull != "always" and (found := await self._local(reference)):
                return found
            if pull == "never":
                raise PodmanError(f'image {reference} is not on this box, and pull = "never"', 404)
            return await self._pull(references.full(reference))

    @asynccontextmanager
    async def _turn(self, reference: str) -> AsyncIterator[None]:
        """One at a time for an image; who waited finds it there."""
        lock = self._turns.setdefault(reference, trio.Lock())
        try:
            async with lock:
                yield
        finally:
            if not lock.statistics().tasks_waiting and not lock.locked():
                self._turns.pop(reference, None)

    async def _local(self, reference: str) -> str:
        """The id of an image that is here, empty when it is not. A short name may mean one that was built here."""
        for name in dict.fromkeys((reference, references.full(reference))):
            try:
                return str((await self._rest.ask(f"/images/{quote(name, safe='')}/json"))["Id"])
            except PodmanError as error:
                if error.status not in {404, 500}:
                    raise
        return ""

    async def _pull(self, reference: str) -> str:
        registry = references.registry(reference)
        query = {"reference": reference, "policy": "always"}
        if registry in self._options.insecure_registries:
            query["tlsVerify"] = "false"
        headers = await self._credentials(reference)
        async with self._pulls:
            told = await self._rest.call("POST", "/images/pull", query=query, headers=headers, patient=True)
        lines = [msgspec.json.decode(line) for line in told.splitlines() if line.strip()]
        for reason in (line["error"] for line in lines if line.get("error")):
            raise PodmanError(f"image {reference} cannot be pulled: {' '.join(str(reason).split())}", 500)
        for found in (line["id"] for line in lines if line.get("id")):
            return str(found)
        raise PodmanError(f"image {reference} cannot be pulled: podman does not say why", 500)

    async def _credentials(self, reference: str) -> dict[str, str]:
        if self._options.auth_file is None:
            return {}
        path = self._options.auth_file
        try:
            text = await trio.Path(path).read_bytes()
        except OSError as error:
            raise ConfigError(f"{PLACE}.auth_file: {path} cannot be read: {error.strerror}") from error
        entry = find_credentials(text, reference, Path(path))
        return {} if entry is None else {"X-Registry-Auth": _encoded(entry)}


class _Entry(msgspec.Struct):
    auth: str = ""


class _AuthFile(msgspec.Struct):
    auths: dict[str, _Entry] = {}


def find_credentials(text: bytes, reference: str, path: Path) -> tuple[str, str] | None:
    """User and password for an image, from the text of an auth file; None when it has none.

    Raises:
        ConfigError: it is not such a file.
    """
    try:
        auths = msgspec.json.decode(text, type=_AuthFile).auths
        word = next((auths[key].auth for key in references.keys(reference) if key in auths), "")
        user, _, password = base64.b64decode(word, validate=True).decode().partition(":")
    except (msgspec.DecodeError, binascii.Error, UnicodeDecodeError) as error:
        raise ConfigError(f"{PLACE}.auth_file: {path} is not what `podman login` leaves: {error}") from error
    return (user, password) if word else None


def _encoded(entry: tuple[str, str]) -> str:
    user, password = entry
    plain = msgspec.json.encode({"username": user, "password": password})
    return base64.urlsafe_b64encode(plain).decode()

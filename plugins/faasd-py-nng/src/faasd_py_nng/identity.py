"""Who this spoke is, and what it knew of its hub: kept in a file, so that the hub knows it again after a crash."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import msgspec

from faasd_py.api import Capabilities, QueueUnavailable

UNKNOWN: Final = Capabilities(durable=False, shared=True)
"""Of a hub that was never met nothing may be promised."""


class _Card(msgspec.Struct):
    id: str = ""
    capabilities: dict[str, Any] | None = None


class Identity:
    """`spoke` is for ever, `incarnation` for this life; incarnations sort by time."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / "spoke.json"
        self._card = _Card()
        with suppress(OSError, msgspec.MsgspecError):
            self._card = msgspec.json.decode(self._path.read_bytes(), type=_Card)
        if len(self._card.id) != 32:
            self._card.id = os.urandom(16).hex()
            self._save()
        self.spoke = bytes.fromhex(self._card.id)
        self.incarnation = time.time_ns().to_bytes(8, "big") + os.urandom(8)

    @property
    def capabilities(self) -> Capabilities:
        """The hub's, as it told last."""
        return UNKNOWN if self._card.capabilities is None else capabilities_of(self._card.capabilities)

    def learn(self, capabilities: dict[str, Any]) -> None:
        """Keep what the hub told."""
        if capabilities != self._card.capabilities:
            self._card.capabilities = capabilities
            with suppress(QueueUnavailable):
                self._save()

    def _save(self) -> None:
        try:
            new = self._path.with_suffix(".new")
            new.write_bytes(msgspec.json.encode(self._card))
            new.replace(self._path)
        except OSError as error:
            raise QueueUnavailable(f"{self._path} cannot be written: {error.strerror}") from error


def capabilities_of(reply: dict[str, Any]) -> Capabilities:
    """What a hub told of its queue: several daemons serve it."""
    try:
        found = msgspec.convert(reply, Capabilities)
    except msgspec.ValidationError:
        return UNKNOWN
    return msgspec.structs.replace(found, shared=True)

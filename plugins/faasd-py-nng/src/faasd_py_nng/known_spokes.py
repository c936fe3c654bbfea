"""Which spokes there were and what they serve, kept in a file: their lanes are left for them while they are away."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec
import trio

from faasd_py_nng.session import Session, today
from faasd_py_nng.settings import serves

KEPT: Final = 7
"""Days that a spoke is remembered after it was last seen."""


class Spoke(msgspec.Struct, frozen=True):
    """What is remembered of one."""

    name: str
    lanes: list[str]
    seen: int
    """In days since 1970."""


class KnownSpokes:
    """By their ids, in hex."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._spokes: dict[str, Spoke] = {}
        with suppress(OSError, msgspec.MsgspecError):
            self._spokes = msgspec.json.decode(path.read_bytes(), type=dict[str, Spoke])

    async def saw(self, session: Session) -> None:
        """It is here now. A disk that cannot be written to costs the memory only."""
        spoke = Spoke(session.name, session.patterns, today())
        if self._spokes.get(session.spoke.hex()) == spoke:
            return
        self._spokes[session.spoke.hex()] = spoke
        self._spokes = {key: one for key, one in self._spokes.items() if one.seen > today() - KEPT}
        with suppress(OSError):
            await trio.to_thread.run_sync(self._save)

    def _save(self) -> None:
        new = self._path.with_suffix(".new")
        new.write_bytes(msgspec.json.encode(self._spokes))
        new.replace(self._path)

    def serve(self, lane: str) -> bool:
        """One of them serves this lane."""
        return any(serves(spoke.lanes, lane) for spoke in self._spokes.values())

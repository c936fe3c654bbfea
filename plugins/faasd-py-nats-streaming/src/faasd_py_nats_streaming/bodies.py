"""Large bodies: in a message they travel whole, here they lie in files while their calls are in our hands."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import msgspec
import trio

from faasd_py.api import Body, Call, QueueUnavailable, Spooled


class Bodies:
    """One directory of our own. The broker keeps the originals: what lies here at the start is swept."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path in directory.iterdir():
            path.unlink()

    def store(self, name: str, call: Call) -> Call:
        """The call with its body in a file; on a full disk the body stays in memory."""
        body = call.body
        if not isinstance(body, bytes):
            return call
        path = self._directory / name
        try:
            path.write_bytes(body)
        except OSError:
            with suppress(OSError):
                path.unlink()
            return call
        return msgspec.structs.replace(call, body=Spooled(path=str(path), size=len(body)))


def remove(body: Body) -> None:
    """Remove a body's file; one that is gone already is no error."""
    if isinstance(body, Spooled):
        with suppress(OSError):
            Path(body.path).unlink()


async def in_memory(call: Call) -> Call:
    """The call with its body in memory.

    Raises:
        QueueUnavailable: the file cannot be read.
    """
    body = call.body
    if isinstance(body, bytes):
        return call
    try:
        data = await trio.Path(body.path).read_bytes()
    except OSError as error:
        raise QueueUnavailable(f"a large body cannot be read: {error.strerror}") from error
    return msgspec.structs.replace(call, body=data)

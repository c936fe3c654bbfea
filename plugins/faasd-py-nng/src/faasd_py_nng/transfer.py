"""Large bodies between hub and spoke, in chunks."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

import trio

from faasd_py.api import Body, QueueUnavailable, Spooled
from faasd_py_nng.link import Link
from faasd_py_nng.nng import ConnectionLost
from faasd_py_nng.wire import CHUNK, INLINE, Chunk, Data, Fetch, Received, Refused

AGAIN: Final = 0.05
"""Seconds between two looks whether the link is back."""


def is_large(body: Body) -> bool:
    """Whether it goes in chunks. A file does in any case: it is to lie in a file at the other end."""
    return isinstance(body, Spooled) or len(body) > INLINE


class Transfer:
    """Over one link; `directory` is where fetched bodies lie."""

    def __init__(self, link: Link, directory: Path) -> None:
        self._link = link
        self._directory = directory
        self._uploads = 0

    def open(self) -> None:
        """Make the directory, and remove what an earlier life left in it. Blocks."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path in self._directory.iterdir():
            path.unlink(missing_ok=True)

    async def upload(self, body: Body) -> int:
        """The number under which the hub has it; tried until it is there, in whatever session.

        Raises:
            QueueUnavailable: the hub cannot store it, or our own file cannot be read.
        """
        while True:
            await self._link.up.wait()
            self._uploads += 1
            try:
                if await self._chunks(self._uploads, body):
                    return self._uploads
            except ConnectionLost:
                pass
            await trio.sleep(AGAIN)

    async def _chunks(self, number: int, body: Body) -> bool:
        """Whether all arrived; False when the hub lost the beginning."""
        offset, size = 0, body.size if isinstance(body, Spooled) else len(body)
        while True:
            data = await _read(body, offset)
            last = offset + len(data) >= size
            reply = await self._link.ask(lambda token: Chunk(token, number, offset, data, last))  # noqa: B023 - at once
            if isinstance(reply, Refused):
                if reply.kind == "QueueUnavailable":
                    raise QueueUnavailable(reply.text)
                return False
            if not isinstance(reply, Received):
                return False
            offset += len(data)
            if last:
                return True
            if not data:
                raise QueueUnavailable("a large body is shorter than it was")

    async def fetch(self, lease: int, size: int, *, file: bool) -> Body:
        """The body of a lease; in a file of ours, if it was in one at the hub.

        Raises:
            ConnectionLost: the connection, or the lease, is lost.
            QueueUnavailable: it cannot be stored here.
        """
        if file:
            return await self._into_file(lease, size)
        chunks: list[bytes] = []

        async def keep(data: bytes) -> None:
            chunks.append(data)

        await self._fetched(lease, size, keep)
        return b"".join(chunks)

    async def _into_file(self, lease: int, size: int) -> Spooled:
        path = self._directory / os.urandom(12).hex()
        try:
            async with await trio.open_file(path, "wb") as file:

                async def keep(data: bytes) -> None:
                    await file.write(data)

                await self._fetched(lease, size, keep)
        except BaseException as error:
            self.remove(str(path))
            if isinstance(error, OSError):
                raise QueueUnavailable(f"a large body cannot be stored: {error.strerror}") from error
            raise
        return Spooled(path=str(path), size=size)

    async def _fetched(self, lease: int, size: int, keep: Callable[[bytes], Awaitable[None]]) -> None:
        got = 0
        while got < size:
            reply = await self._link.ask(lambda token: Fetch(token, lease, 0, got))  # noqa: B023 - at once
            if not isinstance(reply, Data) or not reply.data:
                raise ConnectionLost("the hub does not give a body")
            await keep(reply.data)
            got += len(reply.data)

    def remove(self, path: str) -> None:
        """A fetched body is not needed any more."""
        with suppress(OSError):
            Path(path).unlink()


async def _read(body: Body, offset: int) -> bytes:
    if isinstance(body, bytes):
        return body[offset : offset + CHUNK]
    try:
        return await trio.to_thread.run_sync(_pread, body.path, offset)
    except OSError as error:
        raise QueueUnavailable(f"a large body cannot be read: {error.strerror}") from error


def _pread(path: str, offset: int) -> bytes:
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.pread(handle, CHUNK, offset)
    finally:
        os.close(handle)

"""The output of a forked function until its status is known: in memory, then in an unlinked file, both bounded."""

from __future__ import annotations

import tempfile
from typing import IO, Final

import trio

from faasd_py.runtime.contract import Reply

MEMORY: Final = 1 << 20
DISK: Final = 64 << 20
"""Beyond this an answer begins without waiting for the status."""
_PIECE: Final = 256 << 10


class Output:
    """`add` while it comes; then `whole` if it is small, or `send`. `full`: no more is kept."""

    __slots__ = ("_chunks", "_file", "full", "held", "size", "start")

    def __init__(self) -> None:
        self._chunks: list[bytes] = []
        self.held = 0
        self.start = b""
        self._file: IO[bytes] | None = None
        self.size = 0
        self.full = False

    @property
    def small(self) -> bool:
        """All of it is in memory."""
        return self._file is None

    def add(self, data: bytes) -> bool:
        """Take it; False when `spill` must be called before the next."""
        if not self.size:
            self.start = data[:512]
        self._chunks.append(data)
        self.held += len(data)
        self.size += len(data)
        return self.held < MEMORY

    async def spill(self) -> None:
        """Move what is in memory to the file. A disk that does not take it makes the output full."""
        chunks, data = len(self._chunks), self.whole()
        try:
            self._file = await trio.to_thread.run_sync(_append, self._file, data)
        except OSError:
            self.full = True
            return
        del self._chunks[:chunks]
        self.held -= len(data)
        self.full = self.size >= DISK

    def whole(self) -> bytes:
        """What is in memory."""
        return self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)

    async def send(self, reply: Reply) -> None:
        """Write all of it, once: from the file, then from memory."""
        if self._file is not None:
            await trio.to_thread.run_sync(self._file.seek, 0)
            left = self.size - self.held
            while left and (piece := await trio.to_thread.run_sync(self._file.read, min(_PIECE, left))):
                left -= len(piece)
                await reply.write(piece)
        for chunk in self._chunks:
            await reply.write(chunk)

    def close(self) -> None:
        """The file's space is free again."""
        self._chunks.clear()
        if self._file is not None:
            self._file.close()


def _append(file: IO[bytes] | None, data: bytes) -> IO[bytes]:
    file = file or tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - lives as long as the output
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]
    return file

"""Large bodies at the hub: chunks that come are written into its spool, chunks that are asked for are read."""

from __future__ import annotations

import os
from contextlib import AsyncExitStack

import trio

from faasd_py.api import QueueError, Spool
from faasd_py_nng import wire
from faasd_py_nng.session import MOST_UPLOADS, Held, Session, Upload, close_upload
from faasd_py_nng.wire import CHUNK, Malformed, Refused


class Bodies:
    """`max_body` is in bytes."""

    def __init__(self, spool: Spool, max_body: int) -> None:
        self._spool = spool
        self._max_body = max_body

    async def chunk(self, session: Session, chunk: wire.Chunk) -> wire.Reply:
        """Write one down.

        Raises:
            Malformed: it does not fit to those before it, or is too much.
        """
        upload = session.uploads.get(chunk.upload)
        if upload is None:
            if chunk.offset:
                return Refused("upload", "the beginning is not here")
            if len(session.uploads) >= MOST_UPLOADS:
                raise Malformed("too many large bodies at once")
            upload = session.uploads[chunk.upload] = await self._new_upload()
        if chunk.offset + len(chunk.data) <= upload.size and not (chunk.last and upload.body is None):
            return wire.Received()
        if (
            chunk.offset != upload.size
            or upload.body is not None
            or upload.size + len(chunk.data) > self._max_body
        ):
            raise Malformed("a piece of a large body that does not fit")
        return await self._write(session, upload, chunk)

    async def _new_upload(self) -> Upload:
        stack = AsyncExitStack()
        return Upload(stack, await stack.enter_async_context(self._spool.writer()))

    async def _write(self, session: Session, upload: Upload, chunk: wire.Chunk) -> wire.Reply:
        try:
            await upload.writer.write(chunk.data)
            upload.size += len(chunk.data)
            if chunk.last:
                upload.body = await upload.writer.commit()
        except QueueError as error:
            session.uploads.pop(chunk.upload, None)
            await close_upload(upload)
            return Refused("QueueUnavailable", str(error))
        return wire.Received()


async def fetch(session: Session, request: wire.Fetch) -> wire.Reply:
    """A chunk of a lease's body, or of an answer that was too large for one message."""
    if request.answer:
        slot = session.answers.get(request.answer)
        document = b"" if slot is None else slot.document
        return wire.Data(document[request.offset : request.offset + wire.CHUNK])
    held = session.held.get(request.lease)
    if held is None:
        return Refused("lost", "the lease is held no longer")
    try:
        return wire.Data(await read_body(held, request.offset))
    except OSError as error:
        return Refused("QueueUnavailable", f"a large body cannot be read: {error.strerror}")


async def read_body(held: Held, offset: int) -> bytes:
    """A chunk of a lease's body.

    Raises:
        OSError: its file cannot be read.
    """
    body = held.lease.call.body
    if isinstance(body, bytes):
        return body[offset : offset + CHUNK]
    return await trio.to_thread.run_sync(_read, body.path, offset)


def _read(path: str, offset: int) -> bytes:
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.pread(handle, CHUNK, offset)
    finally:
        os.close(handle)

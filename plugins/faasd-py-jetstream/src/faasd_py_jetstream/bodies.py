"""Large bodies: in an object store at the broker (NATS ADR-20), in files here while a call is at hand."""

from __future__ import annotations

import base64
import os
from collections.abc import AsyncIterator, Callable
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Final, TypeVar

import msgspec
import trio

from faasd_py.api import Body, QueueUnavailable, Spooled
from faasd_py_jetstream.context import Context
from faasd_py_jetstream.names import store
from faasd_py_jetstream.rows import Stored
from faasd_py_natsclient import NatsError

CHUNK: Final = 128 << 10
AT_ONCE: Final = 16
"""Chunks that are fetched with one request."""
MARGIN: Final = 16 << 10
"""What a message needs beside the body: subject, headers, the call's other fields, at most."""
PATIENCE: Final = 60.0
"""Seconds that one chunk may take."""
T = TypeVar("T")


class Bodies:
    """`directory` is this daemon's own."""

    def __init__(self, context: Context, directory: Path) -> None:
        self._context = context
        self._directory = directory
        self._bucket = context.names.bodies
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path in directory.iterdir():
            path.unlink(missing_ok=True)

    def large(self, body: Body, beside: int) -> bool:
        """It does not go into the call's message; `beside`: bytes of the call's other fields."""
        if isinstance(body, Spooled):
            return True
        return len(body) + beside + MARGIN > self._context.client.max_payload

    async def upload(self, identity: str, body: Body) -> Stored:
        """Put a body into the store; it is safe when this returns.

        Raises:
            QueueUnavailable: the broker does not take it, or the file cannot be read.
        """
        name, digest, chunks, size = f"{identity}-{os.urandom(4).hex()}", sha256(), 0, 0
        async for chunk in _chunks(body):
            once = {"Nats-Msg-Id": f"{name}.{chunks}"}
            await self._publish(f"$O.{self._bucket}.C.{name}", chunk, once)
            digest.update(chunk)
            chunks += 1
            size += len(chunk)
        stored = Stored(size, chunks, name, digest.hexdigest(), not isinstance(body, Spooled))
        await self._publish(self._meta(identity), self._description(identity, stored), {"Nats-Rollup": "sub"})
        return stored

    async def _publish(self, subject: str, data: bytes, headers: dict[str, str] | None = None) -> None:
        await self._context.publisher.room()
        await self._context.publisher.publish(subject, data, headers, within=PATIENCE)

    def _meta(self, identity: str) -> str:
        return f"$O.{self._bucket}.M.{base64.urlsafe_b64encode(identity.encode()).decode()}"

    def _description(self, identity: str, stored: Stored) -> bytes:
        digest = base64.urlsafe_b64encode(bytes.fromhex(stored.digest)).decode()
        return msgspec.json.encode(
            {
                "name": identity, "bucket": self._bucket, "nuid": stored.name, "size": stored.size,
                "chunks": stored.chunks, "digest": f"SHA-256={digest}", "options": {"max_chunk_size": CHUNK},
            }
        )  # fmt: skip

    async def fetch(self, identity: str, stored: Stored) -> Body:
        """The body, in a file unless it was none.

        Raises:
            QueueUnavailable: it cannot be had, or is not whole.
        """
        if stored.whole:
            pieces: list[bytes] = []
            await self._read(stored, pieces.append)
            return b"".join(pieces)
        path = self._directory / f"{identity}-{os.urandom(4).hex()}"
        handle = await _in_thread(os.open, path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        kept = False
        try:
            await self._read(stored, partial(_write, handle))
            kept = True
        finally:
            os.close(handle)
            if not kept:
                path.unlink(missing_ok=True)
        return Spooled(path=str(path), size=stored.size)

    async def _read(self, stored: Stored, write: Callable[[bytes], object]) -> None:
        """Every chunk in order; `write` runs in a thread."""
        digest, left, seq = sha256(), stored.chunks, 1
        stream, subject = store(self._bucket), f"$O.{self._bucket}.C.{stored.name}"
        while left:
            found = await self._context.api.following(stream, subject, seq, min(left, AT_ONCE))
            if not found:
                break
            for message in found:
                digest.update(message.data)
                await _in_thread(write, message.data)
            left, seq = left - len(found), found[-1].seq + 1
        if left or digest.hexdigest() != stored.digest:
            raise QueueUnavailable(f"the large body {stored.name} is not whole at the broker")

    def drop_file(self, path: str) -> None:
        """Remove a file that was fetched."""
        if path:
            Path(path).unlink(missing_ok=True)

    def remove(self, identity: str, header: str) -> None:
        """Remove a body from the store; nobody waits for it. In vain, the object stays behind."""
        if not header:
            return
        api, stream = self._context.api, store(self._bucket)
        name = header.split(" ")[2]
        try:
            api.tell(f"STREAM.PURGE.{stream}", {"filter": self._meta(identity)})
            api.tell(f"STREAM.PURGE.{stream}", {"filter": f"$O.{self._bucket}.C.{name}"})
        except NatsError:
            return


async def _chunks(body: Body) -> AsyncIterator[bytes]:
    if isinstance(body, bytes):
        for at in range(0, len(body), CHUNK):
            yield body[at : at + CHUNK]
        return
    handle = await _in_thread(os.open, body.path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        while chunk := await _in_thread(os.read, handle, CHUNK):
            yield chunk
    finally:
        os.close(handle)


def _write(handle: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(handle, rest) :]


async def _in_thread(work: Callable[..., T], *arguments: object) -> T:
    try:
        return await trio.to_thread.run_sync(work, *arguments)
    except OSError as error:
        raise QueueUnavailable(f"a large body cannot be read or kept: {error.strerror}") from error

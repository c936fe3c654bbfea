"""What this daemon holds, on record by half seconds: so that its next life gives it back at once after a kill.

Without it, the calls of a daemon that was killed are free when `ack_wait` has passed; they still are on every other
daemon, and when this one does not come back.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec
import trio

from faasd_py_jetstream.context import Context, log
from faasd_py_jetstream.delivery import NAK, parse
from faasd_py_jetstream.names import bucket
from faasd_py_jetstream.publisher import Answer
from faasd_py_jetstream.source import Source

KEPT: Final = 86400
"""Seconds that the record of a daemon that does not come back is kept."""


class Recovery:
    """`directory` is this daemon's own, from one life to the next; `node` names this life."""

    def __init__(self, context: Context, directory: Path, node: str) -> None:
        self._context = context
        self._file = directory / "node"
        self._node = node
        self._written: tuple[str, ...] = ()
        self._writing = False

    def _subject(self, node: str) -> str:
        return f"$KV.{self._context.names.state}.held.{node}"

    async def take_over(self) -> int:
        """Give back what the life before held when it was killed; how many messages.

        Raises:
            QueueUnavailable: the broker is away.
        """
        before = await trio.to_thread.run_sync(self._swap)
        if not before:
            return 0
        stream, subject = bucket(self._context.names.state), self._subject(before)
        found = await self._context.api.last(stream, subject)
        if found is None:
            return 0
        replies = [reply for reply in _read(found.data) if parse(reply) is not None]
        for reply in replies:
            self._context.client.publish(reply, NAK)
        await self._context.api.purge(stream, subject)
        if replies:
            log.info("%d calls that this daemon held when it ended are free again", len(replies))
        return len(replies)

    def _swap(self) -> str:
        """The node of the life before; from now on the file names this one."""
        try:
            before = self._file.read_text("ascii").strip()
        except (OSError, UnicodeDecodeError):
            before = ""
        new = self._file.with_suffix(".new")
        new.write_text(self._node, "ascii")
        new.replace(self._file)
        return before if before.isalnum() else ""

    def note(self, sources: list[Source]) -> None:
        """Write down what is held now, if that has changed."""
        held = tuple(entry.reply for source in sources for entry in source.unacked.values())
        if held == self._written or self._writing or not self._context.client.connected:
            return
        self._written, self._writing = held, True

        def done(_: Answer) -> None:
            self._writing = False

        data = msgspec.msgpack.encode(held)
        headers = {"Nats-TTL": f"{KEPT}s"}
        self._context.publisher.send(
            self._subject(self._node),
            data,
            headers,
            done,
            within=self._context.options.put_timeout,
            stubborn=False,
        )

    async def close(self) -> None:
        """Nothing is held any more.

        Raises:
            QueueUnavailable: the broker is away.
        """
        if self._written:
            await self._context.api.purge(bucket(self._context.names.state), self._subject(self._node))


def _read(data: bytes) -> list[str]:
    try:
        return msgspec.msgpack.decode(data, type=list[str])
    except msgspec.DecodeError:
        return []

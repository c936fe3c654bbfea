"""Callbacks, put in one transaction with the note that their call is over (NATS ADR-50, atomic batches).

The note lies in the stream of calls, since a batch has one stream, and holds the call's row: whoever gets the call again
finds it and ends the call by it, so that a crash at any moment leaves both or neither. What is to be written while one
batch is under way goes into the next.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Final

import msgspec
import trio

from faasd_py.api import QueueUnavailable
from faasd_py_jetstream import rows
from faasd_py_jetstream.context import Context, log
from faasd_py_jetstream.publisher import Answer
from faasd_py_jetstream.putting import MSG_ID, Publication
from faasd_py_natsclient import NatsError

MOST: Final = 100
"""Pairs in one batch; the server takes a thousand messages."""
PATIENCE: Final = 3.0
"""Seconds after which a batch without a confirmation is looked for."""
KEPT: Final = 3600
"""Seconds that a note is kept."""
LARGEST: Final = 4096
"""Bytes of an answer's body that a note holds; it matters only to a call whose daemon dies right then."""


class Pair(msgspec.Struct, eq=False):
    """A callback, and the note that its call is over."""

    callback: Publication
    note: str
    row: bytes
    done: Callable[[], None]


class Outbox:
    """One batch at a time."""

    def __init__(self, context: Context, nursery: trio.Nursery) -> None:
        self._context = context
        self._nursery = nursery
        self._waiting: list[Pair] = []
        self._busy = False

    def note_of(self, identity: str, seq: int) -> str:
        """The subject of a note: a call that was requeued has another message, and so another note."""
        return f"{self._context.names.root}.ended.{identity}.{seq}"

    async def find(self, identity: str, seq: int) -> rows.Row | None:
        """The row of a call that is over although its message is still there.

        Raises:
            QueueUnavailable: the broker is away.
        """
        found = await self._context.api.last(self._context.names.calls, self.note_of(identity, seq))
        try:
            return None if found is None else rows.decode_row(found.data)
        except msgspec.DecodeError:
            return None

    def add(self, pair: Pair) -> None:
        """Write both; `pair.done` is called when they are safe."""
        self._waiting.append(pair)
        if not self._busy:
            self._send()

    def _send(self) -> None:
        self._busy = True
        pairs, self._waiting = self._waiting[:MOST], self._waiting[MOST:]
        messages = list(_messages(pairs))

        def done(answer: Answer) -> None:
            if isinstance(answer, QueueUnavailable):
                self._nursery.start_soon(self._recover, pairs, answer)
            else:
                self._finish(pairs)

        try:
            for subject, data, headers in messages[:-1]:
                self._context.client.publish(subject, data, headers=headers)
        except NatsError as error:
            self._nursery.start_soon(self._recover, pairs, QueueUnavailable(str(error)))
            return
        subject, data, headers = messages[-1]
        self._context.publisher.send(subject, data, headers, done, within=PATIENCE, stubborn=False, once=True)

    def _finish(self, pairs: list[Pair]) -> None:
        self._busy = False
        for pair in pairs:
            pair.done()
        if self._waiting and not self._busy:
            self._send()

    async def _recover(self, pairs: list[Pair], why: QueueUnavailable) -> None:
        """The batch may have been written or not: look, and write again what is not there."""
        log.warning("callbacks wait: %s", why)
        while True:
            await trio.sleep(0.2)
            try:
                await self._context.client.wait_connected()
                there = [await self._is_there(pair) for pair in pairs]
            except (QueueUnavailable, NatsError) as error:
                log.debug("callbacks still wait: %s", error)
            else:
                break
        self._waiting[:0] = [pair for pair, written in zip(pairs, there, strict=True) if not written]
        self._finish([pair for pair, written in zip(pairs, there, strict=True) if written])

    async def _is_there(self, pair: Pair) -> bool:
        return await self._context.api.last(self._context.names.calls, pair.note) is not None


def _messages(pairs: list[Pair]) -> list[tuple[str, bytes, dict[str, str]]]:
    """The batch: each callback and its note, numbered, the last one committing all."""
    batch = secrets.token_hex(8)
    found: list[tuple[str, bytes, dict[str, str]]] = []
    for pair in pairs:
        headers = {name: value for name, value in pair.callback.headers.items() if name != MSG_ID}
        found.append((pair.callback.subject, pair.callback.data, headers))
        note = {"Nats-Expected-Last-Subject-Sequence": "0", "Nats-TTL": f"{KEPT}s"}
        found.append((pair.note, pair.row, note))
    for number, (_, _, headers) in enumerate(found, 1):
        headers.update({"Nats-Batch-Id": batch, "Nats-Batch-Sequence": str(number)})
    found[-1][2]["Nats-Batch-Commit"] = "1"
    return found

"""What this daemon runs, on record: so that the death of the daemon counts the attempts that it cut short.

One row a daemon holds all its running attempts, and whoever starts one waits until it was written: everything that
starts at once is one write. What ended stays in the row until the next write; the call's own row tells that it ended.
"""

from __future__ import annotations

from typing import Final

import msgspec
import trio

from faasd_py_jetstream import rows
from faasd_py_jetstream.context import Context
from faasd_py_jetstream.entry import Entry
from faasd_py_jetstream.names import bucket
from faasd_py_jetstream.publisher import Answer, Promise

FRESH: Final = 1.0
"""Seconds for which the other daemons' rows are taken as known."""


class JournalKeeper:
    """`node` names this life of this daemon."""

    def __init__(self, context: Context, node: str) -> None:
        self._context = context
        self._subject = context.names.running(node)
        self._ttl = {"Nats-TTL": f"{max(60, int(context.settings.failure_retention))}s"}
        self._running: dict[int, int] = {}
        self._waiting: list[Promise] = []
        self._writing = False
        self._others: dict[int, int] = {}
        self._read_at = -1e9
        self._reading = trio.Lock()

    async def start(self, entry: Entry) -> None:
        """Return when the entry's attempt is on record.

        Raises:
            QueueUnavailable: it cannot be recorded now.
        """
        self._running[entry.seq] = entry.attempts
        promise = Promise()
        self._waiting.append(promise)
        if not self._writing:
            self._write()
        await promise.wait()

    def ended(self, entry: Entry) -> None:
        """It runs no more."""
        self._running.pop(entry.seq, None)

    def _write(self) -> None:
        self._writing = True
        promises, self._waiting = self._waiting, []
        data = rows.encode(rows.Journal(self._context.created, self._running))

        def done(answer: Answer) -> None:
            self._writing = False
            if self._waiting:
                self._write()
            for promise in promises:
                promise.keep(answer)

        within = self._context.options.put_timeout
        self._context.publisher.send(self._subject, data, self._ttl, done, within=within, stubborn=False)

    async def close(self) -> None:
        """Take the row away if nothing runs.

        Raises:
            QueueUnavailable: the broker is away.
        """
        if not self._running:
            await self._context.api.purge(bucket(self._context.names.state), self._subject)

    async def begun(self, seq: int, *, fresh: bool = False) -> int:
        """The attempt that another daemon, or an earlier life of this one, began on this message; 0: none.

        Raises:
            QueueUnavailable: the broker is away.
        """
        return (await self.others(fresh=fresh)).get(seq, 0)

    async def others(self, *, fresh: bool = False) -> dict[int, int]:
        """All attempts that other daemons, or earlier lives of this one, began and did not write off.

        Raises:
            QueueUnavailable: the broker is away.
        """
        async with self._reading:
            if fresh or trio.current_time() - self._read_at > FRESH:
                self._others = await self._read()
                self._read_at = trio.current_time()
        return self._others

    async def _read(self) -> dict[int, int]:
        found: dict[int, int] = {}
        names = self._context.names
        stream = bucket(names.state)
        subjects = await self._context.api.subjects(stream, names.running("*"))
        for subject in subjects:
            if subject == self._subject:
                continue
            message = await self._context.api.last(stream, subject)
            if message is None:
                continue
            try:
                journal = rows.decode_journal(message.data)
            except msgspec.DecodeError:
                continue
            if journal.stream == self._context.created:
                for seq, attempt in journal.running.items():
                    found[seq] = max(attempt, found.get(seq, 0))
        return found

"""Reading what the broker keeps of calls that are not in our hands."""

from __future__ import annotations

import msgspec

from faasd_py.api import Call, Record, State
from faasd_py_jetstream import rows
from faasd_py_jetstream.api import Stored
from faasd_py_jetstream.context import Context
from faasd_py_jetstream.identity import key_of
from faasd_py_jetstream.journal import JournalKeeper
from faasd_py_jetstream.names import bucket, caller, identity_of, is_id, token


class Waiting(msgspec.Struct, frozen=True):
    """A call that waits in the stream, in no hands of ours."""

    id: str
    call: Call
    seq: int
    subject: str
    later: bool
    stored: str


class StoredCalls:
    """Every method raises QueueUnavailable when the broker is away."""

    def __init__(self, context: Context, journal: JournalKeeper) -> None:
        self._context = context
        self._journal = journal
        self._names = context.names
        self._api = context.api

    # single messages

    async def finished(self, identity: str) -> rows.Row | None:
        """The row of a finished call."""
        stream = bucket(self._names.results)
        return _row(await self._api.last(stream, self._names.results_row(f"*.*.*.{identity}")))

    async def tried(self, identity: str) -> rows.Row | None:
        """The row of a waiting call that was tried before."""
        return _row(await self._api.last(bucket(self._names.state), self._names.state_row(identity)))

    async def waiting(self, identity: str) -> Waiting | None:
        """The call, if it waits."""
        message = await self._api.last(self._names.calls, f"{self._names.root}.*.*.*.*.{identity}")
        if message is None:
            return None
        try:
            call = rows.decode_call(message.data)
        except msgspec.DecodeError:
            return None
        later = message.subject.startswith(f"{self._names.root}.later.")
        return Waiting(
            identity, call, message.seq, message.subject, later, message.headers.get(rows.BODY, "")
        )

    async def buried(self, identity: str) -> Stored | None:
        """The dead letter."""
        return await self._api.last(self._names.dead, f"{self._names.root}.dead.*.*.*.{identity}")

    # records

    async def record(self, identity: str) -> Record | None:
        """How a call stands."""
        row = await self.finished(identity)
        if row is not None:
            return row.record
        waiting = await self.waiting(identity)
        if waiting is not None:
            return await self._standing(waiting)
        letter = await self.buried(identity)
        if letter is None or rows.ROW not in letter.headers:
            return None
        return rows.read_row_header(letter.headers[rows.ROW])

    async def _standing(self, waiting: Waiting) -> Record:
        row = await self.tried(waiting.id)
        call, now = waiting.call, self._context.clock()
        begun = await self._journal.begun(waiting.seq, fresh=True)
        attempts = max(begun, row.record.attempts if row else 0)
        due = row.record.due_at if row else None
        if waiting.later or (due is None and call.not_before is not None):
            due = call.not_before
        if begun > (row.record.attempts if row else 0):
            state = State.LEASED
        else:
            state = State.DELAYED if due is not None and due > now else State.READY
        base = row.record if row else _fresh_record(waiting)
        return msgspec.structs.replace(
            base, state=state, attempts=attempts, due_at=due if state is State.DELAYED else None
        )

    async def ids_of(self, call_id: str) -> list[str]:
        """The calls that have this X-Call-Id, newest first."""
        mark = caller(call_id)
        found = await self._ids(f"*.*.{mark}.*", waiting=True, ended=True)
        return sorted(found, reverse=True)

    async def ids(self, lane: str | None, state: State | None) -> list[str]:
        """The calls of a lane that may be in a state, newest first; None: any."""
        pattern = f"{token(lane) if lane else '*'}.*.*.*"
        if state is State.LEASED:
            found = await self._leased_elsewhere()
        elif state is State.DEAD:
            found = await self._among(self._names.dead, f"{self._names.root}.dead.{pattern}")
        elif state is State.DELAYED:
            found = await self._among(self._names.calls, f"{self._names.root}.later.{pattern}")
            found |= await self._among(bucket(self._names.state), self._names.state_row("*"))
        else:
            waiting = state in {None, State.READY}
            found = await self._ids(pattern, waiting=waiting, ended=state is not State.READY)
        return sorted(found, reverse=True)

    async def _leased_elsewhere(self) -> set[str]:
        found = set()
        for seq in await self._journal.others(fresh=True):
            message = await self._api.at(self._names.calls, seq)
            if message is not None:
                found.add(identity_of(message.subject))
        return found

    async def _among(self, stream: str, subject: str) -> set[str]:
        return {name for name in map(identity_of, await self._api.subjects(stream, subject)) if is_id(name)}

    async def _ids(self, pattern: str, *, waiting: bool, ended: bool) -> set[str]:
        places = []
        if waiting:
            places.append((self._names.calls, f"{self._names.root}.*.{pattern}"))
        if ended:
            places.append((bucket(self._names.results), self._names.results_row(pattern)))
            places.append((self._names.dead, f"{self._names.root}.dead.{pattern}"))
        found: set[str] = set()
        for stream, subject in places:
            found |= await self._among(stream, subject)
        return found


def _row(message: Stored | None) -> rows.Row | None:
    if message is None:
        return None
    try:
        return rows.decode_row(message.data)
    except msgspec.DecodeError:
        return None


def _fresh_record(waiting: Waiting) -> Record:
    call = waiting.call
    size = call.size
    if waiting.stored:
        size += rows.read_stored(waiting.stored).size
    return Record(
        id=waiting.id, call_id=call.call_id or waiting.id, lane=call.lane, state=State.READY, attempts=0,
        accepted_at=call.accepted_at or (key_of(waiting.id) >> 15) / 1000, expires_at=call.expires_at,
        priority=call.priority, size=size, callback_url=call.callback_url,
    )  # fmt: skip

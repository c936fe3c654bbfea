"""Looking at single calls and moving them by hand: find, cancel, requeue, forget, and the same for many."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import msgspec

from faasd_py.api import Call, Filter, Outcome, Record, State
from faasd_py_jetstream import rows
from faasd_py_jetstream.bodies import Bodies
from faasd_py_jetstream.context import Context
from faasd_py_jetstream.entry import Entry, Phase
from faasd_py_jetstream.figures import Figures
from faasd_py_jetstream.lanes import Lanes
from faasd_py_jetstream.names import bucket, is_id, place
from faasd_py_jetstream.settle import Settler
from faasd_py_jetstream.stored_calls import StoredCalls
from faasd_py_natsclient import Message, NatsError

LOUDEST: Final = (State.LEASED, State.READY, State.DELAYED, State.DEAD)
WAITS: Final = frozenset({State.READY, State.LEASED, State.DELAYED})
HERE: Final = frozenset({Phase.AT_HAND, Phase.COMING})
HELD: Final = frozenset({Phase.HELD, Phase.STARTED})


class Inspection:
    """For all methods see `faasd_py.api.Queue`; they raise QueueUnavailable when the broker is away."""

    def __init__(
        self, context: Context, lanes: Lanes, settler: Settler, stored_calls: StoredCalls, bodies: Bodies, figures: Figures,
        entries: dict[str, Entry],
    ) -> None:  # fmt: skip
        self._context = context
        self._names = context.names
        self._api = context.api
        self._lanes = lanes
        self._settler = settler
        self._stored_calls = stored_calls
        self._bodies = bodies
        self._figures = figures
        self._entries = entries
        context.client.subscribe(context.names.control, self._told)

    # reading

    async def find(self, call: str) -> Record | None:
        """The record of the newest that is meant."""
        return next(iter(await self._meant(call, 1)), None)

    async def _meant(self, call: str, limit: int = 1000) -> list[Record]:
        """The calls that a text means, newest first: one by its own id, else all with this X-Call-Id."""
        if is_id(call) and (record := await self._record(call)) is not None:
            return [record]
        mine = {entry.id for entry in self._entries.values() if entry.call.call_id == call}
        found: list[Record] = []
        for identity in sorted(mine.union(await self._stored_calls.ids_of(call)), reverse=True):
            record = await self._record(identity)
            if record is not None and record.call_id == call:
                found.append(record)
                if len(found) >= limit:
                    break
        return found

    async def _record(self, identity: str) -> Record | None:
        entry = self._entries.get(identity)
        return entry.record() if entry is not None else await self._stored_calls.record(identity)

    async def records(self, which: Filter, limit: int, *, skip: State | None = None) -> list[Record]:
        """Newest first, without those in the state `skip`."""
        mine = {entry.id for entry in self._entries.values()}
        ids = mine.union(await self._stored_calls.ids(which.lane, which.state))
        found: list[Record] = []
        for identity in sorted(ids, reverse=True):
            if len(found) >= limit:
                break
            if which.before is not None and identity >= which.before:
                continue
            record = await self._record(identity)
            if record is not None and record.state is not skip and _matches(record, which):
                found.append(record)
        return found

    async def request(self, call: str) -> Call | None:
        """The call as it was put."""
        record = await self.find(call)
        if record is None:
            return None
        entry = self._entries.get(record.id)
        if entry is not None and entry.phase is not Phase.COMING:
            return entry.call
        waiting = await self._stored_calls.waiting(record.id)
        if waiting is not None:
            return await self._whole(record.id, waiting.call, waiting.stored)
        letter = await self._stored_calls.buried(record.id)
        if letter is not None:
            return await self._whole(
                record.id, rows.decode_call(letter.data), letter.headers.get(rows.BODY, "")
            )
        return None

    async def _whole(self, identity: str, call: Call, stored: str) -> Call:
        """With its large body, in a file that is removed when the queue opens the next time."""
        if not stored:
            return call
        return msgspec.structs.replace(
            call, body=await self._bodies.fetch(identity, rows.read_stored(stored))
        )

    async def result(self, call: str) -> Outcome | None:
        """The last outcome."""
        record = await self.find(call)
        if record is None:
            return None
        entry = self._entries.get(record.id)
        if entry is not None:
            return entry.outcome
        row = await self._stored_calls.finished(record.id) or await self._stored_calls.tried(record.id)
        return None if row is None else row.outcome

    # moving one

    async def cancel(self, call: str) -> State | None:
        """Cancel those of the meant ones that wait; if none does, the newest dead letter."""
        await self._settler.flush()
        meant = await self._meant(call)
        waiting = [record for record in meant if record.state in WAITS]
        dead = [record for record in meant if record.state is State.DEAD]
        found = [await self._cancel(record.id, record) for record in waiting or dead[:1] or meant[:1]]
        await self._settler.flush()
        return next((state for state in LOUDEST if state in found), found[0] if found else None)

    async def _cancel(self, identity: str, record: Record) -> State:
        entry = self._entries.get(identity)
        if entry is not None and entry.phase in HERE:
            self._withdraw(entry)
            self._settler.cancelled(entry)
        elif entry is None and record.state is State.DEAD:
            await self._write_cancelled(record)
            await self._remove_letter(identity, record)
        elif entry is None and record.state in {State.READY, State.DELAYED}:
            await self._write_cancelled(record)
            await self._remove_waiting(identity, record)
        return record.state

    def _withdraw(self, entry: Entry) -> None:
        """Out of those at hand."""
        if entry.phase is Phase.AT_HAND:
            entry.lane.withdraw(entry)
        entry.lane.ready -= entry.lane.ready > 0
        self._figures.take(entry.size)

    async def _write_cancelled(self, record: Record) -> None:
        now = self._context.clock()
        ended = msgspec.structs.replace(
            record, state=State.CANCELLED, reason="cancelled", finished_at=now, due_at=None
        )
        ttl = {"Nats-TTL": f"{max(1, int(self._context.settings.result_retention))}s"}
        await self._publish(self._row_subject(record), rows.encode(rows.Row(ended)), ttl)

    def _row_subject(self, record: Record) -> str:
        return self._names.results_row(self._place(record))

    @staticmethod
    def _place(record: Record) -> str:
        given = None if record.call_id == record.id else record.call_id
        return place(record.lane, record.priority, given, record.id)

    async def _publish(self, subject: str, data: bytes, headers: dict[str, str]) -> None:
        within = self._context.options.put_timeout
        await self._context.publisher.publish(subject, data, headers, within=within)

    async def _remove_waiting(self, identity: str, record: Record) -> None:
        """Out of the stream, whether it is due or not; another daemon that has it at hand lets it go."""
        waiting = await self._stored_calls.waiting(identity)
        await self._api.purge(self._names.calls, f"{self._names.root}.*.{self._place(record)}")
        self._tell(identity)
        self._settler.drop_row(identity)
        lane = self._lanes.get(record.lane)
        if record.state is State.DELAYED:
            lane.delayed -= lane.delayed > 0
        else:
            lane.ready -= lane.ready > 0
        self._figures.take(record.size)
        if waiting is not None:
            self._bodies.remove(identity, waiting.stored)
            for source in lane.sources.values():
                source.pasts.pop(waiting.seq, None)

    async def _remove_letter(self, identity: str, record: Record) -> None:
        letter = await self._stored_calls.buried(identity)
        if letter is not None:
            await self._api.delete(self._names.dead, letter.seq)
            self._bodies.remove(identity, letter.headers.get(rows.BODY, ""))
        lane = self._lanes.get(record.lane)
        lane.dead -= lane.dead > 0
        self._figures.moved()

    def _tell(self, identity: str) -> None:
        try:
            self._context.client.publish(self._names.control, identity.encode())
        except NatsError:
            return

    def _told(self, message: Message) -> None:
        """Another daemon (or this one) took a waiting call away."""
        entry = self._entries.get(message.data.decode("latin-1"))
        if entry is not None and entry.phase in HERE:
            self._withdraw(entry)
            self._settler.removed(entry)

    async def requeue(self, call: str) -> State | None:
        """Make the newest that is meant READY, if it is DEAD."""
        await self._settler.flush()
        record = await self.find(call)
        if record is not None and record.state is State.DEAD:
            await self._requeue(record.id, record)
        return None if record is None else record.state

    async def _requeue(self, identity: str, record: Record) -> bool:
        """The row of its end goes first: a message whose row says that it is over is not run."""
        letter = await self._stored_calls.buried(identity)
        if letter is None:
            return False
        await self._api.purge(bucket(self._names.results), self._row_subject(record))
        await self._lanes.usable(record.lane, record.priority)
        headers = {"Nats-Msg-Id": f"{identity}-again-{letter.seq}"}
        if rows.BODY in letter.headers:
            headers[rows.BODY] = letter.headers[rows.BODY]
        await self._publish(f"{self._names.root}.call.{self._place(record)}", letter.data, headers)
        await self._api.delete(self._names.dead, letter.seq)
        lane = self._lanes.get(record.lane)
        lane.dead -= lane.dead > 0
        lane.ready += 1
        self._figures.add(record.size)
        return True

    async def forget(self, call: str) -> State | None:
        """Remove the newest that is meant, unless it is LEASED."""
        await self._settler.flush()
        record = await self.find(call)
        if record is not None:
            await self._forget(record.id, record)
        return None if record is None else record.state

    async def _forget(self, identity: str, record: Record) -> bool:
        entry = self._entries.get(identity)
        if entry is not None and entry.phase in HELD:
            return False
        if entry is not None and entry.phase in HERE:
            self._withdraw(entry)
            self._settler.removed(entry)
            return True
        if entry is not None:
            await self._settler.flush()
        if record.state is State.LEASED:
            return False
        if record.state in {State.READY, State.DELAYED}:
            await self._remove_waiting(identity, record)
            return True
        if record.state is State.DEAD:
            await self._remove_letter(identity, record)
        await self._api.purge(bucket(self._names.results), self._row_subject(record))
        return True

    # moving many

    async def requeue_all(self, which: Filter, limit: int) -> int:
        """DEAD ones that match."""
        if which.state not in {None, State.DEAD}:
            return 0
        return await self._each(msgspec.structs.replace(which, state=State.DEAD), limit, self._requeue)

    async def purge(self, which: Filter, limit: int) -> int:
        """Those that match and are not LEASED."""
        return await self._each(which, limit, self._forget)

    async def _each(self, which: Filter, limit: int, act: Callable[[str, Record], Awaitable[bool]]) -> int:
        await self._settler.flush()
        done = 0
        for record in await self.records(which, limit, skip=State.LEASED):
            done += await act(record.id, record)
        await self._settler.flush()
        return done


def _matches(record: Record, which: Filter) -> bool:
    return which.state in {None, record.state} and which.lane in {None, record.lane}

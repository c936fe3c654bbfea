"""What a spoke's operations do to the hub's queue."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import msgspec
import trio

from faasd_py.api import (
    BadOption,
    Call,
    Filter,
    IdempotencyConflict,
    IllegalMove,
    Move,
    Outcome,
    Queue,
    QueueError,
    QueueFull,
    Spool,
    Spooled,
    State,
    Verdict,
    start_many,
)
from faasd_py_nng import wire
from faasd_py_nng.session import Held, Session, Slot, close_upload
from faasd_py_nng.wire import (
    CHUNK,
    Answer,
    Ask,
    Credit,
    Done,
    Failed,
    Flush,
    Malformed,
    Op,
    Put,
    Return,
    Settle,
    Start,
    Taken,
    Value,
)

LOOK_BACK: Final = 5000
"""Calls that are looked through for one that may have been put before."""
RECALL: Final = 1.0
"""Seconds that spokes have to hand back what is only at hand."""
IMMEDIATE: Final = (Settle, Return, Credit)
"""What is done in the order it was said in, before the next frame begins: none of them waits for the disk."""
MOST_ANSWERS: Final = 65_536
"""Of one spoke, kept until it says that it has them."""
QUESTIONS: Final = frozenset(
    {"find", "records", "request", "result", "cancel", "requeue", "forget", "requeue_all", "purge"}
)
REFUSALS: Final = (QueueFull, IdempotencyConflict, BadOption, IllegalMove, QueueError)
"""What travels back as an answer."""
EXACT: Final = frozenset({"find", "records", "cancel", "requeue", "forget", "purge"})
"""Questions to which a call that only lies ready at a spoke is READY."""


class Operations:
    """`noticed` is told of lanes that got calls, `credited` of what spokes are ready to take."""

    def __init__(
        self,
        queue: Queue,
        spool: Spool,
        *,
        noticed: Callable[[str], None],
        credited: Callable[[Session, Credit], None],
        sessions: Callable[[], Sequence[Session]],
    ) -> None:
        self._queue = queue
        self._spool = spool
        self._noticed = noticed
        self._credited = credited
        self._sessions = sessions
        self._asking = trio.Lock()
        self.paused = False
        self.resumed = trio.Event()

    async def frame(self, session: Session, frame: wire.Frame) -> list[Answer] | None:
        """Do what a frame says; None when its connection is over, and it will come again.

        Raises:
            Malformed: before anything was done.
        """
        for op in frame.ops:
            _check(op)
        if frame.ordered and not all(isinstance(op, Put) for op in frame.ops):
            raise Malformed("an order for what has none")
        if len(session.answers) > MOST_ANSWERS:
            raise Malformed("a spoke that never says which answers it has")
        turns = session.turns
        if frame.number and not await turns.wait(frame.number):
            return None
        try:
            fresh, slots = _enter(session, frame.ops)
            for op, slot in fresh:
                if isinstance(op, IMMEDIATE):
                    await self._do(session, op, slot)
        finally:
            if frame.number:
                turns.pass_on()
        await self._do_all(
            session, [pair for pair in fresh if not isinstance(pair[0], IMMEDIATE)], frame.ordered
        )
        for slot in slots:
            if slot.answer is None:
                await slot.wait()
        session.forget_answers(frame.floor)
        return [slot.answer for slot in slots if slot.answer is not None]

    async def _do_all(self, session: Session, pairs: list[tuple[Op, Slot]], ordered: bool) -> None:
        if ordered:
            await self._in_order(session, pairs)
            return
        starts = [(op, slot) for op, slot in pairs if isinstance(op, Start)]
        others = [pair for pair in pairs if not isinstance(pair[0], Start)]
        if not others:
            await self._start_many(session, starts)
        elif len(pairs) == 1:
            await self._do(session, *others[0])
        else:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._start_many, session, starts)
                for op, slot in others:
                    nursery.start_soon(self._do, session, op, slot)

    async def _in_order(self, session: Session, pairs: list[tuple[Op, Slot]]) -> None:
        """Each begins a turn of the loop after the one before, and none after one that was refused."""
        refused = False

        async def begin(place: int, nursery: trio.Nursery) -> None:
            nonlocal refused
            if place + 1 < len(pairs):
                nursery.start_soon(begin, place + 1, nursery)
            op, slot = pairs[place]
            if refused:
                _answer(slot, Failed(op.op, "QueueUnavailable", "one before it was refused"))
                return
            await self._do(session, op, slot)
            refused = refused or (
                isinstance(slot.answer, Failed) and slot.answer.kind in {"QueueFull", "QueueUnavailable"}
            )

        if pairs:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(begin, 0, nursery)

    async def _do(self, session: Session, op: Op, slot: Slot) -> None:
        work = HANDLERS[type(op)]
        try:
            _answer(slot, await work(self, session, op, slot))
        except REFUSALS as error:
            _answer(slot, _failed(op.op, error))
        except BaseException:
            slot.end()
            raise

    # -- the life cycle

    async def _put(self, session: Session, op: Put, _: Slot) -> Answer:
        call = op.call
        if op.upload:
            body = await self._uploaded(session, op.upload, op.file)
            if body is None:
                return Failed(op.op, "upload", "the body is not here")
            call = msgspec.structs.replace(call, body=body)
        try:
            known = await self._known(call) if op.again else None
            if known is None:
                accepted = await self._queue.put(call)
                known = Taken(op.op, accepted.id, accepted.call_id, accepted.duplicate)
                if not accepted.duplicate:
                    self._noticed(call.lane)
                    return known
            return msgspec.structs.replace(known, op=op.op)
        finally:
            await self._clear(call)

    async def _clear(self, call: Call) -> None:
        """A file that the queue has not taken over is nobody's."""
        if isinstance(call.body, Spooled):
            await self._spool.remove(call.body)

    async def _known(self, call: Call) -> Taken | None:
        """The receipt of a call that was put in a session that is lost: the same in all that a record tells.

        `accepted_at` is the spoke's clock to the microsecond, so two calls hardly ever share it with everything else.
        """
        before, seen = None, 0
        while call.accepted_at and self._queue.capabilities.inspect and seen < LOOK_BACK:
            page = await self._queue.records(Filter(lane=call.lane, before=before), 250)
            for record in page:
                same = record.accepted_at == call.accepted_at and record.size == call.size
                if (
                    same
                    and record.call_id == (call.call_id or record.id)
                    and record.callback_url == call.callback_url
                ):
                    return Taken(0, record.id, record.call_id, False)
            if len(page) < 250:
                break
            before, seen = page[-1].id, seen + len(page)
        return None

    async def _uploaded(self, session: Session, number: int, file: bool) -> Spooled | bytes | None:
        upload = session.uploads.pop(number, None)
        if upload is None:
            return None
        await close_upload(upload)
        if upload.body is None or file:
            return upload.body
        body = await trio.to_thread.run_sync(Path(upload.body.path).read_bytes)
        await self._spool.remove(upload.body)
        return body

    async def _start_many(self, session: Session, pairs: Sequence[tuple[Start, Slot]]) -> None:
        """All in one go: a task for each would cost more than the starts do."""
        starting = trio.Event()
        begun: list[tuple[Start, Slot, Held]] = []
        try:
            for op, slot in pairs:
                held = session.held.get(op.lease)
                if held is None:
                    _answer(slot, Failed(op.op, "lost", "the lease is held no longer"))
                elif held.started or held.is_starting():
                    _answer(slot, Failed(op.op, "IllegalMove", "cannot start a call that is started already"))
                else:
                    held.starting = starting
                    begun.append((op, slot, held))
            leases = [held.lease for _, _, held in begun]
            errors = await start_many(self._queue, leases) if leases else []
            for (op, slot, held), error in zip(begun, errors, strict=True):
                held.started = error is None
                _answer(slot, Done(op.op) if error is None else _failed(op.op, error))
        finally:
            starting.set()
            for _, slot in pairs:
                slot.end()

    async def _settle(self, session: Session, op: Settle, _: Slot) -> Answer:
        held = session.take_out(op.lease)
        if held is None:
            return Failed(op.op, "lost", "the lease is held no longer")
        outcome, callback = op.outcome, op.callback
        if outcome is not None and op.outcome_upload:
            body = await self._uploaded(session, op.outcome_upload, file=False)
            outcome = msgspec.structs.replace(outcome, body=body or b"", complete=body is not None)
        if callback is not None and op.callback_upload:
            found = await self._uploaded(session, op.callback_upload, op.callback_file)
            callback = msgspec.structs.replace(callback, body=b"" if found is None else found)
        await self.end(held, Verdict(move=op.move, reason=op.reason, wait=op.wait), outcome, callback)
        if callback is not None:
            self._noticed(callback.lane)
        if op.move is Move.RELEASE:
            self._noticed(held.lease.call.lane)
        return Done(op.op)

    async def end(
        self, held: Held, verdict: Verdict, outcome: Outcome | None = None, callback: Call | None = None
    ) -> None:
        """Settle a lease, after a start that is under way. No turn of the loop when there is none."""
        if held.starting is not None and held.is_starting():
            await held.starting.wait()
        await self._queue.settle(held.lease, verdict, outcome, callback)

    async def _return(self, session: Session, op: Return, _: Slot) -> Answer:
        for number in op.leases:
            held = session.held.get(number)
            if held is not None and not held.started and held.starting is None:
                session.take_out(number)
                await self.end(held, Verdict(move=Move.RELEASE))
                self._noticed(held.lease.call.lane)
        if op.recall > session.recalled:
            session.recalled = op.recall
            session.notify()
        return Done(op.op)

    async def _credit(self, session: Session, op: Credit, _: Slot) -> Answer:
        self._credited(session, op)
        return Done(op.op)

    async def _flush(self, _session: Session, op: Flush, _slot: Slot) -> Answer:
        await self._queue.flush()
        return Done(op.op)

    # -- inspection

    async def _ask(self, _: Session, op: Ask, slot: Slot) -> Answer:
        if op.what in EXACT:
            async with self._recalled():
                answer = await self._asked(op)
        else:
            answer = await self._asked(op)
        data = wire.encode(answer)
        if len(data) > CHUNK:
            slot.document = data
            return Value(op.op, b"", len(data))
        return Value(op.op, data)

    async def _asked(self, op: Ask) -> Any:
        method = getattr(self._queue, op.what)
        if op.what in {"records", "requeue_all", "purge"}:
            state = None if op.state is None else State(op.state)
            return await method(Filter(lane=op.lane, state=state, before=op.before), limit=op.limit)
        return await method(op.call)

    @asynccontextmanager
    async def _recalled(self) -> AsyncIterator[None]:
        """What only lies ready at spokes is back in the queue meanwhile."""
        async with self._asking:
            self.paused = True
            try:
                with trio.move_on_after(RECALL):
                    for session in self._sessions():
                        await _recall(session)
                yield
            finally:
                self.paused = False
                resumed, self.resumed = self.resumed, trio.Event()
                resumed.set()


HANDLERS: Final[Mapping[type, Callable[[Operations, Session, Any, Slot], Awaitable[Answer]]]] = (
    MappingProxyType(
        {
            Put: Operations._put,  # noqa: SLF001 - the table of its own methods
            Settle: Operations._settle,  # noqa: SLF001
            Return: Operations._return,  # noqa: SLF001
            Credit: Operations._credit,  # noqa: SLF001
            Flush: Operations._flush,  # noqa: SLF001
            Ask: Operations._ask,  # noqa: SLF001
        }
    )
)


async def _recall(session: Session) -> None:
    if session.pipe is None or not session.has_unstarted():
        return
    session.recall += 1
    wanted = session.recall
    session.notify()
    while session.recalled < wanted and session.pipe is not None and not session.ended:
        await session.changed.park()


def _enter(session: Session, ops: list[Op]) -> tuple[list[tuple[Op, Slot]], list[Slot]]:
    """Those that are new, and the slots of all: what was done already is not done again."""
    fresh, slots = [], []
    for op in ops:
        slot = session.answers.get(op.op)
        if slot is None:
            slot = session.answers[op.op] = Slot()
            fresh.append((op, slot))
        slots.append(slot)
    return fresh, slots


def _answer(slot: Slot, answer: Answer) -> None:
    slot.answer = answer
    slot.end()


def _check(op: Op) -> None:
    if isinstance(op, Put):
        wire.check_call(op.call)
    elif isinstance(op, Settle):
        if not 0 <= op.wait <= wire.FAR:
            raise Malformed("a wait that is no time")
        if op.outcome is not None:
            wire.check_outcome(op.outcome)
        if op.callback is not None:
            wire.check_call(op.callback)
    elif isinstance(op, Ask) and (op.what not in QUESTIONS or (op.state or 0) not in list(State)):
        raise Malformed(f"nobody can ask for {op.what!r}")


def _failed(number: int, error: Exception) -> Failed:
    kind = next((kind.__name__ for kind in REFUSALS if isinstance(error, kind)), "QueueUnavailable")
    kind = "QueueUnavailable" if kind == "QueueError" else kind
    after = getattr(error, "retry_after", None)
    return Failed(number, kind, str(error)[:500], after or (5.0 if isinstance(error, QueueError) else 0.0))

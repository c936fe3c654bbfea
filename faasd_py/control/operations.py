"""What an operator asks of the queue, and why it is refused when it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeVar

import msgspec

from faasd_py.callback.build import call_id_of, is_callback
from faasd_py.control.daemon import Running
from faasd_py.control.query import MAX_LIMIT, Selection
from faasd_py.control.refused import Refused
from faasd_py.control.views import Done
from faasd_py.core.call import Call
from faasd_py.core.lifecycle import State
from faasd_py.core.outcome import Outcome
from faasd_py.observe.events import Events
from faasd_py.queue.contract import Queue, Record
from faasd_py.queue.telling import tell_cancelled, tell_requeued

SCAN: Final = 5 * MAX_LIMIT
"""The calls that are looked at for one page, where the queue cannot select them."""
_Found = TypeVar("_Found")
_ABILITIES: Final = {
    "inspect": "this queue cannot show its calls",
    "cancel": "this queue cannot cancel calls",
    "dead_letters": "this queue cannot requeue dead letters",
    "results": "this queue keeps no results",
}


class Page(msgspec.Struct, frozen=True):
    """Records, newest first; `next` is the `before` of the page after it, None on the last one."""

    records: Sequence[Record]
    next: str | None


async def listing(queue: Queue, asked: Selection) -> Page:
    """A page of records. One of a whole namespace may be short, and even empty, where there is a next one."""
    _needs(queue, "inspect")
    if asked.namespace is not None:
        return await _listing_of_namespace(queue, asked, f".{asked.namespace}")
    records = await queue.records(asked.which, asked.limit)
    return Page(records, records[-1].id if len(records) == asked.limit else None)


async def _listing_of_namespace(queue: Queue, asked: Selection, suffix: str) -> Page:
    """Queues select by lane or not at all: look at no more than SCAN calls for one page."""
    found: list[Record] = []
    which = asked.which
    for _ in range(SCAN // MAX_LIMIT):
        records = await queue.records(which, MAX_LIMIT)
        for record in records:
            if record.lane.endswith(suffix) and not is_callback(record.lane):
                found.append(record)
                if len(found) == asked.limit:
                    return Page(found, record.id)
        if len(records) < MAX_LIMIT:
            return Page(found, None)
        which = msgspec.structs.replace(which, before=records[-1].id)
    return Page(found, which.before)


async def find(queue: Queue, call: str) -> Record:
    """The record of a call."""
    _needs(queue, "inspect")
    record = await queue.find(call)
    return _known(record, call)


async def callback_of(queue: Queue, record: Record) -> Record | None:
    """The newest callback of a call that has come so far."""
    if record.state not in {State.DONE, State.DEAD}:
        return None
    found = await queue.find(call_id_of(record.id))
    return found if found is not None and is_callback(found.lane) else None


async def request(queue: Queue, call: str) -> Call:
    """The call as it was put."""
    _needs(queue, "inspect")
    await find(queue, call)
    if (put := await queue.request(call)) is None:
        raise Refused(404, f"the request of call {call[:80]} is no longer kept")
    return put


async def result(queue: Queue, call: str) -> Outcome:
    """The last answer of a call."""
    _needs(queue, "results")
    if (outcome := await queue.result(call)) is not None:
        return outcome
    if queue.capabilities.inspect:
        record = await find(queue, call)
        raise Refused(404, f"no answer of call {call[:80]} is kept (it is {_word(record.state)})")
    raise Refused(404, f"no answer of call {call[:80]} is kept")


async def cancel(queue: Queue, workers: Running, events: Events, call: str) -> Done:
    """Cancel a call: from the queue, or from the worker that has it."""
    _needs(queue, "cancel")
    state = _known(await queue.cancel(call), call)
    if state in {State.DONE, State.CANCELLED}:
        raise Refused(409, f"call {call[:80]} is {_word(state)} already")
    if state is State.LEASED and not workers.cancel(call):
        raise Refused(409, f"call {call[:80]} is finishing just now")
    if state is not State.LEASED:
        await tell_cancelled(events, queue, call)
    return Done(id=call, state="cancelled")


async def requeue(queue: Queue, events: Events, call: str) -> Done:
    """Give a dead call another life."""
    _needs(queue, "dead_letters")
    state = _known(await queue.requeue(call), call)
    if state is not State.DEAD:
        raise Refused(409, f"call {call[:80]} is {_word(state)}: only dead calls can be requeued")
    await tell_requeued(events, queue, call)
    return Done(id=call, state="ready")


async def forget(queue: Queue, events: Events, call: str) -> Done:
    """Remove a call that is not running, with its result."""
    _needs(queue, "inspect")
    if not hasattr(queue, "forget"):
        raise Refused(501, "this queue cannot remove single calls")
    if _known(await queue.forget(call), call) is State.LEASED:
        raise Refused(409, f"call {call[:80]} is running: cancel it first")
    events.emit("calls.purged", function=None, state=None, count=1)
    return Done(id=call, state="gone")


async def requeue_all(queue: Queue, events: Events, asked: Selection) -> int:
    """Requeue dead calls that match; how many."""
    _needs(queue, "dead_letters")
    _one_function(asked)
    count = await queue.requeue_all(asked.which, asked.limit)
    events.emit("calls.requeued", function=asked.which.lane, count=count)
    return count


async def purge(queue: Queue, events: Events, asked: Selection) -> int:
    """Remove calls that match; how many. A filter must say which, for whatever waits would be lost too."""
    _needs(queue, "inspect")
    _one_function(asked)
    if asked.which.state is None and asked.which.lane is None:
        raise Refused(400, "state: say which calls are to be purged, by state or by function")
    if asked.which.state is State.LEASED:
        raise Refused(400, "state: calls that run cannot be purged: cancel them first")
    count = await queue.purge(asked.which, asked.limit)
    state = None if asked.which.state is None else asked.which.state.name.lower()
    events.emit("calls.purged", function=asked.which.lane, state=state, count=count)
    return count


def _one_function(asked: Selection) -> None:
    if asked.namespace is not None:
        raise Refused(400, "namespace: name the function, too")


def _needs(queue: Queue, ability: str) -> None:
    if not getattr(queue.capabilities, ability):
        raise Refused(501, _ABILITIES[ability])


def _known(found: _Found | None, call: str) -> _Found:
    if found is None:
        raise Refused(404, f"call {call[:80]} not found")
    return found


def _word(state: State) -> str:
    return {State.LEASED: "running", State.READY: "waiting"}.get(state, state.name.lower())

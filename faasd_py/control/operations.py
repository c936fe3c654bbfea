"""What an operator asks of the queue, and why it is refused when it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeVar

from faasd_py.control.daemon import Function, Running
from faasd_py.control.query import Selection
from faasd_py.control.refused import Refused
from faasd_py.control.views import Done, FunctionView
from faasd_py.core.call import Call
from faasd_py.core.lifecycle import State
from faasd_py.core.outcome import Outcome
from faasd_py.queue.contract import Queue, Record

_Found = TypeVar("_Found")
_ABILITIES: Final = {
    "inspect": "this queue cannot show its calls",
    "cancel": "this queue cannot cancel calls",
    "dead_letters": "this queue keeps no dead letters",
    "results": "this queue keeps no results",
}


async def listing(queue: Queue, asked: Selection) -> Sequence[Record]:
    """A page of records, newest first."""
    _needs(queue, "inspect")
    return await queue.records(asked.which, asked.limit)


async def find(queue: Queue, call: str) -> Record:
    """The record of a call."""
    _needs(queue, "inspect")
    record = await queue.find(call)
    return _known(record, call)


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


async def cancel(queue: Queue, workers: Running, call: str) -> Done:
    """Cancel a call: from the queue, or from the worker that has it."""
    _needs(queue, "cancel")
    state = _known(await queue.cancel(call), call)
    if state in {State.DONE, State.CANCELLED}:
        raise Refused(409, f"call {call[:80]} is {_word(state)} already")
    if state is State.LEASED and not workers.cancel(call):
        raise Refused(409, f"call {call[:80]} is finishing just now")
    return Done(id=call, state="cancelled")


async def requeue(queue: Queue, call: str) -> Done:
    """Give a dead call another life."""
    _needs(queue, "dead_letters")
    state = _known(await queue.requeue(call), call)
    if state is not State.DEAD:
        raise Refused(409, f"call {call[:80]} is {_word(state)}: only dead calls can be requeued")
    return Done(id=call, state="ready")


async def forget(queue: Queue, call: str) -> Done:
    """Remove a call that is not running, with its result."""
    _needs(queue, "inspect")
    if not hasattr(queue, "forget"):
        raise Refused(501, "this queue cannot remove single calls")
    if _known(await queue.forget(call), call) is State.LEASED:
        raise Refused(409, f"call {call[:80]} is running: cancel it first")
    return Done(id=call, state="gone")


async def requeue_all(queue: Queue, asked: Selection) -> int:
    """Requeue dead calls that match; how many."""
    _needs(queue, "dead_letters")
    return await queue.requeue_all(asked.which, asked.limit)


async def purge(queue: Queue, asked: Selection) -> int:
    """Remove calls that match; how many. A filter must say which, for whatever waits would be lost too."""
    _needs(queue, "inspect")
    if asked.which.state is None and asked.which.lane is None:
        raise Refused(400, "state: say which calls are to be purged, by state or by function")
    if asked.which.state is State.LEASED:
        raise Refused(400, "state: calls that run cannot be purged: cancel them first")
    return await queue.purge(asked.which, asked.limit)


def function_view(function: Function) -> FunctionView:
    """A function as it is listed."""
    settings, replicas = function.settings, function.runtime.replicas()
    meter = function.meter
    return FunctionView(
        name=function.name,
        namespace=function.namespace,
        image=settings.image or "",
        mode=function.mode,
        inflight=meter.inflight,
        replicas=replicas.wanted,
        availableReplicas=replicas.available,
        invocationCount=meter.started,
        labels=settings.labels,
        annotations=settings.annotations,
        trouble=function.trouble,
    )


def _needs(queue: Queue, ability: str) -> None:
    if not getattr(queue.capabilities, ability):
        raise Refused(501, _ABILITIES[ability])


def _known(found: _Found | None, call: str) -> _Found:
    if found is None:
        raise Refused(404, f"call {call[:80]} not found")
    return found


def _word(state: State) -> str:
    return {State.LEASED: "running", State.READY: "waiting"}.get(state, state.name.lower())

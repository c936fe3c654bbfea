"""A queue that fails when it is told to, and functions that do as they are told; all on the virtual clock."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import trio
from trio.testing import wait_all_tasks_blocked

from faasd_py.config import CallbackSettings, FunctionSettings, QueueSettings, WorkerSettings
from faasd_py.core.call import Call, Lease
from faasd_py.core.lifecycle import Move, State, after
from faasd_py.core.outcome import Outcome, Verdict
from faasd_py.core.retry import RetryPolicy
from faasd_py.observe.events import Events
from faasd_py.observe.meter import Meter
from faasd_py.observe.metrics import Metrics
from faasd_py.queue.spool import Spool
from faasd_py.runtime.contract import Invocation, Reply
from faasd_py.worker.workers import Workers

Behaviour = Callable[[Invocation, Reply], Awaitable[None]]


class Entry:
    """One call in the fake's books."""

    def __init__(self, key: int, call: Call) -> None:
        self.key = key
        self.id = f"Q{key}"
        self.call = call
        self.state = State.READY
        self.attempts = 0
        self.due = float(key) * 1e-9
        self.started = False
        self.crashed = False
        self.verdicts: list[Verdict] = []
        self.outcomes: list[Outcome | None] = []

    @property
    def end(self) -> tuple[State, str]:
        return self.state, self.verdicts[-1].reason

    def __repr__(self) -> str:
        return f"<{self.id} {self.state.name} {self.attempts}>"


class FakeQueue:
    """The part of queue.contract.Queue that workers use. `broken_starts` and `broken_settles` count failures to come."""

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}
        self.served: set[str] = set()
        self.broken: list[BaseException] = []
        """Raised by the next starts, one each."""
        self.broken_settles: list[BaseException] = []
        self.broken_waits: list[BaseException] = []
        self.broken_flushes: list[BaseException] = []
        self.flushes = 0
        self.waits = 0
        self.leave_count = 0
        self._keys = itertools.count(1)
        self._changed = trio.Event()

    # what tests do

    def put_nowait(self, call: Call) -> Entry:
        entry = Entry(next(self._keys), call)
        self.entries[entry.id] = entry
        self.notify()
        return entry

    def notify(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    async def until(self, condition: Callable[[], Any]) -> None:
        """Wait until the books say so."""
        while not condition():
            await self._changed.wait()

    async def ended(self, *entries: Entry) -> None:
        """Wait until these calls have come to their end, and the workers have noted it."""
        await self.until(
            lambda: all(one.state in {State.DONE, State.DEAD, State.CANCELLED} for one in entries)
        )
        await wait_all_tasks_blocked()

    def by_lane(self, prefix: str) -> list[Entry]:
        return [one for one in self.entries.values() if one.call.lane.startswith(prefix)]

    # the contract

    def _ready(self, lane: str) -> list[Entry]:
        ready = [one for one in self.by_lane(lane) if one.state is State.READY]
        return sorted(ready, key=lambda one: (-one.call.priority, one.due, one.key))

    async def next_lane(self) -> str:
        while True:
            for one in self.entries.values():
                if one.state is State.READY and one.call.lane not in self.served:
                    self.served.add(one.call.lane)
                    return one.call.lane
            await self._changed.wait()

    def leave(self, lane: str) -> None:
        self.served.remove(lane)
        self.leave_count += 1
        self.notify()

    async def wait_ready(self, lane: str) -> None:
        self.waits += 1
        if self.broken_waits:
            raise self.broken_waits.pop(0)
        while not self._ready(lane):
            await self._changed.wait()

    def lease_nowait(self, lane: str) -> Lease | None:
        ready = self._ready(lane)
        if not ready:
            return None
        entry = ready[0]
        entry.state = after(entry.state, Move.LEASE)
        entry.started = False
        return Lease(
            key=entry.key, id=entry.id, call=entry.call, attempt=entry.attempts + 1, crashed=entry.crashed
        )

    async def start(self, lease: Lease) -> None:
        await trio.lowlevel.checkpoint()
        if self.broken:
            raise self.broken.pop(0)
        entry = self.entries[lease.id]
        entry.started = True
        entry.attempts = lease.attempt

    async def settle(
        self, lease: Lease, verdict: Verdict, outcome: Outcome | None = None, callback: Call | None = None
    ) -> None:
        if self.broken_settles:
            raise self.broken_settles.pop(0)
        entry = self.entries[lease.id]
        entry.state = after(entry.state, verdict.move)
        entry.verdicts.append(verdict)
        entry.outcomes.append(outcome)
        entry.crashed = False
        if callback is not None:
            self.put_nowait(callback)
        if entry.state is State.DELAYED:
            entry.due = trio.current_time() + verdict.wait
            trio.lowlevel.spawn_system_task(self._wake_at, entry)
        self.notify()

    async def flush(self) -> None:
        await trio.lowlevel.checkpoint()
        self.flushes += 1
        if self.broken_flushes:
            raise self.broken_flushes.pop(0)

    async def _wake_at(self, entry: Entry) -> None:
        await trio.sleep_until(entry.due)
        if entry.state is State.DELAYED:
            entry.state = State.READY
            self.notify()


class FakeRuntime:
    """Runs a behaviour, and remembers what it was asked."""

    def __init__(self, behaviour: Behaviour) -> None:
        self.behaviour = behaviour
        self.seen: list[Invocation] = []
        self.now = 0
        self.most = 0
        self.cancelled = 0

    async def invoke(self, invocation: Invocation, reply: Reply) -> None:
        self.seen.append(invocation)
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await self.behaviour(invocation, reply)
        except trio.Cancelled:
            self.cancelled += 1
            raise
        finally:
            self.now -= 1


class FakeFunction:
    """What the registry gives: settings, a runtime, a meter."""

    def __init__(self, label: str, behaviour: Behaviour, settings: FunctionSettings) -> None:
        self.label = label
        self.settings = settings
        self.runtime = FakeRuntime(behaviour)
        self.meter = Meter(label)
        self.timeout_answer = (504, b"Content-Length: 8\r\nX-OpenFaaS-Internal: proxy\r\n", b"too slow")


class FakeRegistry:
    """Functions by label."""

    namespace = "openfaas-fn"

    def __init__(self) -> None:
        self.functions: dict[str, FakeFunction] = {}

    def add(self, behaviour: Behaviour, name: str = "f", **settings: Any) -> FakeFunction:
        label = f"{name}.openfaas-fn"
        function = FakeFunction(label, behaviour, FunctionSettings(command=["x"], **settings))
        self.functions[label] = function
        return function

    def lane(self, label: str) -> FakeFunction | None:
        return self.functions.get(label)


class FakeMessenger:
    """Answers deliveries as told, and remembers them."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, Call]] = []
        self.answer: Callable[[Call], Awaitable[Outcome]] = delivered
        self.tidied = 0
        self.closed = 0

    async def deliver(self, call: Call, id: str) -> Outcome:  # noqa: A002 - Delivers' shape
        self.sent.append((id, call))
        return await self.answer(call)

    def tidy(self) -> None:
        self.tidied += 1

    def close(self) -> None:
        self.closed += 1


async def delivered(_: Call) -> Outcome:
    await trio.lowlevel.checkpoint()
    return Outcome(status=204)


def answers(*statuses: int, headers: bytes = b"", body: bytes = b"ok") -> Behaviour:
    """Answer with these statuses in turn; the last one for good."""
    left = list(statuses)

    async def behave(_: Invocation, reply: Reply) -> None:
        await trio.lowlevel.checkpoint()
        status = left.pop(0) if len(left) > 1 else left[0]
        await reply.answer(status, headers + b"Content-Length: %d\r\n" % len(body), body)

    return behave


def takes(seconds: float, then: Behaviour | None = None) -> Behaviour:
    """Work so long, then answer."""

    async def behave(invocation: Invocation, reply: Reply) -> None:
        await trio.sleep(seconds)
        await (then or answers(200))(invocation, reply)

    return behave


QUICK = RetryPolicy(attempts=3)


def wall() -> float:
    """The wall clock of these tests: the virtual one, in 2027."""
    return 1_800_000_000 + trio.current_time()


class Shop:
    """Workers with everything around them."""

    def __init__(self, spool: Spool | None = None, queue: Any = None, **settings: Any) -> None:
        self.queue = queue or FakeQueue()
        self.registry = FakeRegistry()
        self.messenger = FakeMessenger()
        self.metrics = Metrics()
        self.events = Events()
        self.told: list[dict[str, Any]] = []
        self.events.subscribe(lambda event: self.told.append(dict(event)), "test")
        self.callback_settings = CallbackSettings(**settings.pop("callback", {}))
        self.workers = Workers(
            self.queue,
            registry=self.registry,
            messenger=self.messenger,
            spool=spool,
            metrics=self.metrics,
            events=self.events,
            settings=WorkerSettings(**settings.pop("workers", {})),
            queue_settings=QueueSettings(**settings.pop("limits", {})),
            callback_settings=self.callback_settings,
            clock=settings.pop("clock", wall),
            roll=lambda: 0.5,
            **settings,
        )

    def put(self, name: str = "f", **fields: Any) -> Entry:
        fields.setdefault("body", b"in")
        return self.queue.put_nowait(Call(lane=f"{name}.openfaas-fn", **fields))


def changed(struct: msgspec.Struct, **fields: Any) -> Any:
    return msgspec.structs.replace(struct, **fields)

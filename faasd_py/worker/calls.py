"""The calls of one function: run by its runtime, judged by its policy, and told about by a callback when they end."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Protocol

import msgspec
import trio

from faasd_py.callback.build import Finished, build
from faasd_py.config import QueueSettings, WorkerSettings
from faasd_py.core import names
from faasd_py.core.call import Body, Call, Lease, Spooled
from faasd_py.core.errors import BadOption, FunctionError
from faasd_py.core.lifecycle import Move
from faasd_py.core.outcome import DONE, Outcome, Verdict
from faasd_py.core.retry import RetryPolicy
from faasd_py.http import fields
from faasd_py.observe.events import Events
from faasd_py.observe.metrics import Metrics
from faasd_py.queue.contract import Queue
from faasd_py.queue.spool import Spool
from faasd_py.runtime.contract import Invocation
from faasd_py.worker import verdict as verdicts
from faasd_py.worker.collector import Collector, end_to_end
from faasd_py.worker.run import TIMEOUT, Run
from faasd_py.worker.watch import Watch

if TYPE_CHECKING:
    from faasd_py.runtime.function import Function

log: Final = logging.getLogger("faasd_py.worker")
NO_FUNCTION: Final = RetryPolicy()
"""How often a call waits for a function that is not there (any more, or yet)."""
TEXT: Final = b"Content-Type: text/plain; charset=utf-8\r\n"
CUT_STATUS: Final = 499
"""What meters count for an attempt that we stopped ourselves."""


class Functions(Protocol):
    """Where functions are found (`runtime.registry.Registry` is one)."""

    @property
    def namespace(self) -> str:
        """The one that callers need not name."""
        ...

    def lane(self, label: str) -> Function | None:
        """By `NAME.NAMESPACE`."""
        ...


class CallContext(msgspec.Struct, kw_only=True):
    """What the lanes of all functions share; settings are replaced in place when they change."""

    queue: Queue
    registry: Functions
    spool: Spool
    metrics: Metrics
    events: Events
    settings: WorkerSettings
    queue_settings: QueueSettings
    watch: Watch
    clock: Callable[[], float] = time.time
    roll: Callable[[], float] = random.random
    max_answer: int = 1 << 30
    """Bytes of the largest answer that is kept for a callback."""


class Calls:
    """A `Work`: the calls of the function that `label` names."""

    def __init__(self, label: str, context: CallContext) -> None:
        self.label = label
        self._context = context
        name, namespace = names.split(label)
        self._caller_name = name if namespace == context.registry.namespace else label

    @property
    def _function(self) -> Function | None:
        return self._context.registry.lane(self.label)

    @property
    def ordered(self) -> bool:
        """See Work."""
        function = self._function
        return function is not None and function.settings.ordered

    def limit(self) -> int:
        """See Work: 1 when ordered, the function's own max_inflight when it has one, else the house's."""
        context = self._context
        function = context.registry.lane(self.label)
        if function is None:
            return context.settings.function_max_inflight
        settings = function.settings
        return 1 if settings.ordered else settings.max_inflight or context.settings.function_max_inflight

    def policy(self) -> RetryPolicy:
        """The function's retry policy in force."""
        function = self._function
        return NO_FUNCTION if function is None else function.settings.retry

    def forbid(self, lease: Lease, now: float) -> Verdict | None:
        """See Work."""
        return verdicts.forbid(self.policy(), lease, now)

    def judge(self, run: Run, outcome: Outcome, now: float) -> Verdict:
        """See Work."""
        if outcome.status < 400:
            return DONE
        lease = run.lease
        return verdicts.judge(self.policy(), lease.call, lease.attempt, outcome, now, self._context.roll())

    async def attempt(self, run: Run) -> Outcome:
        """See Work: a function that is not there answers 404, and is tried again."""
        function = run.function = self._function
        run.begun = trio.current_time()
        if function is None:
            await trio.lowlevel.checkpoint()
            return _platform(run, 404, f"function {self.label} is not there", "proxy")
        reply = run.reply = self._collector(run.lease.call)
        self._set_deadline(run, function)
        if self._context.events.heard:
            self._tell_start(run)
        function.meter.begin()
        outcome: Outcome | None = None
        run.invoking = True
        try:
            await function.runtime.invoke(self._invocation(run), reply)
            outcome = _answer(run, reply)
        except FunctionError as error:
            outcome = _platform(run, error.status, str(error), "proxy")
        except Exception:
            log.exception("the runtime of %s failed on call %s", self.label, run.lease.id)
            outcome = _platform(run, 500, "the runtime failed", "runtime")
        finally:
            run.invoking = False
            if outcome is None:
                await self._cut(run, function, reply)
        function.meter.finish(outcome.status, outcome.duration)
        return outcome

    def _collector(self, call: Call) -> Collector:
        context = self._context
        wanted = call.callback_url is not None or call.failure_url is not None
        return Collector(
            context.queue_settings.max_result, context.spool if wanted else None, context.max_answer
        )

    def _set_deadline(self, run: Run, function: Function) -> None:
        limit = function.settings.exec_timeout
        timeout = run.lease.call.timeout or limit
        if timeout:
            run.deadline = run.begun + min(timeout, limit or timeout)
            self._context.watch.arm(run.deadline)

    async def _cut(self, run: Run, function: Function, reply: Collector) -> None:
        """The attempt was cancelled: count it, and drop what has come of its answer."""
        status = function.timeout_answer[0] if run.cut is TIMEOUT else CUT_STATUS
        function.meter.finish(status, trio.current_time() - run.begun)
        await reply.close()

    def _invocation(self, run: Run) -> Invocation:
        lease, call = run.lease, run.lease.call
        body = call.body
        spooled = isinstance(body, Spooled)
        length = body.size if isinstance(body, Spooled) else len(body)
        call_id = lease.call_id
        lines = b"%sContent-Length: %d\r\nX-Call-Id: %s\r\nX-Start-Time: %d\r\n" % (
            call.headers, length, call_id.encode("latin-1"), int(run.started_at * 1e9),
        )  # fmt: skip
        return Invocation(
            call.method,
            call.target,
            call.host,
            lines,
            None if spooled else body,  # type: ignore[arg-type]
            length,
            self._context.spool.reader(body) if isinstance(body, Spooled) else None,
            call_id,
        )

    def without_answer(self, run: Run, verdict: Verdict | None) -> Outcome:
        """See Work: the function's own way of saying that it was too slow, or why the call was buried."""
        if verdict is not None:
            outcome = _platform(run, verdicts.STATUSES[verdict.reason], "", "queue")
            return msgspec.structs.replace(outcome, started_at=self._context.clock(), duration=0.0)
        assert run.function is not None  # noqa: S101 - whoever has a deadline has a function
        status, headers, body = run.function.timeout_answer
        return Outcome(
            status=status,
            headers=end_to_end(headers),
            body=body,
            size=len(body),
            internal="proxy",
            started_at=run.started_at,
            duration=trio.current_time() - run.begun,
        )

    async def settle(self, run: Run, verdict: Verdict, outcome: Outcome | None) -> None:
        """See Work."""
        context, callback = self._context, None
        if outcome is not None and verdict.move in _ENDS and _url(run.lease.call, verdict, outcome):
            callback = await self._callback(run, verdict, outcome)
        elif run.reply is not None and run.reply.spooling:
            await run.reply.close()
        try:
            await context.queue.settle(run.lease, verdict, outcome, callback)
            if callback is not None:
                context.metrics.flow.put(callback.lane)
        except BaseException:
            if callback is not None and isinstance(callback.body, Spooled):
                await context.spool.remove(callback.body)
            raise
        self._count(run, verdict, outcome)

    async def _callback(self, run: Run, verdict: Verdict, outcome: Outcome) -> Call | None:
        lease = run.lease
        whole: Body | None = outcome.body
        if run.reply is not None and run.reply.spooling:
            whole = await run.reply.commit()
        reason = verdict.reason if verdict.move is Move.BURY else ""
        if whole is None or (not outcome.complete and isinstance(whole, bytes)):
            reason, whole = reason or "answer-too-large", b""
        finished = Finished(
            id=lease.id,
            call_id=lease.call_id,
            function=self._caller_name,
            outcome=outcome,
            body=whole,
            retries=max(0, lease.attempt - (1 if run.started_at else 2)),
            max_retries=max(0, verdicts.attempts(self.policy(), lease.call) - 1),
            reason=reason,
        )
        url = _url(lease.call, verdict, outcome)
        try:
            return build(url, finished, now=self._context.clock())
        except BadOption as error:
            log.error("call %s ends without its callback: %s", lease.id, error)  # noqa: TRY400 - one sentence
            if isinstance(whole, Spooled):
                await self._context.spool.remove(whole)
            return None

    def _count(self, run: Run, verdict: Verdict, outcome: Outcome | None) -> None:
        context, lease = self._context, run.lease
        if outcome is not None and run.started_at:
            context.metrics.attempts(self.label, outcome.status)
        if verdict.move not in _GOES_ON:
            context.metrics.flow.over(self.label)
        if verdict.move is Move.BURY:
            context.metrics.dead(self.label, verdict.reason)
            log.warning("call %s of %s is dead: %s", lease.id, self.label, verdict.reason)
        if context.events.heard:
            context.events.emit(
                _WORDS[verdict.move],
                id=lease.id,
                call_id=lease.call_id,
                function=self.label,
                attempt=lease.attempt,
                status=None if outcome is None else outcome.status,
                duration=None if outcome is None else outcome.duration,
                reason=verdict.reason,
            )

    def _tell_start(self, run: Run) -> None:
        lease = run.lease
        self._context.events.emit(
            "call.started", id=lease.id, call_id=lease.call_id, function=self.label, attempt=lease.attempt
        )


_WORDS: Final = {
    Move.DONE: "call.done",
    Move.RETRY: "call.retry",
    Move.BURY: "call.dead",
    Move.RELEASE: "call.released",
    Move.CANCEL: "call.cancelled",
}
_GOES_ON: Final = frozenset({Move.RETRY, Move.RELEASE})
_ENDS: Final = frozenset({Move.DONE, Move.BURY})


def _url(call: Call, verdict: Verdict, outcome: Outcome) -> str:
    """Where the end of a call is to be told; empty: nowhere. Failed is who is dead, or whose answer is 400 or more."""
    if call.failure_url and (verdict.move is Move.BURY or outcome.status >= 400):
        return call.failure_url
    return call.callback_url or ""


def _answer(run: Run, reply: Collector) -> Outcome:
    """The function's own answer; errors of a platform inside the function say so in a field (wire contract §1.5)."""
    if not reply.ended:
        return _platform(run, 502, "the function broke off its answer", "proxy")
    internal = None
    if reply.status >= 400:
        value = fields.get(reply.headers, b"x-openfaas-internal")
        internal = None if value is None else value.decode("latin-1")
    return Outcome(
        status=reply.status,
        headers=end_to_end(reply.headers),
        body=reply.body,
        size=reply.size,
        complete=reply.complete,
        internal=internal,
        started_at=run.started_at,
        duration=trio.current_time() - run.begun,
    )


def _platform(run: Run, status: int, reason: str, internal: str) -> Outcome:
    """An answer in the function's place."""
    body = f"{reason}\n".encode() if reason else b""
    headers = TEXT + b"X-OpenFaaS-Internal: " + internal.encode("ascii") + b"\r\n"
    return Outcome(
        status=status,
        headers=headers,
        body=body,
        size=len(body),
        internal=internal,
        started_at=run.started_at,
        duration=trio.current_time() - run.begun,
    )

"""Publishing with a confirmation: many in flight, each tried again until the stream has it or nobody waits any more."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Final

import msgspec
import trio

from faasd_py.api import QueueUnavailable
from faasd_py_jetstream.api import ApiError, Fault
from faasd_py_natsclient import BufferFull, Client, Disconnected, Message, PayloadTooLarge

RESEND: Final = 2.0
"""Seconds without a confirmation after which a publish is tried again."""
SOON: Final = 0.2
NEVER: Final = 1e300
TICK: Final = 0.1
TRANSIENT: Final = frozenset({10008, 10023, 10064, 10076, 10158})
"""JetStream's numbers for: not now."""


class PubAck(msgspec.Struct, frozen=True):
    """The stream has it, under this number; `duplicate`: it had it before."""

    stream: str = ""
    seq: int = 0
    duplicate: bool = False
    error: Fault | None = None


Answer = PubAck | QueueUnavailable
Done = Callable[[Answer], None]
_decode: Final = msgspec.json.Decoder(PubAck).decode


class Promise:
    """One task's place to wait for one answer. Given up without trace: who answers need not know."""

    __slots__ = ("_task", "answer")

    def __init__(self) -> None:
        self.answer: Answer | None = None
        self._task: trio.lowlevel.Task | None = None

    def keep(self, answer: Answer) -> None:
        """The answer is here."""
        self.answer = answer
        if self._task is not None:
            trio.lowlevel.reschedule(self._task)
            self._task = None

    def _abort(self, _: trio.lowlevel.RaiseCancelT) -> trio.lowlevel.Abort:
        self._task = None
        return trio.lowlevel.Abort.SUCCEEDED

    async def wait(self) -> PubAck:
        """The confirmation.

        Raises:
            QueueUnavailable: it did not come in time; ApiError: it was refused.
        """
        if self.answer is None:
            self._task = trio.lowlevel.current_task()
            await trio.lowlevel.wait_task_rescheduled(self._abort)
        answer = self.answer
        assert answer is not None  # noqa: S101 - only `keep` wakes
        if isinstance(answer, QueueUnavailable):
            raise answer
        return answer


class Pending(msgspec.Struct, eq=False):
    """One publish that is not confirmed. `until`: None for as long as it takes; then refusals are tried again too."""

    subject: str
    data: bytes
    headers: Mapping[str, str] | None
    done: Done
    until: float | None
    again: float
    stubborn: bool


class Publisher:
    """One client's publishes. Times are trio's clock's."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._inbox = client.new_inbox() + "."
        self._cut = len(self._inbox)
        self._tokens = itertools.count()
        self.pending: dict[str, Pending] = {}
        self._busy = trio.Event()
        self.trouble: str | None = None
        client.subscribe(f"{self._inbox}*", self._answered)
        client.on_reconnected.append(self._resend_all)

    def send(
        self,
        subject: str,
        data: bytes,
        headers: Mapping[str, str] | None,
        done: Done,
        *,
        within: float | None = None,
        stubborn: bool = True,
        once: bool = False,
    ) -> None:
        """Publish; `done` is told once. Not `stubborn`: a refusal is an answer. `once`: it is not tried again.

        `done` runs in the reading task and must not wait.
        """
        now = trio.current_time()
        token = str(next(self._tokens))
        until = None if within is None else now + within
        self.pending[token] = one = Pending(
            subject, data, headers, done, until, NEVER if once else now + RESEND, stubborn
        )
        if not self._busy.is_set():
            self._busy.set()
        self._publish(token, one)

    async def publish(
        self, subject: str, data: bytes, headers: Mapping[str, str] | None = None, *, within: float
    ) -> PubAck:
        """Publish and wait for the confirmation.

        Raises:
            QueueUnavailable: it did not come; the stream may have it all the same. ApiError: it was refused.
        """
        promise = Promise()
        self.send(subject, data, headers, promise.keep, within=within, stubborn=False)
        return await promise.wait()

    async def room(self) -> None:
        """Until the connection takes more."""
        if self._client.outbox.full and self._client.connected:
            await self._client.wait_room()

    def _publish(self, token: str, one: Pending) -> None:
        """Put it on the wire; without a connection, or room, `_sweep` or a new connection does it."""
        if not self._client.connected:
            return
        try:
            self._client.publish(one.subject, one.data, reply=self._inbox + token, headers=one.headers)
        except (Disconnected, BufferFull):
            self._soon(one)
        except PayloadTooLarge as error:
            self._end(token, QueueUnavailable(f"NATS takes no message of this size: {error}"))

    @staticmethod
    def _soon(one: Pending, wait: float = SOON) -> None:
        """Try it again, if that is wanted."""
        if one.again != NEVER:
            one.again = trio.current_time() + wait

    def _end(self, token: str, answer: Answer) -> None:
        one = self.pending.pop(token, None)
        if one is not None:
            one.done(answer)

    def _answered(self, message: Message) -> None:
        token = message.subject[self._cut :]
        one = self.pending.get(token)
        if one is None:
            return
        if message.status is not None:
            self._soon(one)
            self.trouble = "no JetStream stream takes messages now"
            return
        try:
            answer = _decode(message.data)
        except msgspec.DecodeError:
            self._soon(one)
            return
        if answer.error is None:
            self.trouble = None
            self._end(token, answer)
        else:
            self._refused(token, one, answer.error)

    def _refused(self, token: str, one: Pending, fault: Fault) -> None:
        if one.again != NEVER and (one.stubborn or fault.err_code in TRANSIENT):
            self.trouble = f"JetStream takes no messages: {fault.description}"
            self._soon(one, 1.0 if one.stubborn else SOON)
        else:
            self._end(token, ApiError(one.subject, fault))

    def _resend_all(self) -> None:
        now = trio.current_time()
        for token, one in list(self.pending.items()):
            if one.again == NEVER:
                self._end(token, QueueUnavailable("the connection was lost"))
            else:
                one.again = now + RESEND
                self._publish(token, one)

    async def run(self) -> None:
        """Look after what is not confirmed, until cancelled."""
        while True:
            await self._busy.wait()
            await trio.sleep(TICK)
            self._sweep(trio.current_time())
            if not self.pending:
                self._busy = trio.Event()

    def _sweep(self, now: float) -> None:
        for token, one in list(self.pending.items()):
            if one.until is not None and now >= one.until:
                reason = self.reason()
                if self._client.connected:
                    self.trouble = reason
                self._end(token, QueueUnavailable(reason))
            elif now >= one.again:
                one.again = now + RESEND
                self._publish(token, one)

    def reason(self) -> str:
        """Why a confirmation did not come."""
        if not self._client.connected:
            return "there is no connection to a NATS server"
        return self.trouble or "JetStream did not confirm in time"

    def fail_all(self) -> None:
        """The end: whoever waits is told."""
        for token in list(self.pending):
            self._end(token, QueueUnavailable("the queue is closing"))

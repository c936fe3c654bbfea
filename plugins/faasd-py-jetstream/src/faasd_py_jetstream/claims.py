"""Idempotency keys, across all daemons: a key is claimed first, then its call is put, then the claim is made sure.

Whoever finds a claim that is not sure puts the claim's call itself, under the claim's id: the stream knows a call it
has, so it is put once, and a daemon that died between claim and put loses nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec

from faasd_py.api import Accepted, Call, IdempotencyConflict, QueueUnavailable
from faasd_py_jetstream import rows
from faasd_py_jetstream.api import WRONG_SEQUENCE, ApiError, Stored
from faasd_py_jetstream.context import Context
from faasd_py_jetstream.names import bucket
from faasd_py_jetstream.publisher import Answer

Put = Callable[[Call, str], Awaitable[bool]]
"""Put a call under an id; whether it was not there before."""
EXPECTED = "Nats-Expected-Last-Subject-Sequence"
TRIES = 8


class Claims:
    """`put` puts a call under an id."""

    def __init__(self, context: Context, put: Put) -> None:
        self._context = context
        self._put = put

    async def accept(self, call: Call, identity: str) -> Accepted:
        """Put the call, or find the first that had its key.

        Raises:
            IdempotencyConflict: the key came with another fingerprint.
            QueueUnavailable: it cannot be told now.
        """
        subject = self._context.names.key(call.lane, call.idempotency_key or "")
        for _ in range(TRIES):
            found = await self._context.api.last(bucket(self._context.names.state), subject)
            claim = _read(found)
            if claim is not None and claim.until > self._context.clock():
                return await self._again(subject, call, claim, found)
            mine = self._new(call, identity)
            seq = await self._claim(subject, mine, 0 if found is None else found.seq)
            if seq is not None:
                await self._put(call, identity)
                self._make_sure(subject, mine, seq)
                return Accepted(id=identity, call_id=mine.call_id)
        raise QueueUnavailable("this Idempotency-Key is being used by too many at once")

    def _new(self, call: Call, identity: str) -> rows.Claim:
        until = self._context.clock() + self._context.settings.idempotency_window
        return rows.Claim(identity, call.call_id or identity, call.fingerprint, until)

    async def _claim(self, subject: str, claim: rows.Claim, last: int) -> int | None:
        """The claim's sequence; None: somebody was quicker."""
        headers = self._ttl() | {EXPECTED: str(last)}
        try:
            answer = await self._context.publisher.publish(
                subject, rows.encode(claim), headers, within=self._context.options.put_timeout
            )
        except ApiError as error:
            if error.fault.err_code != WRONG_SEQUENCE:
                raise
            return await self._mine(subject, claim)
        return answer.seq

    async def _mine(self, subject: str, claim: rows.Claim) -> int | None:
        """The claim that is there may be ours: written, and its confirmation lost."""
        found = await self._context.api.last(bucket(self._context.names.state), subject)
        there = _read(found)
        return found.seq if found is not None and there is not None and there.id == claim.id else None

    def _ttl(self) -> dict[str, str]:
        return {"Nats-TTL": f"{max(1, int(self._context.settings.idempotency_window) + 1)}s"}

    async def _again(self, subject: str, call: Call, claim: rows.Claim, found: Stored | None) -> Accepted:
        if claim.fingerprint != call.fingerprint:
            raise IdempotencyConflict("this Idempotency-Key was used with a different request")
        if not claim.sure and found is not None:
            first = msgspec.structs.replace(
                call, call_id=None if claim.call_id == claim.id else claim.call_id
            )
            await self._put(first, claim.id)
            self._make_sure(subject, claim, found.seq)
        return Accepted(id=claim.id, call_id=claim.call_id, duplicate=True)

    def _make_sure(self, subject: str, claim: rows.Claim, seq: int) -> None:
        """Nobody waits for it; a claim that has changed meanwhile is left alone."""
        sure = msgspec.structs.replace(claim, sure=True)
        headers = self._ttl() | {EXPECTED: str(seq)}

        def done(_: Answer) -> None:
            return

        self._context.publisher.send(subject, rows.encode(sure), headers, done, within=60, stubborn=False)


def _read(found: Stored | None) -> rows.Claim | None:
    if found is None:
        return None
    try:
        return rows.decode_claim(found.data)
    except msgspec.DecodeError:
        return None

"""An asynchronous call: checked, made a `Call`, kept by the queue; then 202."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Final

import msgspec

from faasd_py.callback.guard import check_url
from faasd_py.core.call import Body, Call, Spooled
from faasd_py.core.errors import (
    BadOption,
    BodyTooLarge,
    CallerError,
    FaasdError,
    QueueError,
    QueueUnavailable,
    TooManyRequests,
)
from faasd_py.gateway import answers, headers, options
from faasd_py.gateway.admission import Rates
from faasd_py.gateway.gate import Gate
from faasd_py.gateway.plan import Plan
from faasd_py.http.exchange import Exchange
from faasd_py.observe.events import Events
from faasd_py.observe.metrics import Metrics
from faasd_py.queue.contract import Accepted, Queue
from faasd_py.queue.spool import Spool
from faasd_py.runtime.contract import Source
from faasd_py.runtime.function import Function
from faasd_py.runtime.registry import Registry

SPOOL_ABOVE: Final = 256 * 1024


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What arrived, whoever brought it: a client through the door, or one of our own callbacks.

    `headers` are those that a call keeps (`headers.stored`).
    """

    target: bytes
    host: bytes
    headers: bytes
    fields: Mapping[bytes, bytes]
    body: bytes | None
    length: int | None
    source: Source | None


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """On what terms calls are accepted: replaced as a whole when the configuration is read again.

    `max_body` is in bytes; `own_names` are those that `callback.guard.own_names` makes.
    """

    max_body: int
    allow: Sequence[str]
    own_names: frozenset[str]


class Enqueue:
    """`POST /async-function/NAME…`. `terms` are those in force; `draining` refuses everything."""

    def __init__(
        self,
        registry: Registry,
        queue: Queue,
        spool: Spool,
        rates: Rates,
        metrics: Metrics,
        terms: Terms,
        events: Events | None = None,
        gate: Gate | None = None,
    ) -> None:
        self._registry = registry
        self._queue = queue
        self._spool = spool
        self._rates = rates
        self._metrics = metrics
        self._events = Events() if events is None else events
        self.terms = terms
        self._gate = gate or Gate()
        self.draining = False

    async def __call__(self, exchange: Exchange) -> None:
        """Accept the call for this exchange, or answer why not."""
        plan: Plan = exchange.plan
        name, start = plan.name, time.time_ns()
        try:
            function = self._registry.get(name)
            if function is None:
                await self._unknown(exchange, name)
                return
            asks = function.settings.auth
            if self._gate.functions if asks is None else asks:
                if not await self._gate.caller(exchange):
                    return
                kept = headers.stored(plan.anonymous())
            else:
                kept = _stored(plan)
            accepted = await self._accept(function, _request(exchange, plan, kept))
        except FaasdError as error:
            self._metrics.refused(type(error).__name__)
            await exchange.answer(*_refusal(error, name))
            return
        exchange.extra = headers.ACCEPTED % (accepted.call_id.encode("latin-1"), accepted.id.encode(), start)
        exchange.extra_names = headers.ACCEPTED_NAMES
        await exchange.answer(202, b"", b"")

    async def _unknown(self, exchange: Exchange, name: bytes) -> None:
        """Where all functions ask, strangers are not told which there are."""
        if not self._gate.functions or await self._gate.caller(exchange):
            raise UnknownFunction(name)

    async def accept(self, name: bytes, request: Request) -> Accepted:
        """Keep the call; when this returns it is safe.

        Raises:
            CallerError: the request was wrong, or too much.
            QueueError: the queue cannot take it now.
        """
        function = self._registry.get(name)
        if function is None:
            raise UnknownFunction(name)
        return await self._accept(function, request)

    async def _accept(self, function: Function, request: Request) -> Accepted:
        now = time.time()
        wanted = self._options(request, function, now)
        self._check_rate(function)
        limit = self.terms.max_body
        limit = min(limit, self._queue.capabilities.max_body or limit)
        if request.body is None or wanted.idempotency_key:
            body, digest = await self._body(request, limit, keyed=bool(wanted.idempotency_key))
        elif len(request.body) > limit:
            raise _too_large(limit)
        else:
            body, digest = request.body, b""
        try:
            accepted = await self._queue.put(_call(function, request, wanted, body, digest, now))
        except BaseException:
            await self._discard(body)
            raise
        if accepted.duplicate:
            await self._discard(body)
        else:
            self._metrics.accepted(function.label)
            if self._events.heard:
                self._events.emit(
                    "call.put", id=accepted.id, call_id=accepted.call_id, function=function.label
                )
        return accepted

    def _options(self, request: Request, function: Function, now: float) -> options.Options:
        if self.draining:
            raise QueueUnavailable("the gateway is stopping")
        wanted = options.read(request.fields, function.settings, now)
        if wanted is not options.NONE:
            options.check(wanted, self._queue.capabilities)
            self._check_url("X-Callback-Url", wanted.callback_url)
            self._check_url("X-Callback-Failure-Url", wanted.failure_url)
        return wanted

    def _check_url(self, header: str, url: str | None) -> None:
        if url is None:
            return
        try:
            check_url(url, self.terms.allow, self.terms.own_names)
        except BadOption as error:
            reason = str(error).removeprefix("callback URL: ")
            raise BadOption(f"{header}: {reason}") from None

    def _check_rate(self, function: Function) -> None:
        rate = function.settings.rate
        if rate is not None and (wait := self._rates.wait(function.label, rate, time.monotonic())):
            raise TooManyRequests("rate limit exceeded", retry_after=wait)

    async def _body(self, request: Request, limit: int, *, keyed: bool) -> tuple[Body, bytes]:
        """The whole body, in memory when small, and a digest of it and the target when a key asks for one."""
        if (request.length or 0) > limit or len(request.body or b"") > limit:
            raise _too_large(limit)
        digest = blake2b(request.target, digest_size=16) if keyed else None
        if request.body is not None:
            if digest:
                digest.update(b"\n" + request.body)
            return request.body, digest.digest() if digest else b""
        if digest:
            digest.update(b"\n")
        body = await self._read(_Limited(request.source, limit, digest))
        return body, digest.digest() if digest else b""

    async def _read(self, source: _Limited) -> Body:
        """The body of a source: in memory up to SPOOL_ABOVE, a spool file beyond."""
        pieces, size = [], 0
        while piece := await source.read():
            pieces.append(piece)
            size += len(piece)
            if size > SPOOL_ABOVE:
                break
        else:
            return b"".join(pieces)
        async with self._spool.writer() as writer:
            await writer.write(b"".join(pieces))
            pieces.clear()
            while piece := await source.read():
                await writer.write(piece)
            return await writer.commit()

    async def _discard(self, body: Body) -> None:
        if isinstance(body, Spooled):
            await self._spool.remove(body)


class UnknownFunction(CallerError):
    """No function of that name."""

    status = 404

    def __init__(self, name: bytes) -> None:
        super().__init__(f"function {name[:80].decode('latin-1')} not found")


def _too_large(limit: int) -> BodyTooLarge:
    return BodyTooLarge(f"the body is larger than {limit} bytes")


class _Limited:
    """A source that counts and digests, and ends in BodyTooLarge."""

    def __init__(self, source: Source | None, limit: int, digest: blake2b | None) -> None:
        self._source = source
        self._left = limit
        self._limit = limit
        self._digest = digest

    async def read(self) -> bytes:
        piece = await self._source.read() if self._source is not None else b""
        self._left -= len(piece)
        if self._left < 0:
            raise _too_large(self._limit)
        if self._digest is not None:
            self._digest.update(piece)
        return piece


def _request(exchange: Exchange, plan: Plan, kept: bytes) -> Request:
    return Request(
        target=plan.target,
        host=exchange.host,
        headers=kept,
        fields=exchange.fields,
        body=exchange.body,
        length=exchange.length,
        source=exchange,
    )


def _call(
    function: Function, request: Request, wanted: options.Options, body: Body, digest: bytes, now: float
) -> Call:
    call_id = request.fields.get(headers.CALL_ID)
    plain = Call(
        lane=function.label,
        target=request.target,
        host=request.host,
        headers=request.headers,
        body=body,
        call_id=None if call_id is None else call_id.decode("latin-1"),
        accepted_at=now,
        max_attempts=wanted.max_attempts or _only_one(function),
        on_crash=function.settings.retry.on_crash,
    )
    return plain if wanted is options.NONE else _with(plain, wanted, digest)


def _with(call: Call, wanted: options.Options, digest: bytes) -> Call:
    return msgspec.structs.replace(
        call,
        not_before=wanted.not_before,
        expires_at=wanted.expires_at,
        priority=wanted.priority,
        timeout=wanted.timeout,
        idempotency_key=wanted.idempotency_key,
        fingerprint=digest,
        callback_url=wanted.callback_url,
        failure_url=wanted.failure_url,
    )


def _stored(plan: Plan) -> bytes:
    if plan.stored is None:
        plan.stored = headers.stored(plan.lines)
    return plan.stored


def _only_one(function: Function) -> int | None:
    """1 for a function that allows no second attempt: the queue then counts an attempt only when it really begins."""
    return 1 if function.settings.retry.attempts == 1 else None


def _refusal(error: FaasdError, name: bytes) -> answers.Answer:
    if isinstance(error, UnknownFunction):
        return answers.unknown(name)
    if isinstance(error, CallerError | QueueError):
        return answers.text(error.status, str(error), retry_after=error.retry_after)
    raise error

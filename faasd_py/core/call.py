"""Pure. A call as the queue keeps it: in wire form, with the few fields that are asked for beside it."""

from __future__ import annotations

import msgspec


class Spooled(msgspec.Struct, frozen=True):
    """A large body that lies in a file: its path, and its size in bytes."""

    path: str
    size: int


Body = bytes | Spooled


class Call(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """One accepted call, or one callback that is to be delivered.

    Stores keep it as an array: a new field goes to the end and has a default.

    `lane` names who runs it: a function (`resize.openfaas-fn`), or `callback:HOST:PORT` for a delivery.
    `method`, `target` and `headers` are what the receiver will be sent: the target begins with `/` and carries the
    query; the headers are lines ending in CRLF without hop-by-hop fields, framing fields and `Host`, which has
    its own field. Times are seconds since 1970; durations are seconds.
    """

    lane: str
    method: bytes = b"POST"
    target: bytes = b"/"
    host: bytes = b""
    headers: bytes = b""
    body: Body = b""
    call_id: str | None = None
    """The caller's own X-Call-Id: a correlation id that may repeat. None: the queue's id is used."""
    accepted_at: float = 0.0
    not_before: float | None = None
    expires_at: float | None = None
    priority: int = 0
    max_attempts: int | None = None
    timeout: float | None = None
    on_crash: bool = True
    """False: an attempt that a crash interrupted is not run again."""
    idempotency_key: str | None = None
    fingerprint: bytes = b""
    """A digest of what must be equal when the idempotency key is; empty without a key."""
    callback_url: str | None = None
    failure_url: str | None = None
    origin: str | None = None
    """On a callback: the id of the call whose outcome it carries."""

    @property
    def size(self) -> int:
        """The bytes the call occupies, nearly."""
        body = self.body.size if isinstance(self.body, Spooled) else len(self.body)
        return len(self.target) + len(self.headers) + body


class Lease(msgspec.Struct, frozen=True, kw_only=True):
    """A call that a worker holds; nobody else can have it until it is settled."""

    key: int
    id: str
    """The queue's id of the call, as `X-Queue-Id` told the caller."""
    call: Call
    attempt: int
    """Which attempt this will be: 1 for the first. It counts from `Queue.start` on."""
    crashed: bool = False
    """The attempt before this one was running when the daemon died."""
    token: object = None
    """The backend's own."""

    @property
    def call_id(self) -> str:
        """The correlation id that travels as X-Call-Id."""
        return self.call.call_id or self.id

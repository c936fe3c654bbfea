"""Pure. What the admin API answers, as msgspec Structs: calls, results, figures, functions."""

from __future__ import annotations

import msgspec

from faasd_py.core.annotations import DEFAULT_QUEUE


class View(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An answer; fields that have their default are left out."""


class Problem(View, frozen=True, kw_only=True):
    """Why not, in one sentence."""

    error: str


class Done(View, frozen=True, kw_only=True):
    """What became of one call: its id and the state that it has now (`gone` when it was purged)."""

    id: str
    state: str


class Count(View, frozen=True, kw_only=True):
    """How many calls it were; as many as the limit means that there may be more."""

    count: int


class AttemptView(View, frozen=True, kw_only=True):
    """One line of a call's history; duration in seconds."""

    number: int
    started_at: str
    duration: float
    status: int
    reason: str = ""


class CallbackView(View, frozen=True, kw_only=True):
    """How the callback of a call stands: `waiting`, `delivered`, `dead` or `cancelled`. `id` is that of its own call."""

    id: str
    state: str
    attempts: int
    function: str
    """Its lane, `callback:HOST:PORT`."""
    status: int | None = None
    """The receiver's last answer."""
    reason: str = ""
    due_at: str | None = None
    finished_at: str | None = None


class CallView(View, frozen=True, kw_only=True):
    """A call as it stands in the queue. Times are RFC 3339 in UTC; sizes are bytes."""

    id: str
    call_id: str
    function: str
    state: str
    attempts: int
    accepted_at: str
    due_at: str | None = None
    started_at: str | None = None
    finished_at: str | None = None
    expires_at: str | None = None
    status: int | None = None
    reason: str = ""
    priority: int = 0
    size: int = 0
    callback_url: str | None = None
    callback: CallbackView | None = None
    """Of a call that was asked for by itself, once it has called back."""
    history: tuple[AttemptView, ...] = ()


class CallList(View, frozen=True, kw_only=True):
    """A page of calls, newest first; `next` is the `before` of the next page, absent on the last one."""

    calls: list[CallView]
    next: str | None = None


class ResultView(View, frozen=True, kw_only=True):
    """The last answer of a call. `body` is base64, absent when it was not kept whole; `size` is the whole answer's."""

    status: int
    headers: list[tuple[str, str]]
    size: int
    complete: bool
    started_at: str
    duration: float
    internal: str | None = None
    body: bytes | None = None


class RequestView(View, frozen=True, kw_only=True):
    """A call as it was put. `body` is base64, absent when it is over 1 MiB."""

    method: str
    target: str
    function: str
    headers: list[tuple[str, str]]
    size: int
    call_id: str | None = None
    priority: int = 0
    max_attempts: int | None = None
    not_before: str | None = None
    expires_at: str | None = None
    callback_url: str | None = None
    failure_url: str | None = None
    body: bytes | None = None


class LaneView(View, frozen=True, kw_only=True):
    """One lane: a function, or `callback:HOST:PORT`."""

    name: str
    ready: int
    leased: int
    delayed: int
    dead: int
    group: str = DEFAULT_QUEUE
    """The named queue that it belongs to."""
    oldest_at: str | None = None
    oldest_age_seconds: float | None = None
    accepted_per_second: float = 0.0
    finished_per_second: float = 0.0
    """Over the last minute, in this daemon."""
    paused_at: str | None = None
    """Since when no call of it is begun here; absent while it is going."""


class Lane(View, frozen=True, kw_only=True):
    """Whether a lane is paused now, in this daemon."""

    function: str
    paused: bool
    shared: bool = False
    """Other daemons may serve the queue too, and each is paused by itself; absent when this is the only one."""


class QueueView(View, frozen=True, kw_only=True):
    """The whole queue; `trouble` is why calls cannot be accepted now."""

    backend: str
    capabilities: dict[str, bool | int | None]
    ready: int
    leased: int
    delayed: int
    dead: int
    bytes: int
    lanes: list[LaneView]
    quarantined: int = 0
    oldest_age_seconds: float | None = None
    trouble: str | None = None

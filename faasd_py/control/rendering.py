"""Pure. From the daemon's values to what the admin API answers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Final

import msgspec

from faasd_py.control.views import (
    AttemptView,
    CallbackView,
    CallView,
    LaneView,
    QueueView,
    RequestView,
    ResultView,
)
from faasd_py.core.annotations import DEFAULT_QUEUE
from faasd_py.core.call import Body, Call, Spooled
from faasd_py.core.lifecycle import State
from faasd_py.core.outcome import Attempt, Outcome
from faasd_py.queue.contract import Capabilities, LaneStats, QueueStats, Record

INLINE: Final = 1 << 20
"""The largest body, in bytes, that is put into an answer; larger ones are had by `…/body`."""
HIDDEN: Final = frozenset({"authorization", "proxy-authorization", "cookie", "set-cookie"})
DELIVERY: Final = {State.DONE: "delivered", State.DEAD: "dead", State.CANCELLED: "cancelled"}
STATES: Final = ("ready", "leased", "delayed", "dead")


def instant(seconds: float) -> str:
    """Seconds since 1970 as RFC 3339 in UTC, to the millisecond."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def instant_or_none(seconds: float | None) -> str | None:
    """As `instant`; None stays None."""
    return None if seconds is None else instant(seconds)


def callback_view(record: Record) -> CallbackView:
    """The record of a callback."""
    return CallbackView(
        id=record.id,
        state=DELIVERY.get(record.state, "waiting"),
        attempts=record.attempts,
        function=record.lane,
        status=record.status,
        reason=record.reason,
        due_at=instant_or_none(record.due_at),
        finished_at=instant_or_none(record.finished_at),
    )


def call_view(record: Record, callback: Record | None = None) -> CallView:
    """A record of the queue, and the one of its callback if there is one."""
    return CallView(
        id=record.id,
        call_id=record.call_id,
        function=record.lane,
        state=record.state.name.lower(),
        attempts=record.attempts,
        accepted_at=instant(record.accepted_at),
        due_at=instant_or_none(record.due_at),
        started_at=instant_or_none(record.started_at),
        finished_at=instant_or_none(record.finished_at),
        expires_at=instant_or_none(record.expires_at),
        status=record.status,
        reason=record.reason,
        priority=record.priority,
        size=record.size,
        callback_url=record.callback_url,
        callback=None if callback is None else callback_view(callback),
        history=tuple(map(_attempt, record.history)),
    )


def result_view(outcome: Outcome) -> ResultView:
    """A kept outcome."""
    return ResultView(
        status=outcome.status,
        headers=fields(outcome.headers),
        size=outcome.size,
        complete=outcome.complete,
        started_at=instant(outcome.started_at),
        duration=round(outcome.duration, 6),
        internal=outcome.internal,
        body=_inline(outcome.body) if outcome.complete else None,
    )


def request_view(call: Call) -> RequestView:
    """A call as it was put."""
    return RequestView(
        method=call.method.decode("latin-1"),
        target=call.target.decode("latin-1"),
        function=call.lane,
        headers=fields(call.headers),
        size=body_size(call.body),
        call_id=call.call_id,
        priority=call.priority,
        max_attempts=call.max_attempts,
        not_before=instant_or_none(call.not_before),
        expires_at=instant_or_none(call.expires_at),
        callback_url=call.callback_url,
        failure_url=call.failure_url,
        body=_inline(call.body),
    )


class LanesAbout(msgspec.Struct, frozen=True, kw_only=True):
    """What the daemon knows of lanes beside the queue's figures, by lane."""

    groups: Mapping[str, str]
    """Their named queues, where not the default one."""
    paused: Mapping[str, float]
    """Since when, in seconds since 1970."""
    rates: Mapping[str, tuple[float, float]]
    """Accepted and finished a second."""


def lane_views(stats: QueueStats, now: float, about: LanesAbout) -> Iterator[LaneView]:
    """Each lane that has calls, or moved lately, or is paused, by name; one is made when it is asked for."""
    for name in sorted({*stats.lanes, *about.paused, *about.rates}):
        yield _lane(name, stats.lanes.get(name) or LaneStats(), now, about)


def queue_view(
    backend: str,
    capabilities: Capabilities,
    stats: QueueStats,
    trouble: str | None,
    now: float,
    lanes: list[LaneView],
) -> QueueView:
    """The queue's figures, with those of its lanes."""
    oldest = [figures.oldest_at for figures in stats.lanes.values() if figures.oldest_at is not None]
    return QueueView(
        backend=backend,
        capabilities=msgspec.structs.asdict(capabilities),
        **{state: sum(getattr(lane, state) for lane in lanes) for state in STATES},
        bytes=stats.bytes,
        lanes=lanes,
        quarantined=stats.quarantined,
        oldest_age_seconds=_age(min(oldest), now) if oldest else None,
        trouble=trouble,
    )


def _age(since: float, now: float) -> float:
    return round(max(0.0, now - since), 3)


def fields(block: bytes) -> list[tuple[str, str]]:
    """Header lines as pairs; what proves who the client is stays hidden."""
    return list(_fields(block.decode("latin-1").split("\r\n")))


def body_size(body: Body) -> int:
    """Bytes."""
    return body.size if isinstance(body, Spooled) else len(body)


def _fields(lines: Iterable[str]) -> Iterable[tuple[str, str]]:
    for line in lines:
        name, colon, value = line.partition(":")
        if colon:
            yield name, "[hidden]" if name.lower() in HIDDEN else value.strip()


def _inline(body: Body) -> bytes | None:
    return body if isinstance(body, bytes) and len(body) <= INLINE else None


def _attempt(attempt: Attempt) -> AttemptView:
    return AttemptView(
        number=attempt.number,
        started_at=instant(attempt.started_at),
        duration=round(attempt.duration, 6),
        status=attempt.status,
        reason=attempt.reason,
    )


def _lane(name: str, figures: LaneStats, now: float, about: LanesAbout) -> LaneView:
    came, went = about.rates.get(name, (0.0, 0.0))
    return LaneView(
        name=name,
        ready=figures.ready,
        leased=figures.leased,
        delayed=figures.delayed,
        dead=figures.dead,
        group=about.groups.get(name, DEFAULT_QUEUE),
        oldest_at=instant_or_none(figures.oldest_at),
        oldest_age_seconds=None if figures.oldest_at is None else _age(figures.oldest_at, now),
        accepted_per_second=round(came, 3),
        finished_per_second=round(went, 3),
        paused_at=instant_or_none(about.paused.get(name)),
    )

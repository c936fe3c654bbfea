"""The page that Prometheus reads: names and labels as OpenFaaS has them (wire contract §3), then ours (`faasd_`).

It is made a line at a time while the loop goes on counting: dicts are copied before they are walked, and no line needs
another one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from faasd_py.core.annotations import DEFAULT_QUEUE
from faasd_py.core.names import split
from faasd_py.observe.families import Lines, by, counter, gauge, histogram, plain_counter
from faasd_py.observe.logbook.words import Figures
from faasd_py.observe.meter import SUM, Meter
from faasd_py.observe.metrics import LaneFigures, Metrics, QueueFigures, ServiceFigures
from faasd_py.observe.process import ProcessFigures

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
STARTED: Final = ("gateway_function_invocation_started", "gateway_invocation_function_started")
"""The same under the names that OpenFaaS CE and its successors have."""
STATES: Final = ("ready", "leased", "delayed", "dead")
_FUNCTION: Final = ("function_name",)


def render(
    metrics: Metrics,
    queue: QueueFigures | None,
    services: Mapping[str, ServiceFigures],
    process: ProcessFigures | None,
    now: float,
) -> Lines:
    """The whole page, a line at a time. `now` is the wall clock, for ages; services are by label."""
    for families in (
        invocations(metrics),
        requests(metrics),
        replicas(services),
        usage(services),
        asynchronous(metrics, queue, now),
        strangers(metrics),
        lines(metrics.logs),
        itself(process),
    ):
        for family in families:
            yield from family


def invocations(metrics: Metrics) -> Iterator[Lines]:
    """What passed through to functions."""
    meters = list(metrics.meters.copy().values())
    names = ("function_name", "code")
    yield histogram("gateway_functions_seconds", "How long calls took.", names, _rows(meters))
    totals = ((labels, sum(row[:SUM])) for labels, row in _rows(meters))
    yield counter("gateway_function_invocation", "Calls that functions ended.", names, totals)
    for name in STARTED:
        begun = (((meter.label,), meter.started) for meter in meters)
        yield plain_counter(name, "Calls that were begun.", _FUNCTION, begun)
    yield gauge(
        "gateway_invocation_function_invocation_inflight",
        "Calls that run now.",
        _FUNCTION,
        (((meter.label,), meter.inflight) for meter in meters),
    )
    yield gauge(
        "faasd_open_connections", "Connections that clients hold open.", (), [((), metrics.connections())]
    )


def _rows(meters: Iterable[Meter]) -> Iterator[tuple[tuple[str, str], list[float]]]:
    for meter in meters:
        for code, row in meter.rows.copy().items():
            yield (meter.label, str(code)), row


def requests(metrics: Metrics) -> Iterator[Lines]:
    """What was asked of the gateway itself."""
    routes, names = metrics.requests.copy().items(), ("method", "path", "status")
    rows = [((*route, str(code)), row) for route, times in routes for code, row in times.rows.copy().items()]
    totals = ((labels, sum(row[:SUM])) for labels, row in rows)
    yield counter("http_requests", "Requests to /system and /async-function.", names, totals)
    yield histogram("http_request_duration_seconds", "How long they took.", names, rows)


def replicas(services: Mapping[str, ServiceFigures]) -> Iterator[Lines]:
    """How many of each function there are."""
    for name, text, field in (
        ("gateway_service_count", "Replicas that are wanted.", "wanted"),
        ("gateway_service_ready_count", "Replicas that answer.", "available"),
        ("gateway_service_min", "Replicas that there are at least.", "least"),
        ("gateway_service_target", "The load that one replica is for.", "target"),
    ):
        yield gauge(name, text, _FUNCTION, (((label,), n) for label, n in _known(services, field)))


def usage(services: Mapping[str, ServiceFigures]) -> Iterator[Lines]:
    """What the processes of functions use, where it is known."""
    names = ("function_name", "namespace")
    seconds = ((split(label), number) for label, number in _known(services, "cpu_seconds"))
    yield counter("pod_cpu_usage_seconds", "Seconds of CPU that functions used.", names, seconds)
    sizes = ((split(label), number) for label, number in _known(services, "memory_bytes"))
    yield gauge("pod_memory_working_set_bytes", "Bytes of memory that functions use.", names, sizes)


def _known(services: Mapping[str, ServiceFigures], field: str) -> Iterator[tuple[str, float]]:
    for label, figures in services.items():
        number = getattr(figures, field)
        if number is not None:
            yield label, number


def asynchronous(metrics: Metrics, queue: QueueFigures | None, now: float) -> Iterator[Lines]:
    """What went into the queue and what became of it."""
    name = ("queue_name",)
    submitted, processed = metrics.submitted_by, metrics.processed_by
    yield counter("queue_worker_messages_submitted", "Calls that were accepted.", name, by(submitted))
    yield counter("queue_worker_messages_processed", "Attempts that were made.", name, by(processed))
    if queue is not None:
        yield from _waiting(queue, metrics.queues, now)
    paused = (((lane,), 1) for lane in metrics.paused())
    yield gauge("faasd_lane_paused", "Lanes of which no call is begun.", ("function_name",), paused)
    yield counter(
        "faasd_attempts",
        "Attempts of asynchronous calls, by the status they ended with.",
        ("function_name", "status"),
        (((label, str(status)), n) for (label, status), n in metrics.attempts_by.copy().items()),
    )
    yield counter(
        "faasd_dead_letters",
        "Calls that were given up, by reason.",
        ("function_name", "reason"),
        metrics.dead_by.copy().items(),
    )
    callbacks, refused = by(metrics.callbacks_by), by(metrics.refused_by)
    yield counter("faasd_callbacks", "Attempts to deliver a callback, by outcome.", ("outcome",), callbacks)
    yield counter("faasd_queue_refused", "Calls that were not taken, by reason.", ("reason",), refused)
    yield counter(
        "faasd_schedule_slots",
        "Times at which functions came due by their schedules, by outcome.",
        ("function_name", "outcome"),
        metrics.scheduled_by.copy().items(),
    )


def strangers(metrics: Metrics) -> Iterator[Lines]:
    """Who was not let in."""
    failures = by(metrics.auth_failures_by)
    yield counter("faasd_auth_failures", "Requests that were not let in, by reason.", ("reason",), failures)


def lines(logs: Figures) -> Iterator[Lines]:
    """What functions wrote."""
    yield counter("faasd_log_lines", "Lines of functions that were kept.", (), [((), logs.lines)])
    dropped = [(("overload",), logs.overload), (("disk",), logs.disk)]
    yield counter(
        "faasd_log_lines_dropped", "Lines of functions that were lost, by reason.", ("reason",), dropped
    )
    yield gauge("faasd_log_bytes", "Bytes that the lines of functions occupy.", (), [((), logs.bytes)])


def itself(process: ProcessFigures | None) -> Iterator[Lines]:
    """What the daemon uses, as every Prometheus client says it."""
    if process is None:
        return
    cpu = "Total user and system CPU time spent in seconds."
    yield counter("process_cpu_seconds", cpu, (), [((), process.cpu_seconds)])
    for field, text in (
        ("virtual_memory_bytes", "Virtual memory size in bytes."),
        ("resident_memory_bytes", "Resident memory size in bytes."),
        ("start_time_seconds", "Start time of the process since unix epoch in seconds."),
        ("open_fds", "Number of open file descriptors."),
        ("max_fds", "Maximum number of open file descriptors."),
    ):
        yield gauge(f"process_{field}", text, (), [((), getattr(process, field))])


def _waiting(queue: QueueFigures, queues: Mapping[str, str], now: float) -> Iterator[Lines]:
    lanes = [(queues.get(name, DEFAULT_QUEUE), name, lane) for name, lane in dict(queue.lanes).items()]
    names = ("queue_name", "function_name")
    pending = (((group, name), lane.ready + lane.delayed) for group, name, lane in lanes)
    yield gauge("queue_worker_pending_messages", "Calls that wait.", names, pending)
    running = (((group, name), lane.leased) for group, name, lane in lanes)
    yield gauge("queue_worker_function_invocation_inflight", "Asynchronous calls that run.", names, running)
    yield gauge(
        "faasd_queue_depth",
        "Calls in the queue, by lane and state.",
        ("function_name", "state"),
        (((name, state), getattr(lane, state)) for _, name, lane in lanes for state in STATES),
    )
    ages = {name: age for _, name, lane in lanes if (age := _age(lane, now)) is not None}
    text = "How long ago the oldest waiting call was accepted"
    yield gauge("faasd_lane_oldest_age_seconds", f"{text}, by lane.", _FUNCTION, by(ages))
    oldest: Iterable[tuple[tuple[str, ...], float]] = [((), max(ages.values(), default=0.0))]
    yield gauge("faasd_queue_oldest_age_seconds", f"{text}.", (), oldest)
    yield gauge("faasd_queue_bytes", "Bytes that waiting and running calls occupy.", (), [((), queue.bytes)])
    yield gauge("faasd_queue_quarantined", "Records that could not be read.", (), [((), queue.quarantined)])


def _age(lane: LaneFigures, now: float) -> float | None:
    return None if lane.oldest_at is None else max(0.0, now - lane.oldest_at)

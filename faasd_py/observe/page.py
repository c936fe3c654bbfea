"""The page that Prometheus reads: names and labels as OpenFaaS has them (wire contract §3), then ours (`faasd_`).

Only the control plane imports this module, because it brings prometheus_client. It runs in a thread while the loop goes
on counting: dicts are copied, which is one step of the interpreter, before they are walked.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate
from typing import Final

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from faasd_py.observe.logbook.words import Figures
from faasd_py.observe.meter import BUCKETS, SUM, Meter
from faasd_py.observe.metrics import LaneFigures, Metrics, QueueFigures, ReplicaFigures

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
QUEUE: Final = "faas-request"
"""The name of OpenFaaS' default queue: dashboards select it."""
STARTED: Final = "gateway_function_invocation_started"
STATES: Final = ("ready", "leased", "delayed", "dead")
BOUNDS: Final = (*(f"{bound:g}" for bound in BUCKETS), "+Inf")
Labels = tuple[str, ...]


class Families(Collector):
    """Metric families that are already made."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self.families = families

    def collect(self) -> Iterable[Metric]:
        """The families, in their order."""
        return self.families


def render(
    metrics: Metrics, queue: QueueFigures | None, replicas: Mapping[str, ReplicaFigures], now: float
) -> bytes:
    """The whole page."""
    registry = CollectorRegistry()
    registry.register(
        Families(
            [
                *invocations(metrics),
                *replica_counts(replicas),
                *asynchronous(metrics, queue, now),
                *lines(metrics.logs),
            ]
        )
    )
    ProcessCollector(registry=registry)
    text = generate_latest(registry)
    # prometheus_client gives every counter the suffix _total; the name that OpenFaaS uses has none
    return text.replace(f"# TYPE {STARTED} untyped".encode(), f"# TYPE {STARTED} counter".encode())


def invocations(metrics: Metrics) -> Iterator[Metric]:
    """What passed through to functions."""
    meters = list(metrics.meters.copy().values())
    yield _seconds(meters)
    yield _counter(
        "gateway_function_invocation",
        "Calls that functions ended.",
        ("function_name", "code"),
        (((m.label, str(code)), sum(row[:SUM])) for m in meters for code, row in m.rows.copy().items()),
    )
    started = Metric(STARTED, "Calls that were begun.", "unknown")
    for meter in meters:
        started.add_sample(STARTED, {"function_name": meter.label}, meter.started)
    yield started
    yield _gauge(
        "gateway_invocation_function_invocation_inflight",
        "Calls that run now.",
        ("function_name",),
        (((m.label,), m.inflight) for m in meters),
    )
    yield _gauge(
        "faasd_open_connections", "Connections that clients hold open.", (), [((), metrics.connections())]
    )


def _seconds(meters: list[Meter]) -> Metric:
    family = HistogramMetricFamily(
        "gateway_functions_seconds", "How long calls took.", labels=("function_name", "code")
    )
    for meter in meters:
        for code, row in meter.rows.copy().items():
            counts = zip(BOUNDS, accumulate(row[:SUM]), strict=True)
            family.add_metric((meter.label, str(code)), list(counts), row[SUM])
    return family


def replica_counts(replicas: Mapping[str, ReplicaFigures]) -> Iterator[Metric]:
    """How many of each function there are."""
    label = ("function_name",)
    wanted = (((name,), figures.wanted) for name, figures in replicas.items())
    yield _gauge("gateway_service_count", "Replicas that are wanted.", label, wanted)
    ready = (((name,), figures.available) for name, figures in replicas.items())
    yield _gauge("gateway_service_ready_count", "Replicas that answer.", label, ready)


def asynchronous(metrics: Metrics, queue: QueueFigures | None, now: float) -> Iterator[Metric]:
    """What went into the queue and what became of it."""
    yield from _openfaas_totals(metrics)
    if queue is not None:
        yield from _waiting(queue, now)
    yield _counter(
        "faasd_attempts",
        "Attempts of asynchronous calls, by the status they ended with.",
        ("function_name", "status"),
        (((label, str(status)), n) for (label, status), n in metrics.attempts_by.copy().items()),
    )
    yield _counter(
        "faasd_dead_letters",
        "Calls that were given up, by reason.",
        ("function_name", "reason"),
        metrics.dead_by.copy().items(),
    )
    yield _counter(
        "faasd_callbacks",
        "Attempts to deliver a callback, by outcome.",
        ("outcome",),
        (((outcome,), n) for outcome, n in metrics.callbacks_by.copy().items()),
    )
    yield _counter(
        "faasd_queue_refused",
        "Calls that were not taken into the queue, by reason.",
        ("reason",),
        (((reason,), n) for reason, n in metrics.refused_by.copy().items()),
    )
    yield _counter(
        "faasd_schedule_slots",
        "Times at which functions came due by their schedules, by outcome.",
        ("function_name", "outcome"),
        metrics.scheduled_by.copy().items(),
    )


def lines(logs: Figures) -> Iterator[Metric]:
    """What functions wrote."""
    yield _counter("faasd_log_lines", "Lines of functions that were kept.", (), [((), logs.lines)])
    dropped = [(("overload",), logs.overload), (("disk",), logs.disk)]
    yield _counter(
        "faasd_log_lines_dropped", "Lines of functions that were lost, by reason.", ("reason",), dropped
    )
    yield _gauge("faasd_log_bytes", "Bytes that the lines of functions occupy.", (), [((), logs.bytes)])


def _openfaas_totals(metrics: Metrics) -> Iterator[Metric]:
    submitted = [((QUEUE,), sum(metrics.accepted_by.copy().values()))]
    yield _counter("queue_worker_messages_submitted", "Calls that were accepted.", ("queue_name",), submitted)
    processed = [((QUEUE,), sum(metrics.attempts_by.copy().values()))]
    yield _counter("queue_worker_messages_processed", "Attempts that were made.", ("queue_name",), processed)


def _waiting(queue: QueueFigures, now: float) -> Iterator[Metric]:
    lanes = dict(queue.lanes)
    names = ("queue_name", "function_name")
    pending = (((QUEUE, name), lane.ready + lane.delayed) for name, lane in lanes.items())
    yield _gauge("queue_worker_pending_messages", "Calls that wait.", names, pending)
    running = (((QUEUE, name), lane.leased) for name, lane in lanes.items())
    yield _gauge("queue_worker_function_invocation_inflight", "Asynchronous calls that run.", names, running)
    yield _gauge(
        "faasd_queue_depth",
        "Calls in the queue, by lane and state.",
        ("function_name", "state"),
        (((name, state), getattr(lane, state)) for name, lane in lanes.items() for state in STATES),
    )
    age = [((), _oldest_age(lanes.values(), now))]
    yield _gauge(
        "faasd_queue_oldest_age_seconds", "How long ago the oldest waiting call was accepted.", (), age
    )
    yield _gauge("faasd_queue_bytes", "Bytes that waiting and running calls occupy.", (), [((), queue.bytes)])
    yield _gauge("faasd_queue_quarantined", "Records that could not be read.", (), [((), queue.quarantined)])


def _oldest_age(lanes: Iterable[LaneFigures], now: float) -> float:
    accepted = [lane.oldest_at for lane in lanes if lane.oldest_at is not None]
    return max(0.0, now - min(accepted)) if accepted else 0.0


def _counter(name: str, text: str, labels: Labels, samples: Iterable[tuple[Labels, float]]) -> Metric:
    family = CounterMetricFamily(name, text, labels=labels)
    for values, number in list(samples):
        family.add_metric(values, number)
    return family


def _gauge(name: str, text: str, labels: Labels, samples: Iterable[tuple[Labels, float]]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=labels)
    for values, number in list(samples):
        family.add_metric(values, number)
    return family

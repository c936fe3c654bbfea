"""The page of metrics: OpenFaaS' names and labels, and ours."""

from types import SimpleNamespace

import pytest
from prometheus_client import ProcessCollector, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from faasd_py.observe.leavers import KEPT, MOST
from faasd_py.observe.metrics import Metrics, ServiceFigures
from faasd_py.observe.page import CONTENT_TYPE, render
from faasd_py.observe.process import process_figures

NAME = "resize.openfaas-fn"


def lane(ready=0, leased=0, delayed=0, dead=0, oldest_at=None):
    return SimpleNamespace(ready=ready, leased=leased, delayed=delayed, dead=dead, oldest_at=oldest_at)


def queue(lanes=None, size=0, quarantined=0):
    return SimpleNamespace(lanes=lanes or {}, bytes=size, quarantined=quarantined)


def rendered(metrics, queue=None, services=None, now=0.0) -> bytes:
    return "".join(render(metrics, queue, services or {}, process_figures(), now)).encode()


def read(page: bytes) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """The samples of a page, by name and sorted labels (this parser, unlike Prometheus, wants counters to end in _total)."""
    families = text_string_to_metric_families(
        page.decode()
        .replace("invocation_started counter", "invocation_started gauge")
        .replace("function_started counter", "function_started gauge")
    )
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def sample(page: bytes, name: str, **labels: str) -> float:
    return read(page)[name, tuple(sorted(labels.items()))]


@pytest.fixture
def metrics():
    return Metrics()


def test_a_meter_is_made_once(metrics):
    """Whoever asks for a function's meter gets the same one: a reload keeps the counts."""
    assert metrics.meter(NAME) is metrics.meter(NAME)
    assert metrics.meter(NAME) is not metrics.meter("other.openfaas-fn")


def test_invocations_in_openfaas_names(metrics):
    """Totals by status, what was begun, what is in flight."""
    meter = metrics.meter(NAME)
    for _ in range(3):
        meter.begin()
    meter.finish(200, 0.02)
    meter.finish(500, 0.3)
    page = rendered(metrics)
    assert sample(page, "gateway_function_invocation_total", function_name=NAME, code="200") == 1
    assert sample(page, "gateway_function_invocation_total", function_name=NAME, code="500") == 1
    assert sample(page, "gateway_function_invocation_started", function_name=NAME) == 3
    assert sample(page, "gateway_invocation_function_invocation_inflight", function_name=NAME) == 1


def test_the_histogram_is_cumulative(metrics):
    """Every bucket counts what is at most as slow as its bound; +Inf equals the count."""
    meter = metrics.meter(NAME)
    for seconds in (0.001, 0.02, 0.02, 3.0, 99.0):
        meter.finish(200, seconds)
    page = rendered(metrics)
    name, labels = "gateway_functions_seconds", {"function_name": NAME, "code": "200"}
    counts = {
        le: sample(page, f"{name}_bucket", **labels, le=le)
        for le in ("0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "5", "10", "+Inf")
    }
    assert list(counts.values()) == [1, 1, 3, 3, 3, 3, 3, 3, 3, 4, 4, 5]
    assert sample(page, f"{name}_count", **labels) == 5
    assert sample(page, f"{name}_sum", **labels) == pytest.approx(102.041)


def test_types_are_the_ones_openfaas_declares(metrics):
    """Also the counter whose name has no _total, which the client library would not write by itself."""
    lines = rendered(metrics, queue()).decode().splitlines()
    for line in (
        "# TYPE gateway_functions_seconds histogram",
        "# TYPE gateway_function_invocation_total counter",
        "# TYPE gateway_function_invocation_started counter",
        "# TYPE gateway_service_count gauge",
        "# TYPE queue_worker_pending_messages gauge",
        "# TYPE queue_worker_messages_processed_total counter",
    ):
        assert line in lines


def test_replicas(metrics):
    """Wanted replicas under OpenFaaS' name, and how many of them answer."""
    figures = ServiceFigures(wanted=3, available=1, least=2, target=50)
    page = rendered(metrics, None, {NAME: figures, "other.dev": ServiceFigures(wanted=1, available=1)})
    assert sample(page, "gateway_service_count", function_name=NAME) == 3
    assert sample(page, "gateway_service_ready_count", function_name=NAME) == 1
    assert sample(page, "gateway_service_min", function_name=NAME) == 2
    assert sample(page, "gateway_service_target", function_name=NAME) == 50
    assert sample(page, "gateway_service_min", function_name="other.dev") == 1
    assert b'gateway_service_target{function_name="other.dev"}' not in page


def test_what_functions_use(metrics):
    """By name and namespace, where it is known."""
    figures = ServiceFigures(wanted=1, available=1, cpu_seconds=1.5, memory_bytes=4096)
    page = rendered(metrics, None, {"a.dev": figures, NAME: ServiceFigures(wanted=1, available=1)})
    assert sample(page, "pod_cpu_usage_seconds_total", function_name="a", namespace="dev") == 1.5
    assert sample(page, "pod_memory_working_set_bytes", function_name="a", namespace="dev") == 4096
    assert b'function_name="resize"' not in page


def test_requests_to_the_gateway(metrics):
    """By method, path and status: how many, and how long they took."""
    assert metrics.request("GET", "/system/functions") is metrics.request("GET", "/system/functions")
    metrics.request("GET", "/system/functions").add(200, 0.003)
    metrics.request("GET", "/system/functions").add(200, 0.3)
    metrics.request("POST", "/async-function").add(202, 0.001)
    page = rendered(metrics)
    of = {"method": "GET", "path": "/system/functions", "status": "200"}
    assert sample(page, "http_requests_total", **of) == 2
    assert sample(page, "http_request_duration_seconds_count", **of) == 2
    assert sample(page, "http_request_duration_seconds_bucket", le="0.005", **of) == 1
    assert sample(page, "http_request_duration_seconds_sum", **of) == pytest.approx(0.303)
    of = {"method": "POST", "path": "/async-function", "status": "202"}
    assert sample(page, "http_requests_total", **of) == 1


def test_named_queues(metrics):
    """A function's calls count for its queue; what was counted before it was moved stays where it was."""
    metrics.accepted(NAME)
    metrics.heed({NAME: "slow", "other.ns": "faas-request"}, 0.0)
    for _ in range(2):
        metrics.accepted(NAME)
        metrics.attempts(NAME, 200)
    metrics.accepted("other.ns")
    page = rendered(metrics, queue({NAME: lane(ready=3, leased=1), "other.ns": lane(ready=1)}))
    submitted = "queue_worker_messages_submitted_total"
    assert sample(page, submitted, queue_name="slow") == 2
    assert sample(page, submitted, queue_name="faas-request") == 2
    assert sample(page, "queue_worker_messages_processed_total", queue_name="slow") == 2
    assert sample(page, "queue_worker_messages_processed_total", queue_name="faas-request") == 0
    of = {"queue_name": "slow", "function_name": NAME}
    assert sample(page, "queue_worker_pending_messages", **of) == 3
    assert sample(page, "queue_worker_function_invocation_inflight", **of) == 1
    of = {"queue_name": "faas-request", "function_name": "other.ns"}
    assert sample(page, "queue_worker_pending_messages", **of) == 1


def counted(metrics, label):
    """A little of everything that is counted by function."""
    metrics.meter(label).begin()
    metrics.meter(label).finish(200, 0.1)
    metrics.attempts(label, 200)
    metrics.dead(label, "expired")
    metrics.scheduled(label, "put")


def test_a_function_that_is_gone_leaves_the_page_after_a_while(metrics):
    """Until then Prometheus sees its last counts; if it comes back meanwhile they go on."""
    here = {NAME: "faas-request", "gone.ns": "slow"}
    metrics.heed(here, 0.0)
    for label in here:
        counted(metrics, label)
    metrics.accepted("gone.ns")
    del here["gone.ns"]
    metrics.heed(here, 10.0)
    metrics.heed(here, 10.0 + KEPT - 1)
    assert rendered(metrics).count(b"gone.ns") > 5
    metrics.heed({**here, "gone.ns": "slow"}, 10.0 + KEPT - 1)
    metrics.heed(here, 10.0 + KEPT)
    metrics.heed(here, 10.0 + 2 * KEPT - 1)
    assert metrics.meter("gone.ns").started == 1
    metrics.heed(here, 10.0 + 2 * KEPT)
    page = rendered(metrics)
    assert b"gone.ns" not in page
    assert b'queue_name="slow"' not in page
    assert sample(page, "gateway_function_invocation_started", function_name=NAME) == 1
    assert sample(page, "queue_worker_messages_submitted_total", queue_name="faas-request") == 0


def test_ten_thousand_functions_that_come_and_go(metrics):
    """The page does not grow with all that there ever were."""
    for number in range(10_000):
        label = f"f{number}.ns"
        if number % 100 == 0:
            metrics.heed({f"f{n}.ns": f"q{n}" for n in range(number, number + 100)}, float(number) / 1000)
        counted(metrics, label)
        metrics.accepted(label)
    metrics.heed({}, 10.0)
    assert len(metrics.meters) == len(metrics.attempts_by) == MOST
    assert "f9999.ns" in metrics.meters
    assert len(metrics.submitted_by) <= MOST + 1
    metrics.heed({}, 10.0 + KEPT)
    assert not metrics.meters
    assert not metrics.attempts_by
    assert list(metrics.submitted_by) == ["faas-request"]


def test_a_late_count_for_a_function_that_is_gone_leaves_too(metrics):
    """A call that ends after its function was forgotten is not there for good."""
    metrics.heed({}, 0.0)
    metrics.attempts("late.ns", 404)
    metrics.heed({}, 100.0)
    metrics.heed({}, 100.0 + KEPT)
    assert b"late.ns" not in rendered(metrics)


def test_the_queue_by_lane_and_state(metrics):
    """Depth by state, OpenFaaS' pending and in-flight gauges, and the totals of the whole queue."""
    lanes = {NAME: lane(ready=4, leased=2, delayed=1, dead=7), "callback:example.org:443": lane(delayed=5)}
    page = rendered(metrics, queue(lanes, size=4096, quarantined=1), now=0.0)
    of = {"queue_name": "faas-request", "function_name": NAME}
    assert sample(page, "queue_worker_pending_messages", **of) == 5
    assert sample(page, "queue_worker_function_invocation_inflight", **of) == 2
    for state, count in (("ready", 4), ("leased", 2), ("delayed", 1), ("dead", 7)):
        assert sample(page, "faasd_queue_depth", function_name=NAME, state=state) == count
    assert sample(page, "faasd_queue_depth", function_name="callback:example.org:443", state="delayed") == 5
    assert sample(page, "faasd_queue_bytes") == 4096
    assert sample(page, "faasd_queue_quarantined") == 1


@pytest.mark.parametrize(
    ("accepted", "now", "age"),
    [((), 100.0, 0.0), ((40.0, None, 70.0), 100.0, 60.0), ((101.0,), 100.0, 0.0)],
    ids=["nothing waits", "the oldest of several lanes", "the clock stepped back"],
)
def test_oldest_age(metrics, accepted, now, age):
    """How long ago the oldest waiting call was accepted; never negative."""
    lanes = {f"f{index}.ns": lane(ready=1, oldest_at=at) for index, at in enumerate(accepted)}
    assert sample(rendered(metrics, queue(lanes), now=now), "faasd_queue_oldest_age_seconds") == age


def test_what_the_rooms_count(metrics):
    """Attempts, dead letters, callbacks, accepted and refused calls, open connections."""
    for status in (200, 200, 503):
        metrics.attempts(NAME, status)
    metrics.dead(NAME, "expired")
    metrics.callback("delivered")
    metrics.callback("delivered")
    metrics.refused("full")
    metrics.auth_failed("credentials")
    metrics.accepted(NAME)
    metrics.accepted("other.openfaas-fn")
    metrics.connections = lambda: 12
    page = rendered(metrics)
    assert sample(page, "faasd_attempts_total", function_name=NAME, status="200") == 2
    assert sample(page, "faasd_attempts_total", function_name=NAME, status="503") == 1
    assert sample(page, "faasd_dead_letters_total", function_name=NAME, reason="expired") == 1
    assert sample(page, "faasd_callbacks_total", outcome="delivered") == 2
    assert sample(page, "faasd_queue_refused_total", reason="full") == 1
    assert sample(page, "faasd_auth_failures_total", reason="credentials") == 1
    assert sample(page, "faasd_auth_failures_total", reason="cross-site") == 0
    assert sample(page, "queue_worker_messages_submitted_total", queue_name="faas-request") == 2
    assert sample(page, "queue_worker_messages_processed_total", queue_name="faas-request") == 3
    assert sample(page, "faasd_open_connections") == 12


def test_the_process_itself(metrics):
    """CPU, memory and descriptors of the daemon, as Prometheus' own client has them."""
    ours = read(rendered(metrics))
    theirs = read(generate_latest(SimpleNamespace(collect=ProcessCollector(registry=None).collect)))
    assert {key for key in ours if key[0].startswith("process_")} == set(theirs)
    for key, value in theirs.items():
        assert ours[key] == pytest.approx(value, rel=0.05, abs=0.1)


def test_labels_are_escaped(metrics):
    """Whatever a word holds, the page can be read back."""
    metrics.dead(NAME, 'a "quoted"\nword\\')
    assert (
        sample(rendered(metrics), "faasd_dead_letters_total", function_name=NAME, reason='a "quoted"\nword\\')
        == 1
    )


def test_two_houses_do_not_share_counts():
    """There is no global registry: each Metrics has its own, and a page that is made twice is the same."""
    one, other = Metrics(), Metrics()
    one.accepted(NAME)
    assert sample(rendered(one), "queue_worker_messages_submitted_total", queue_name="faas-request") == 1
    assert sample(rendered(one), "queue_worker_messages_submitted_total", queue_name="faas-request") == 1
    assert sample(rendered(other), "queue_worker_messages_submitted_total", queue_name="faas-request") == 0


def test_content_type_is_the_text_format():
    """Prometheus picks its parser by this."""
    assert CONTENT_TYPE == "text/plain; version=0.0.4; charset=utf-8"


def test_counting_goes_on_while_the_page_is_made(metrics):
    """The loop counts between any two lines: what appears, grows and goes meanwhile does not disturb the page."""
    lines = 0
    for _ in render(metrics, queue(), {}, process_figures(), 0.0):
        lines += 1
        meter = metrics.meter(f"f{lines}.ns")
        meter.begin()
        meter.finish(200 + lines % 60, 0.01)
        metrics.request("GET", f"/{lines}").add(200, 0.1)
        metrics.attempts(f"f{lines}.ns", 200)
        metrics.dead(f"f{lines}.ns", "expired")
        metrics.scheduled(f"f{lines}.ns", "put")
        metrics.callback(f"outcome {lines}")
        metrics.refused(f"reason {lines}")
        metrics.accepted(f"f{lines}.ns")
        metrics.queues = {f"f{lines}.ns": f"q{lines}"}
        if lines % 7 == 0:
            metrics.attempts_by.clear()
            metrics.meters.clear()
    assert lines > 60


def test_numbers_are_floating_point(metrics):
    """As client libraries write them: also large ones and whole ones."""
    figures = ServiceFigures(wanted=1, available=1, cpu_seconds=1.5, memory_bytes=8_000_000_000)
    page = rendered(metrics, None, {NAME: figures}).decode()
    labels = '{function_name="resize",namespace="openfaas-fn"}'
    assert f"pod_memory_working_set_bytes{labels} 8000000000.0\n" in page
    assert f"pod_cpu_usage_seconds_total{labels} 1.5\n" in page


def test_labels_stand_in_alphabetical_order(metrics):
    """`le` among the others: as client libraries write them."""
    metrics.request("GET", "/system/functions").add(200, 0.003)
    meter = metrics.meter(NAME)
    meter.finish(200, 0.003)
    page = rendered(metrics).decode()
    assert 'http_request_duration_seconds_bucket{le="0.005",method="GET",path="/system/functions",' in page
    assert f'gateway_functions_seconds_bucket{{code="200",function_name="{NAME}",le="0.005"}} 1.0\n' in page

"""What Prometheus reads: OpenFaaS' names, and figures that count what happened."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.house.daemon import Daemon, free_port, running, service
from tests.house.patience import until
from tests.house.receivers import Receiver
from tests.house.wire import ask

Sample = tuple[str, frozenset[tuple[str, str]]]


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    root = tmp_path_factory.mktemp("metrics")
    once = {"attempts": 2, "min_wait": "5ms", "max_wait": "5ms"}
    functions = {name: service(root, retry=once) for name in ("api", "sync", "other")}
    port = free_port()
    with running(root, functions, metrics={"listen": [f"127.0.0.1:{port}"]}) as one:
        one.wait_healthy()
        yield one


def metrics_port(daemon: Daemon) -> int:
    return int(daemon.tables["metrics"]["listen"][0].rpartition(":")[2])


def samples(daemon: Daemon) -> dict[Sample, float]:
    """Everything on the page: name and labels to value."""
    found = {}
    for line in ask(metrics_port(daemon), "GET", "/metrics").text.splitlines():
        if match := re.fullmatch(r"([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)", line):
            labels = frozenset(re.findall(r'(\w+)="([^"]*)"', match[2] or ""))
            found[match[1], labels] = float(match[3])
    return found


def total(daemon: Daemon, name: str, **labels: str) -> float:
    """The sum of the samples of this name that have these labels."""
    wanted = frozenset(labels.items())
    return sum(value for (n, have), value in samples(daemon).items() if n == name and wanted <= have)


def test_both_doors_show_it(daemon: Daemon) -> None:
    """The metrics listener and the gateway; the former has nothing but /metrics and /healthz."""
    port = metrics_port(daemon)
    for one in (port, daemon.port):
        answer = ask(one, "GET", "/metrics")
        assert answer.status == 200
        assert answer.headers["content-type"].startswith("text/plain")
    assert ask(port, "GET", "/healthz").status == 200
    assert ask(port, "GET", "/function/api/tell").status == 404
    assert ask(port, "POST", "/async-function/api/tell", b"").status == 404


def test_synchronous_calls_are_counted(daemon: Daemon) -> None:
    """By function and code, started and finished, with their time."""
    for status in (200, 200, 404):
        daemon.ask("GET", f"/function/sync/status/{status}")
    label = "sync.openfaas-fn"
    assert total(daemon, "gateway_function_invocation_total", function_name=label, code="200") == 2
    assert total(daemon, "gateway_function_invocation_total", function_name=label, code="404") == 1
    assert total(daemon, "gateway_function_invocation_started", function_name=label) == 3
    assert total(daemon, "gateway_functions_seconds_count", function_name=label) == 3
    assert total(daemon, "gateway_functions_seconds_bucket", function_name=label, le="+Inf") == 3
    assert total(daemon, "gateway_service_count", function_name=label) == 1


def test_asynchronous_calls_are_counted_when_they_ran(daemon: Daemon) -> None:
    """As OpenFaaS does: with the function's own status."""
    label = "api.openfaas-fn"
    before = total(daemon, "gateway_function_invocation_total", function_name=label, code="200")
    for _ in range(3):
        daemon.put("api/tell/counted")
    until(lambda: len(daemon.ran("/tell/counted")) == 3)
    until(
        lambda: (
            total(daemon, "gateway_function_invocation_total", function_name=label, code="200") == before + 3
        )
    )


def test_the_queue_is_on_the_page(daemon: Daemon, hook: Receiver) -> None:
    """Depth by state, oldest age, attempts, dead letters and callback outcomes change as calls do."""
    delayed = daemon.put("other/tell", b"", {"X-Delay": "1h"})
    dead = daemon.put("other/status/500", b"", {"X-Callback-Url": hook.url()})
    hook.wait()
    daemon.wait_state(dead, "DEAD")
    page = ask(metrics_port(daemon), "GET", "/metrics").text
    lines = [line for line in page.splitlines() if "other.openfaas-fn" in line]
    for word in ("delayed", "dead", "attempts"):
        assert [line for line in lines if word in line and not line.endswith(" 0.0")], (word, lines)
    assert re.search(r"(?m)^\w*callback\w*\{[^}]*\} [1-9]", page), "callback outcomes"
    assert re.search(r"(?m)^\w*oldest\w*(\{[^}]*\})? \d", page), "oldest age"
    assert "queue_worker_pending_messages" in page
    assert daemon.ask("DELETE", f"/async-function/{delayed}").status == 202


def test_every_metric_is_explained(daemon: Daemon) -> None:
    """Each sample has its HELP and TYPE lines."""
    page = ask(metrics_port(daemon), "GET", "/metrics").text
    kinds = dict(re.findall(r"(?m)^# TYPE (\S+) (\S+)$", page))
    assert set(kinds) == set(re.findall(r"(?m)^# HELP (\S+) \S", page))
    for name, _ in samples(daemon):
        assert name in kinds or re.sub(r"_(total|bucket|count|sum|created|info)$", "", name) in kinds, name


def test_requests_to_the_gateway_itself(daemon: Daemon) -> None:
    """/async-function by what was answered, and /system by route; a function's path is none of its labels."""
    daemon.put("api/tell/measured")
    assert daemon.ask("POST", "/async-function/nobody/at/all", b"").status == 404
    assert daemon.ask("DELETE", "/async-function/nothing").status == 404
    name = "http_requests_total"
    assert total(daemon, name, method="POST", path="/async-function", status="202") >= 1
    assert total(daemon, name, method="POST", path="/async-function", status="404") == 1
    assert total(daemon, name, method="DELETE", path="/async-function", status="404") == 1
    assert daemon.system("GET", "/system/namespaces").status == 200
    assert total(daemon, name, method="GET", path="/system/namespaces", status="200") == 1
    count = "http_request_duration_seconds_count"
    assert total(daemon, count, method="GET", path="/system/namespaces") == 1


def test_named_queues_and_functions_that_are_gone(daemon: Daemon) -> None:
    """A reload moves a function's calls to another queue's line at once; a removed one's counts stay a while."""
    functions = daemon.tables["functions"]
    functions["late"] = service(daemon.root, annotations={"com.openfaas.queue": "slow"})
    daemon.tables["workers"]["groups"] = {"slow": {"max_inflight": 1}}
    reloads = daemon.log.count("reloaded")
    daemon.reload()
    until(lambda: daemon.log.count("reloaded") > reloads, what="reloaded")
    calls = [daemon.put("late/gate/late") for _ in range(3)]
    until(lambda: len(daemon.ran("/gate/late")) == 1, what="one runs")
    assert total(daemon, "queue_worker_messages_submitted_total", queue_name="slow") == 3
    label = {"queue_name": "slow", "function_name": "late.openfaas-fn"}
    assert total(daemon, "queue_worker_function_invocation_inflight", **label) == 1
    assert total(daemon, "queue_worker_pending_messages", **label) == 2
    rows = {row["name"]: row for row in daemon.system("GET", "/system/queue").json()["lanes"]}
    assert rows["late.openfaas-fn"]["group"] == "slow"
    assert daemon.ask("GET", "/function/late/open/late").status == 200
    for call in calls:
        daemon.wait_state(call, "DONE")
    assert len(daemon.ran("/gate/late")) == 3
    del functions["late"]
    daemon.reload()
    until(lambda: total(daemon, "gateway_service_count", function_name="late.openfaas-fn") == 0)
    assert total(daemon, "gateway_function_invocation_started", function_name="late.openfaas-fn") == 4


def test_what_functions_use(daemon: Daemon) -> None:
    """A process that is awake has memory, and used some CPU to start."""
    daemon.ask("GET", "/function/other/tell")
    until(lambda: total(daemon, "pod_memory_working_set_bytes", function_name="other") > 1e6)
    assert total(daemon, "pod_cpu_usage_seconds_total", function_name="other", namespace="openfaas-fn") > 0

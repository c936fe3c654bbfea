"""What the door proxies to: /healthz, /metrics, and what is not there."""

import pytest


async def test_healthz_when_all_is_well(ask):
    """200 and OK."""
    answer = await ask("GET", "/healthz")
    assert (answer.status, answer.body) == (200, b"OK")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"


async def test_healthz_says_why_not(ask, daemon):
    """503 with the reason in one sentence; and 200 again when it is over."""
    daemon.ill = "the disk is full"
    answer = await ask("GET", "/healthz")
    assert (answer.status, answer.body) == (503, b"the disk is full\n")
    daemon.ill = None
    assert (await ask("GET", "/healthz")).status == 200


@pytest.mark.parametrize("path", ["/healthz", "/metrics"])
@pytest.mark.parametrize("method", ["HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
async def test_known_routes_by_other_methods(ask, method, path):
    """405 with an empty body and no Allow, as OpenFaaS answers."""
    answer = await ask(method, path)
    assert (answer.status, answer.body) == (405, b"")
    assert "allow" not in answer.headers
    assert "content-type" not in answer.headers


@pytest.mark.parametrize(
    "path", ["/", "/nothing", "/healthz/", "/healthz/x", "/system/call", "/%00", "/static/x", "/*"]
)
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
async def test_unknown_routes(ask, method, path):
    """404 with OpenFaaS' line."""
    answer = await ask(method, path)
    assert (answer.status, answer.body) == (404, b"404 page not found\n")
    assert answer.headers["x-content-type-options"] == "nosniff"


async def test_metrics_is_the_page(ask, daemon):
    """The counters of the daemon, its queue, its replicas."""
    daemon.queue.add()
    meter = daemon.metrics.meter("resize.openfaas-fn")
    meter.begin()
    meter.finish(200, 0.1)
    answer = await ask("GET", "/metrics")
    assert answer.status == 200
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    lines = answer.body.decode().splitlines()
    assert 'gateway_function_invocation_total{code="200",function_name="resize.openfaas-fn"} 1.0' in lines
    assert 'gateway_service_count{function_name="resize.openfaas-fn"} 2.0' in lines
    assert 'faasd_queue_depth{function_name="resize.openfaas-fn",state="ready"} 1.0' in lines


async def test_nothing_tells_which_framework_answers(ask):
    """No Server field."""
    assert "server" not in (await ask("GET", "/healthz")).headers


async def test_a_handler_that_raises_is_a_500_and_the_log_knows(ask, daemon, caplog):
    """One sentence for the caller, the traceback for the operator, and the next request is served."""

    def broken():
        raise RuntimeError("boo")

    daemon.health = broken
    answer = await ask("GET", "/healthz")
    assert (answer.status, answer.body) == (500, b"internal error: see the daemon's log\n")
    assert "GET /healthz failed" in caplog.text
    assert "boo" in caplog.text
    assert (await ask("GET", "/metrics")).status == 200


async def test_queries_do_not_matter(ask):
    """Prometheus may add parameters."""
    assert (await ask("GET", "/metrics?x=1")).status == 200
    assert (await ask("GET", "/healthz?x=%ff")).status == 200

"""/metrics: what only the control plane knows: its own requests, replicas, and what functions use."""

from types import SimpleNamespace

import pytest
import trio

from faasd_py.config import FunctionSettings
from faasd_py.control import usage
from faasd_py.control.metrics import service
from faasd_py.control.usage import Usages
from faasd_py.runtime.contract import Replicas, Usage


async def lines(ask, prefix):
    answer = await ask("GET", "/metrics")
    return [line for line in answer.body.decode().splitlines() if line.startswith(prefix)]


def with_usage(label, answer, **settings):
    runtime = SimpleNamespace(replicas=lambda: Replicas(wanted=1, available=1), usage=answer)
    return SimpleNamespace(label=label, runtime=runtime, settings=FunctionSettings(command=["x"], **settings))


def uses(*found):
    """Answers these in turn, the last one for good."""
    left = list(found)

    async def answer():
        await trio.lowlevel.checkpoint()
        return left.pop(0) if len(left) > 1 else left[0]

    return answer


async def test_requests_by_route(ask):
    """Parameters in braces; a path and a method that nobody has are one word each, whatever is asked for."""
    assert (await ask("GET", "/system/namespaces")).status == 200
    assert (await ask("GET", "/system/calls/some-id")).status == 404
    assert (await ask("GET", "/system/calls/another-id")).status == 404
    for number in range(30):
        assert (await ask("GET", f"/system/nowhere/{number}")).status == 404
    assert (await ask("PATCH", "/system/namespaces")).status == 405
    assert (await ask("HEAD", "/system/namespaces")).status == 405
    assert (await ask("GET", "/healthz")).status == 200
    found = await lines(ask, "http_requests_total")
    counts = {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in found}
    line = 'http_requests_total{{method="{}",path="{}",status="{}"}}'
    assert counts == {
        line.format("GET", "/system/namespaces", 200): 1,
        line.format("GET", "/system/calls/{call}", 404): 2,
        line.format("GET", "other", 404): 30,
        line.format("PATCH", "other", 405): 1,
        line.format("HEAD", "/system/namespaces", 405): 1,
    }


async def test_who_may_not_is_counted(ask):
    """Those that are turned away are what one wants to see."""
    assert (await ask("GET", "/system/namespaces", who=None)).status == 401
    assert (await lines(ask, "http_requests_total"))[0].endswith('status="401"} 1.0')


async def test_what_functions_use_is_on_the_page(ask, daemon):
    """Of those whose runtime knows."""
    daemon.registry.functions()[0].runtime.usage = uses(Usage(1.5, 4096))
    assert await lines(ask, "pod_") == [
        'pod_cpu_usage_seconds_total{function_name="resize",namespace="openfaas-fn"} 1.5',
        'pod_memory_working_set_bytes{function_name="resize",namespace="openfaas-fn"} 4096.0',
    ]


async def test_seconds_of_cpu_only_grow():
    """A replica that ended took its seconds with it; one that sleeps uses no memory."""
    usages = Usages()
    answers = uses(Usage(5, 100), Usage(7, 120), Usage(1, 50), None, Usage(2, 60), Usage(3, 70))
    one = with_usage("f.ns", answers)
    seen = [(await usages.ask([one]))["f.ns"] for _ in range(6)]
    assert [found.cpu_seconds for found in seen] == [5, 7, 8, 8, 10, 11]
    assert [found.memory_bytes for found in seen] == [100, 120, 50, 0, 60, 70]


async def test_who_does_not_know_is_left_out():
    """Never heard of; and gone functions are forgotten."""
    usages = Usages()
    silent = SimpleNamespace(label="url.ns", runtime=SimpleNamespace())
    assert await usages.ask([silent, with_usage("none.ns", uses(None))]) == {}
    assert await usages.ask([with_usage("f.ns", uses(Usage(1, 1)))]) == {"f.ns": Usage(1, 1)}
    assert await usages.ask([]) == {}
    assert not usages._last


async def test_who_does_not_answer_holds_up_nobody(autojump_clock):
    """It is shown as last time; the others are new."""
    usages = Usages()
    stuck = with_usage("stuck.ns", uses(Usage(3, 3)))
    others = [with_usage(f"f{n}.ns", uses(Usage(n, n), Usage(n + 1, n))) for n in range(100)]
    await usages.ask([stuck, *others])
    stuck.runtime.usage = trio.sleep_forever
    begun = trio.current_time()
    found = await usages.ask([stuck, *others])
    assert trio.current_time() - begun == pytest.approx(usage.WITHIN)
    assert found["stuck.ns"] == Usage(3, 3)
    assert found["f99.ns"].cpu_seconds == 100


@pytest.mark.parametrize(
    ("labels", "least", "target"),
    [
        ({}, 1, None),
        ({"com.openfaas.scale.min": "3", "com.openfaas.scale.target": " 50 "}, 3, 50),
        ({"com.openfaas.scale.min": "many", "com.openfaas.scale.target": "-1"}, 1, None),
        ({"com.openfaas.scale.min": "9" * 30}, 1, None),
    ],
)
def test_figures_from_labels(labels, least, target):
    """What cannot be read counts as not given."""
    figures = service(with_usage("f.ns", None, labels=labels), None)
    assert (figures.least, figures.target, figures.cpu_seconds) == (least, target, None)

"""/system/alert: what Alertmanager sends, and what becomes of the functions that it names."""

import json
from types import SimpleNamespace

import pytest

from faasd_py.config import FunctionSettings
from faasd_py.config.settings import ReplicaSettings
from faasd_py.core.errors import BadRequest, NotFound, StoreFailed
from faasd_py.runtime.contract import Replicas

WEBHOOK = {
    "version": "4",
    "groupKey": "{}:{}",
    "status": "firing",
    "receiver": "scale-up",
    "groupLabels": {"alertname": "APIHighInvocationRate"},
    "externalURL": "http://prometheus.lan:9093",
    "truncatedAlerts": 0,
}


class Deployer:
    """Finds functions, and scales them."""

    def __init__(self):
        self.known, self.scaled, self.failure = {}, [], None

    def add(self, name, wanted=1, largest=1, smallest=1, **labels):
        settings = FunctionSettings(
            command=["x"],
            labels={f"com.openfaas.scale.{key}": value for key, value in labels.items()},
            replicas=ReplicaSettings(min=smallest, max=largest),
        )
        runtime = SimpleNamespace(replicas=lambda: Replicas(wanted=wanted, available=wanted))
        label = name if "." in name else f"{name}.openfaas-fn"
        self.known[label] = SimpleNamespace(label=label, settings=settings, runtime=runtime)

    def find(self, service, namespace):
        label = service if "." in service else f"{service}.openfaas-fn"
        if label not in self.known:
            raise NotFound(f"function {label} not found")
        return self.known[label]

    async def scale(self, service, namespace, wanted):
        if self.failure:
            raise self.failure
        self.scaled.append((service, wanted))


@pytest.fixture
def deployer(daemon):
    daemon.deployer = Deployer()
    return daemon.deployer


def webhook(*alerts, **more):
    """Alerts of `(status, function)`, as JSON."""
    found = [
        {
            "status": status,
            "labels": {"function_name": name},
            "annotations": {},
            "startsAt": "2027-01-01T00:00:00Z",
        }
        for status, name in alerts
    ]
    return json.dumps(WEBHOOK | {"alerts": found} | more)


async def test_firing_and_resolved(ask, admin, deployer):
    """A part of the most is added, up to the most; resolved goes back to the fewest; names have their namespace or not."""
    deployer.add("up", wanted=1, max="20")
    deployer.add("full.dev", wanted=19, max="20", factor="50")
    deployer.add("down", wanted=7, min="2", max="20")
    body = webhook(("firing", "up"), ("firing", "full.dev"), ("resolved", "down.openfaas-fn"))
    for socket in (ask, admin):
        answer = await socket("POST", "/system/alert", body)
        assert (answer.status, answer.body) == (200, b"")
    assert deployer.scaled == 2 * [("up.openfaas-fn", 3), ("full.dev", 20), ("down.openfaas-fn", 2)]


async def test_what_is_so_already_is_not_asked_for(ask, deployer):
    """At the most, at the fewest; also a function that has no replicas to scale."""
    deployer.add("most", wanted=5, max="5")
    deployer.add("fewest", wanted=1)
    deployer.add("fork")
    body = webhook(("firing", "most"), ("resolved", "fewest"), ("firing", "fork"))
    assert (await ask("POST", "/system/alert", body)).status == 200
    assert deployer.scaled == []


async def test_every_alert_is_heeded(ask, deployer):
    """What went wrong is told by its number, a line each; the others are done."""
    deployer.add("f", wanted=1, max="10")
    deployer.add("odd", factor="0")
    body = webhook(("firing", "gone"), ("firing", "f"), ("firing", ""), ("firing", "odd"))
    answer = await ask("POST", "/system/alert", body)
    assert answer.status == 500
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.body.decode().splitlines() == [
        "[0] function gone.openfaas-fn not found",
        "[2] the alert has no label function_name",
        "[3] com.openfaas.scale.factor: expected a whole number from 1 to 100, got 0",
    ]
    assert deployer.scaled == [("f.openfaas-fn", 2)]


@pytest.mark.parametrize("failure", [BadRequest("no replicas"), StoreFailed("the disk is full")])
async def test_what_the_deployer_refuses(ask, deployer, failure):
    """Is told as it says it."""
    deployer.add("f", max="10")
    deployer.failure = failure
    answer = await ask("POST", "/system/alert", webhook(("firing", "f")))
    assert (answer.status, answer.body) == (500, f"[0] {failure}\n".encode())


@pytest.mark.parametrize(
    "body",
    [b"{", b"[]", b'"x"', b'{"alerts": 5}', b'{"alerts": [{"labels": {"a": 1}}]}', b"\xff", b"[" * 100_000],
)
async def test_bad_bodies(ask, deployer, body):
    """One line, the same as in OpenFaaS."""
    answer = await ask("POST", "/system/alert", body)
    assert (answer.status, answer.body) == (400, b"Unable to parse alert, bad format.\n")


async def test_no_body(ask, deployer):
    """Has a line of its own."""
    answer = await ask("POST", "/system/alert", b"")
    assert (answer.status, answer.body) == (400, b"Unable to read alert.\n")


@pytest.mark.parametrize("alerts", [None, []])
async def test_no_alerts(ask, deployer, alerts):
    """Nothing is to be done."""
    assert (await ask("POST", "/system/alert", json.dumps({"alerts": alerts}))).status == 200


async def test_the_status_of_all(ask, deployer):
    """Counts for alerts that have none of their own."""
    deployer.add("f", max="10")
    body = json.dumps(WEBHOOK | {"alerts": [{"labels": {"function_name": "f"}}]})
    assert (await ask("POST", "/system/alert", body)).status == 200
    assert deployer.scaled == [("f.openfaas-fn", 2)]


async def test_who_may(ask, deployer):
    """Operators only."""
    assert (await ask("POST", "/system/alert", webhook(), who=None)).status == 401
    assert (await ask("GET", "/system/alert")).status == 405

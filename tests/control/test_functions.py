"""`/system/functions` and its neighbours over HTTP, on both sockets: what faas-cli and go-sdk need (wire contract §1.2 to §1.4)."""

from __future__ import annotations

from contextlib import asynccontextmanager

import msgspec
import pytest
import trio

from faasd_py.config import FunctionSettings
from faasd_py.core.errors import ConfigError
from faasd_py.deploy.deployer import Deployer
from faasd_py.deploy.deployments import Deployments
from faasd_py.deploy.namespaces import Namespace
from faasd_py.observe.events import Events
from faasd_py.runtime.contract import Replicas
from faasd_py.runtime.registry import open_registry
from tests.runtime.places import Log, eventually

SENT = {
    "service": "f",
    "image": "cat:1",
    "namespace": "",
    "envProcess": "cat -n",
    "envVars": {"A": "1"},
    "constraints": ["node.role == any"],
    "secrets": [],
    "labels": {"team": "x"},
    "annotations": {"topic": "y"},
    "limits": {"memory": "128Mi", "cpu": "100m", "nvidia.com/gpu": "1"},
    "requests": {"memory": "64Mi"},
    "readOnlyRootFilesystem": False,
    "network": "func_functions",
    "registryAuth": None,
}


class Fleet:
    """A mode that does as it is told."""

    def __init__(self):
        self.failure, self.scaled, self.up = None, [], 0
        self.open_gate = trio.Event()
        self.open_gate.set()

    @asynccontextmanager
    async def open(self, site):
        await self.open_gate.wait()
        if self.failure:
            raise self.failure
        run = Run(self, site)
        self.up += 1
        yield run
        self.up -= 1


class Run:
    def __init__(self, fleet, site):
        self.fleet, self.site, self.wanted = fleet, site, 1
        self.used = 0.0

    async def invoke(self, invocation, reply):
        await reply.answer(200, b"", b"")

    def replicas(self):
        return Replicas(wanted=self.wanted, available=self.wanted)

    def scale(self, wanted):
        self.wanted = wanted
        self.fleet.scaled.append(wanted)

    async def usage(self):
        self.used += 0.05
        return Usage(self.used, 4096)


class Usage(msgspec.Struct):
    cpu_seconds: float
    memory_bytes: int


class Plain(Run):
    scale = usage = None

    def __getattribute__(self, name):
        if name in {"scale", "usage"}:
            raise AttributeError(name)
        return super().__getattribute__(name)


@pytest.fixture
def fleet():
    return Fleet()


@pytest.fixture
async def daemon(daemon, fleet, tmp_path_factory):
    """A house with a real registry and a real deployer; `kept` is what is on disk."""
    state = tmp_path_factory.mktemp("house")

    @asynccontextmanager
    async def plain(site):
        yield Plain(fleet, site)

    async with open_registry(
        {"fork": plain, "fleet": fleet.open},
        namespace="openfaas-fn",
        directory=state / "run",
        secrets=daemon.secrets.directory,
        log_for=lambda label: Log(),
        meter_for=daemon.metrics.meter,
        clock=lambda: 1_700_000_000.0,
    ) as registry:
        await registry.apply({"own": FunctionSettings(command=["cat"], labels={"l": "1"})})
        daemon.events = Events()
        daemon.told = []
        daemon.events.subscribe(daemon.told.append, "test")
        daemon.registry = registry
        daemon.kept = Deployments(state / "functions")
        daemon.deployer = Deployer(
            registry=registry,
            deployments=daemon.kept,
            namespaces=daemon.namespaces,
            secrets=daemon.secrets,
            images={"cat:*": FunctionSettings(mode="fleet"), "fork:*": FunctionSettings(command=["cat"])},
            events=daemon.events,
            clock=lambda: 1_700_000_001.5,
        )
        await daemon.namespaces.create(Namespace(name="dev", labels={"openfaas": "1"}))
        yield daemon


@pytest.fixture(params=["ask", "admin"])
def system(request, daemon, ask, admin):
    """Both sockets, JSON in."""

    async def one(method, target, body=None, raw=None):
        given = raw if raw is not None else None if body is None else msgspec.json.encode(body)
        return await {"ask": ask, "admin": admin}[request.param](method, target, given)

    return one


def said(answer):
    """A refusal: its status and its line; it is as Go's http.Error has it."""
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.body.endswith(b"\n")
    assert answer.body.count(b"\n") == 1
    return answer.status, answer.body.decode().strip()


async def test_what_was_sent_comes_back(system, daemon):
    """Field by field; what is zero is left out, labels, annotations and createdAt never are."""
    answer = await system("POST", "/system/functions", SENT)
    assert (answer.status, answer.body) == (202, b"")
    daemon.metrics.meter("f.openfaas-fn").begin()
    one = (await system("GET", "/system/function/f")).json
    assert one == {
        "name": "f",
        "namespace": "openfaas-fn",
        "image": "cat:1",
        "envProcess": "cat -n",
        "envVars": {"A": "1"},
        "constraints": ["node.role == any"],
        "secrets": [],
        "labels": {"team": "x"},
        "annotations": {"topic": "y"},
        "limits": {"memory": "128Mi", "cpu": "100m", "nvidia.com/gpu": "1"},
        "requests": {"memory": "64Mi"},
        "createdAt": "2023-11-14T22:13:21.500Z",
        "invocationCount": 1,
        "replicas": 1,
        "availableReplicas": 1,
        "mode": "fleet",
        "origin": "deployed",
        "inflight": 1,
    }
    assert one in (await system("GET", "/system/functions")).json


async def test_the_least_that_may_be_sent(system):
    """Nulls are as good as nothing."""
    least = {
        "service": "f",
        "image": "cat:1",
        "labels": None,
        "annotations": None,
        "limits": None,
        "envVars": None,
    }
    assert (await system("POST", "/system/functions", least)).status == 202
    one = (await system("GET", "/system/function/f")).json
    assert one["labels"] == one["annotations"] == {}
    assert (
        not {"envVars", "limits", "secrets", "invocationCount", "usage", "readOnlyRootFilesystem"}
        & one.keys()
    )


async def test_the_list(system):
    """config.toml's have an empty image; each namespace has its own, `*` has all."""
    await system("POST", "/system/functions", {**SENT, "namespace": "dev"})
    (own,) = (await system("GET", "/system/functions")).json
    assert (own["name"], own["image"], own["origin"], own["labels"]) == ("own", "", "config", {"l": "1"})
    assert own["createdAt"] == "2023-11-14T22:13:20.000Z"
    (dev,) = (await system("GET", "/system/functions?namespace=dev")).json
    assert (dev["name"], dev["namespace"]) == ("f", "dev")
    assert [one["name"] for one in (await system("GET", "/system/functions?namespace=*")).json] == [
        "f",
        "own",
    ]
    assert said(await system("GET", "/system/functions?namespace=no"))[0] == 400


async def test_an_empty_list(system, daemon):
    """Is `[]`."""
    answer = await system("GET", "/system/functions?namespace=dev")
    assert (answer.body, answer.headers["content-type"]) == (b"[]", "application/json")


@pytest.mark.parametrize(
    ("target", "more"),
    [
        ("/system/functions", {"namespace": "dev"}),
        ("/system/functions?namespace=dev", {}),
        ("/system/functions", {"service": "f.dev"}),
        ("/system/functions?namespace=dev", {"service": "f.dev", "namespace": "dev"}),
    ],
)
async def test_where_the_namespace_may_stand(system, daemon, target, more):
    """In the body, in the query, behind the name."""
    assert (await system("POST", target, {**SENT, **more})).status == 202
    assert daemon.registry.get(b"f.dev") is not None
    assert daemon.registry.get(b"f") is None
    for where in ("f.dev", "f?namespace=dev", "f.dev?namespace=dev"):
        assert (await system("GET", f"/system/function/{where}")).json["namespace"] == "dev"


@pytest.mark.parametrize(
    ("target", "body"),
    [
        ("/system/functions", {"functionName": "f", "namespace": "dev"}),
        ("/system/functions?namespace=dev", {"functionName": "f"}),
        ("/system/functions", {"functionName": "f.dev"}),
    ],
)
async def test_delete(system, daemon, fleet, target, body):
    """202, and it is gone from the disk too; again: 404."""
    await system("POST", "/system/functions", {**SENT, "namespace": "dev"})
    assert (await system("DELETE", target, body)).status == 202
    assert daemon.registry.get(b"f.dev") is None
    assert daemon.kept.look() == []
    await eventually(lambda: fleet.up == 0)
    assert said(await system("DELETE", target, body)) == (404, "function f.dev not found")


async def test_put(system, daemon):
    """404 when it is not there, for faas-cli then POSTs; 202 when it is, and createdAt stays."""
    assert said(await system("PUT", "/system/functions", SENT)) == (404, "function: f.openfaas-fn not found")
    await system("POST", "/system/functions", SENT)
    daemon.deployer._clock = lambda: 2_000_000_000.0
    assert (await system("PUT", "/system/functions", {**SENT, "labels": {"new": "1"}})).status == 202
    one = (await system("GET", "/system/function/f")).json
    assert (one["labels"], one["createdAt"]) == ({"new": "1"}, "2023-11-14T22:13:21.500Z")
    assert (await system("POST", "/system/functions", {**SENT, "labels": {"again": "1"}})).status == 202
    assert daemon.kept.look()[0].sent.labels == {"again": "1"}
    assert [event["event"] for event in daemon.told] == [
        "function.deployed", "function.updated", "function.updated",
    ]  # fmt: skip


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
async def test_configs_functions_are_read_only(system, method):
    """409 with the reason, whatever is asked."""
    body = {**SENT, "service": "own", "functionName": "own"}
    assert said(await system(method, "/system/functions", body)) == (
        409,
        "function own.openfaas-fn is one of config.toml's: it is changed there, not here",
    )


@pytest.mark.parametrize(
    ("more", "line"),
    [
        ({"namespace": "no"}, "namespace not valid: there is no namespace 'no'"),
        ({"namespace": "../dev"}, "namespace not valid: there is no namespace '../dev'"),
        ({"service": "f.openfaas-fn", "namespace": "dev"}, "the name 'f.openfaas-fn' is of another namespace than 'dev'"),
        ({"secrets": ["token"]}, "unable to find secret: token"),
        ({"secrets": ["../../x"]}, "unable to find secret: ../../x"),
        ({"image": "no:1"}, "function f.openfaas-fn: image: nothing here runs 'no:1': name it in [images] of config.toml, or"),
        ({"image": ""}, "function f.openfaas-fn: image: the deployment names none"),
        ({"limits": {"memory": "much"}}, "function f.openfaas-fn: limits: expected a quantity of memory like"),
    ],
)  # fmt: skip
async def test_what_cannot_be_deployed(system, daemon, more, line):
    """400 with one line; nothing is kept."""
    status, text = said(await system("POST", "/system/functions", {**SENT, **more}))
    assert status == 400
    assert text.startswith(line)
    assert daemon.kept.look() == []
    assert daemon.registry.deployments() == []


async def test_observers_hear_of_what_is_refused(system, daemon):
    """With the sentence that the caller gets; what only cannot be found is nobody's business."""
    assert said(await system("PUT", "/system/functions", SENT))[0] == 404
    for method in ("POST", "PUT"):
        _, line = said(await system(method, "/system/functions", {**SENT, "image": "no:1"}))
        await system("POST", "/system/functions", SENT)
        refused = [event for event in daemon.told if event["event"] == "function.refused"]
        facts = {"function": "f.openfaas-fn", "image": "no:1", "update": method == "PUT", "reason": line}
        assert {key: refused[-1][key] for key in facts} == facts
    assert len(refused) == 2


@pytest.mark.parametrize(
    "name", ["", "../../etc/passwd", "a/b", "-a", "a b", "x" * 64, "ü", "a\n", ".", "..", "a.b.dev"]
)
async def test_names_that_are_none(system, daemon, name):
    """400 everywhere: a name is a file's."""
    assert said(await system("POST", "/system/functions", {**SENT, "service": name}))[0] == 400
    assert said(await system("PUT", "/system/functions", {**SENT, "service": name}))[0] == 400
    assert said(await system("DELETE", "/system/functions", {"functionName": name}))[0] == 400
    assert daemon.kept.look() == []


@pytest.mark.parametrize(
    "raw", [b"", b"{", b"[]", b"\xff", b'{"service": 3}', b'{"service": "f", "labels": {"a": 1}}']
)
@pytest.mark.parametrize(
    ("method", "target"),
    [("POST", "/system/functions"), ("PUT", "/system/functions"), ("DELETE", "/system/functions"),
     ("POST", "/system/scale-function/own")],
)  # fmt: skip
async def test_bodies_that_cannot_be_read(system, method, target, raw):
    """400 with a sentence; an empty one is asked for."""
    status, line = said(await system(method, target, raw=raw))
    assert status == 400
    assert raw or line == "expected a body"


async def test_one_that_cannot_be_opened(system, daemon, fleet):
    """400 with the reason; the version before stays in force, here and on disk."""
    await system("POST", "/system/functions", SENT)
    fleet.failure = ConfigError("functions.f.command: there is no program 'x' that can be run")
    refused = await system("PUT", "/system/functions", {**SENT, "labels": {"new": "1"}})
    assert said(refused) == (400, "function f.openfaas-fn: command: there is no program 'x' that can be run")
    assert (await system("GET", "/system/function/f")).json["labels"] == {"team": "x"}
    assert daemon.kept.look()[0].sent.labels == {"team": "x"}


async def test_a_disk_that_is_full(system, daemon, monkeypatch):
    """500 with the reason; nothing has changed."""
    await system("POST", "/system/functions", SENT)

    def full(path, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("faasd_py.deploy.files.write", full)
    refused = await system("PUT", "/system/functions", {**SENT, "labels": {"new": "1"}})
    assert said(refused) == (500, "function f.openfaas-fn cannot be kept: No space left on device")
    assert said(await system("POST", "/system/scale-function/f", {"replicas": 2}))[0] == 500
    one = (await system("GET", "/system/function/f")).json
    assert (one["labels"], one["replicas"]) == ({"team": "x"}, 1)


async def test_a_secret_that_is_there(system, daemon):
    """Of the function's own namespace."""
    await daemon.secrets.create("token", "dev", b"s")
    wanted = {**SENT, "secrets": ["token"]}
    assert said(await system("POST", "/system/functions", wanted)) == (400, "unable to find secret: token")
    assert (await system("POST", "/system/functions?namespace=dev", wanted)).status == 202
    assert (await system("GET", "/system/function/f.dev")).json["secrets"] == ["token"]
    assert daemon.registry.get(b"f.dev").settings.secrets == ["token"]


async def test_unknown_functions(system):
    """404 with a line."""
    assert said(await system("GET", "/system/function/no")) == (404, "function no.openfaas-fn not found")
    assert said(await system("GET", "/system/function/no?namespace=dev")) == (
        404,
        "function no.dev not found",
    )
    scale = await system("POST", "/system/scale-function/no", {"serviceName": "no", "replicas": 2})
    assert said(scale) == (404, "function no.openfaas-fn not found")
    assert said(await system("GET", "/system/function/x?namespace=no"))[0] == 400


async def test_scale(system, daemon, fleet):
    """202; it is asked for at once, kept with the deployment, and outlives an update."""
    await system("POST", "/system/functions", {**SENT, "namespace": "dev"})
    asked = {"serviceName": "f", "replicas": 3, "namespace": "dev"}
    assert (await system("POST", "/system/scale-function/f", asked)).status == 202
    assert fleet.scaled == [3]
    assert (await system("GET", "/system/function/f.dev")).json["replicas"] == 3
    assert daemon.kept.look()[0].replicas == 3
    await system("PUT", "/system/functions", {**SENT, "namespace": "dev", "labels": {}})
    assert daemon.kept.look()[0].replicas == 3
    assert (await system("POST", "/system/scale-function/f?namespace=dev", {"replicas": 0})).status == 202
    one = (await system("GET", "/system/function/f.dev")).json
    assert "replicas" not in one
    assert "availableReplicas" not in one
    assert daemon.told[-1] == daemon.told[-1] | {
        "event": "function.scaled",
        "function": "f.dev",
        "replicas": 0,
    }


async def test_what_has_no_replicas(system):
    """1 is what there is; another number is refused."""
    assert (await system("POST", "/system/scale-function/own", {"replicas": 1})).status == 202
    refused = await system("POST", "/system/scale-function/own", {"replicas": 2})
    assert said(refused) == (400, "function own.openfaas-fn: mode 'fork' has no replicas to scale")
    for replicas in (-1, 1.5, "2", None):
        assert said(await system("POST", "/system/scale-function/own", {"replicas": replicas}))[0] == 400


async def test_usage(system):
    """In thousandths of a core, only when it is asked for; zeros where nothing can be told."""
    await system("POST", "/system/functions", SENT)
    assert "usage" not in (await system("GET", "/system/function/f?usage=0")).json
    usage = (await system("GET", "/system/function/f?usage=1")).json["usage"]
    assert 0 < usage["cpu"] <= 250
    assert usage["totalMemoryBytes"] == 4096
    assert (await system("GET", "/system/function/own?usage=true")).json["usage"] == {}


async def test_info(system):
    """Nothing in it is null."""
    info = (await system("GET", "/system/info")).json
    assert info["provider"]["provider"] == "faasd-py"
    assert info["version"]["release"] == info["provider"]["version"]["release"]
    assert info["arch"] in {"amd64", "arm64", "arm", "386"}
    assert None not in [*info.values(), *info["provider"].values(), *info["version"].values()]


async def test_who_hangs_up_is_served_all_the_same(served, daemon, fleet):
    """What was begun is ended."""
    fleet.open_gate, body = trio.Event(), msgspec.json.encode(SENT)
    async with await trio.open_unix_socket(served / "admin.sock") as wire:
        head = b"POST /system/functions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
        await wire.send_all(head + body)
        await eventually(lambda: daemon.deployer.in_use("openfaas-fn") and daemon.deployer._coming)
    await eventually(lambda: not daemon.registry.deployments())
    fleet.open_gate.set()
    await eventually(lambda: daemon.registry.get(b"f") is not None)
    assert daemon.kept.look()[0].label == "f.openfaas-fn"


async def test_a_namespace_being_deployed_to_stays(system, daemon, fleet):
    """It cannot be removed under a function's feet."""
    fleet.open_gate = trio.Event()
    mark = {"name": "dev", "labels": {"openfaas": "1"}}
    async with trio.open_nursery() as nursery:
        nursery.start_soon(system, "POST", "/system/functions?namespace=dev", SENT)
        await eventually(lambda: daemon.deployer.in_use("dev"))
        refused = await system("DELETE", "/system/namespace/dev", mark)
        assert said(refused) == (409, "a function is being deployed in namespace dev")
        fleet.open_gate.set()
    assert said(await system("DELETE", "/system/namespace/dev", mark)) == (
        409,
        "namespace dev has functions: f",
    )


@pytest.mark.parametrize("target", ["/system/functions", "/system/function/own", "/system/info"])
@pytest.mark.parametrize("method", ["HEAD", "PATCH", "OPTIONS"])
async def test_wrong_methods(system, target, method):
    """405 without a body."""
    answer = await system(method, target)
    assert (answer.status, answer.body) == (405, b"")

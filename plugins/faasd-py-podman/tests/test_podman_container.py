"""One container, really: what it may, what it may not, how it is reached, told to end, and what it leaves."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
from pathlib import Path

import pytest
import trio

from faasd_py.api import ConfigError, ConnectFailed, FunctionUnavailable, Size
from faasd_py.config import LimitSettings
from faasd_py_podman.image import make_plan, open_container
from faasd_py_podman.rest import PodmanError

from .conftest import PATIENCE, eventually, files, inside, network
from .store import SUBJECT_IMAGE

TRY = """
def tried(act):
    try:
        return act() or "done"
    except OSError as error:
        return type(error).__name__
"""


@pytest.fixture
def listener():
    """Somebody on this box's loopback, whom a function should not reach; the connections that came."""
    came = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept():
            while True:
                try:
                    sock, _ = server.accept()
                except OSError:
                    return
                came.append(sock)

        threading.Thread(target=accept, daemon=True).start()
        yield server.getsockname()[1], came
        server.shutdown(socket.SHUT_RDWR)


async def test_it_is_reached_without_a_network_and_reaches_nobody(box, listener):
    """No interface but its own loopback; neither this box's ports nor the world beyond."""
    port, came = listener
    async with box.container() as container:
        seen = json.loads(
            await inside(
                container,
                TRY
                + f"""
import json, os, socket
def dial(*address):
    return tried(lambda: socket.create_connection(address, timeout=5))
result = json.dumps([
    sorted(name for _, name in socket.if_nameindex()), dial("127.0.0.1", {port}), dial("192.0.2.1", 80), dial("10.0.0.1", 53),
])
""",
            )
        )
    assert seen == [["lo"], "ConnectionRefusedError", "OSError", "OSError"]
    assert came == []


async def test_a_network_is_joined_by_name(box):
    """Then it is reached at its address there, and may reach out; a network that there is not is said before."""
    box.store.podman("network", "create", "outside")
    try:
        async with box.podman(network="outside") as podman:
            async with box.container(podman) as container:
                seen = await inside(
                    container, "import socket; result = sorted(name for _, name in socket.if_nameindex())"
                )
            assert seen == "['eth0', 'lo']"
    finally:
        box.store.podman("network", "rm", "--force", "outside")
    async with box.podman(functions={"f.fns": {"network": "nowhere"}}) as podman:
        with pytest.raises(ConfigError, match=r"runtimes\.podman\.network: podman has no network 'nowhere'"):
            await make_plan(box.site(podman))


async def test_dialling_leaves_this_process_where_it_is(box):
    """Every thread of ours but one is in the network that it was in; sockets made here are of that network."""
    before = network("self")
    async with box.container() as container:
        await inside(container, "result = 1")
        tasks = [task.name for task in Path("/proc/self/task").iterdir()]
        assert [network(f"self/task/{task}") == before for task in tasks].count(False) == 1
        assert network("self") == before
        assert await trio.to_thread.run_sync(network, "thread-self") == before


async def test_many_dial_at_once_and_some_give_up(box):
    """Fifty connections, and fifty that are cancelled on their way: no descriptor is lost."""
    async with box.container() as container:
        (await container.dial()).close()
        before = files()

        async def dial():
            (await container.dial()).close()

        async def give_up():
            with trio.CancelScope() as scope:
                scope.cancel()
                await container.dial()

        async with trio.open_nursery() as nursery:
            for _ in range(50):
                nursery.start_soon(dial)
                nursery.start_soon(give_up)
        await eventually(lambda: files() == before)


async def test_it_is_confined(box):
    """No capability, the default seccomp filter, no new privileges, only its own processes."""
    async with box.container() as container:
        status = await inside(container, "result = open('/proc/self/status').read()")
        seen = dict(line.split(":\t", 1) for line in status.splitlines())
        assert {seen[f"Cap{which}"] for which in ("Inh", "Prm", "Eff", "Bnd", "Amb")} == {"0" * 16}
        assert (seen["Seccomp"], seen["NoNewPrivs"], seen["Pid"].strip()) == ("2", "1", "1")
        assert (
            await inside(container, "import os; result = [p for p in os.listdir('/proc') if p.isdigit()]")
            == "['1']"
        )


async def test_capabilities_are_given_by_the_configuration_only(box):
    """`capabilities` of the plug-in's table, for one function."""
    options = {"functions": {"f": {"capabilities": ["NET_BIND_SERVICE"]}}}
    async with box.podman(**options) as podman, box.container(podman) as container:
        status = await inside(container, "result = open('/proc/self/status').read()")
    assert "CapBnd:\t0000000000000400" in status


async def test_the_root_is_writable_until_it_is_not(box):
    """By default as the image has it; read-only, there is a /tmp of its own with a size."""
    write = (
        TRY
        + "result = tried(lambda: open('/x', 'w')), tried(lambda: open('/tmp/x', 'wb').write(bytes(1 << 20)))"
    )
    async with box.container() as container:
        assert "OSError" not in await inside(container, write)


async def test_a_read_only_root(box):
    """Nothing but /tmp can be written, and not more into it than its size."""
    async with box.podman(tmp_size="1MiB") as podman, box.container(podman, read_only_root=True) as container:
        seen = await inside(
            container,
            TRY
            + "result = [type(tried(lambda: open(p, 'w'))).__name__ for p in ('/x', '/usr/x', '/etc/x', '/tmp/x')]",
        )
        assert seen == "['str', 'str', 'str', 'TextIOWrapper']"
        large = TRY + "result = tried(lambda: open('/tmp/y', 'wb').write(bytes(2 << 20)))"
        assert await inside(container, large) == "OSError"


async def test_environment_hostname_and_labels(box):
    """What the function is told, and what podman is told of it."""
    settings = {
        "environment": {"fprocess": "cat", "write_debug": "true"},
        "labels": {"com.openfaas.scale.min": "1"},
        "annotations": {"topic": "a.b"},
        "working_directory": "/tmp",
    }
    async with box.podman() as podman, box.container(podman, **settings) as container:
        seen = json.loads(
            await inside(
                container,
                "import json, os, socket; result = json.dumps([dict(os.environ), socket.gethostname(), os.getcwd()])",
            )
        )
        known = (await podman.rest.ask(f"/containers/{container.name}/json"))["Config"]
    variables, hostname, directory = seen
    assert (variables["fprocess"], variables["write_debug"], variables["PORT"]) == ("cat", "true", "8080")
    assert not {"NOTIFY_SOCKET", "LISTEN_FDS", "STATE_DIRECTORY"} & variables.keys()
    assert (hostname, directory) == ("f", "/tmp")
    assert known["Labels"]["com.openfaas.scale.min"] == "1"
    assert known["Labels"]["faasd-py.function"] == "f.fns"
    assert known["Annotations"]["topic"] == "a.b"


async def test_secrets(box):
    """Files that any user in the container can read, that none can change, and that nobody outside sees."""
    (box.secrets / "token").write_text("hush")
    (box.secrets / "token").chmod(0o600)
    (box.secrets / "other").write_text("not for it")
    async with box.container(secrets=["token"], user="1234:1234") as container:
        seen = await inside(
            container,
            TRY
            + """
import os
place = "/var/openfaas/secrets"
result = os.getuid(), os.getgid(), os.listdir(place), open(place + "/token").read(), tried(lambda: open(place + "/x", "w"))
""",
        )
        assert seen == "(1234, 1234, ['token'], 'hush', 'OSError')"
        (held,) = (box.directory / "f").iterdir()
        assert held.stat().st_mode & 0o777 == 0o700
    assert list((box.directory / "f").iterdir()) == []


async def test_a_secret_that_is_not_there(box):
    """Is said before anything is started."""
    async with box.podman() as podman:
        with pytest.raises(ConfigError, match=r"functions\.f\.secrets: there is no secret 'token'"):
            await make_plan(box.site(podman, secrets=["token"]))


async def test_its_lines_are_logged_as_they_come(box):
    """Both streams, with the container they are from; long lines whole, endless ones cut, the last without its end."""
    async with box.container() as container:
        await eventually(lambda: "listening" in box.log.texts)
        await inside(
            container,
            "import sys; print('to stderr', file=sys.stderr); print('x' * 20_000); print('y' * 200_000, flush=True)\n"
            "print('no end', end='', flush=True)",
        )
        await eventually(lambda: sum(len(text) for text in box.log.texts if text.startswith("y")) == 200_000)
        name = container.name
    assert ("stderr", "to stderr", name) in box.log.lines
    assert ("stdout", "x" * 20_000, name) in box.log.lines
    assert max(map(len, box.log.texts)) < 100_000
    assert "no endtold to end" in box.log.texts
    assert {instance for _, _, instance in box.log.lines} == {name}


async def test_it_is_told_to_end_and_killed_when_it_does_not(box):
    """TERM, then KILL after kill_grace; nothing is left at podman."""
    async with box.container():
        pass
    assert box.log.texts[-1] == "told to end"
    async with box.container(number=2, image=SUBJECT_IMAGE, kill_grace=0.1):
        pass
    assert box.store.containers() == []


async def test_it_ends_by_itself(box):
    """At once known, with the exit status and its last words; nobody is there to dial any more."""
    async with box.container() as container:
        await inside(
            container,
            "import threading, os, signal; print('I give up', flush=True)\n"
            "threading.Timer(0.1, lambda: os._exit(7)).start()",
        )
        with trio.fail_after(PATIENCE):
            reason = await container.wait()
        with pytest.raises(ConnectFailed):
            await container.dial()
    assert reason == "the container ended with exit status 7: listening | I give up"


async def test_it_ends_at_once(box):
    """A program that fails before it serves: its last words are the reason."""
    async with box.podman() as podman:
        plan = await make_plan(box.site(podman, image=SUBJECT_IMAGE, environment={"PORT": "none"}))
        with trio.fail_after(PATIENCE):
            with pytest.raises(FunctionUnavailable, match=r"ended with exit status 1: .*ValueError"):
                async with open_container(plan, 1) as container:
                    raise FunctionUnavailable(await container.wait())
    assert box.store.containers() == []


PROBES = {
    "memory": ("result = len(bytearray(256 << 20))", None),
    "pids": (
        """
import threading
try:
    for _ in range(50):
        threading.Thread(target=threading.Event().wait, daemon=True).start()
except RuntimeError as error:
    result = error
""",
        "can't start new thread",
    ),
    "cpu": (
        """
import time
start, used = time.monotonic(), time.process_time()
while time.monotonic() - start < 1:
    pass
result = time.process_time() - used < 0.5
""",
        "True",
    ),
}
"""By limit: a program that goes over it, and what it finds; None: its end."""


@pytest.mark.parametrize(
    ("limits", "controller"),
    [({"memory": Size(64 << 20)}, "memory"), ({"pids": 20}, "pids"), ({"cpu": 0.1}, "cpu")],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_limits_are_enforced_or_refused(box, limits, controller):
    """Where the host has the control group the limit holds; where it has not the function is refused, or runs without it."""
    program, expected = PROBES[controller]
    async with box.podman() as podman:
        if controller not in podman.host.controllers:
            with pytest.raises(
                ConfigError, match=rf"functions\.f\.limits\.{controller}: podman has no control group"
            ):
                await make_plan(box.site(podman, limits=LimitSettings(**limits)))
            limits, program, expected = {**limits, "best_effort": True}, "result = 1", "1"
        async with box.container(podman, limits=LimitSettings(**limits), kill_grace=0.0) as container:
            if expected is not None:
                assert await inside(container, program) == expected
                return
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_broken_off, container, program)
                with trio.fail_after(PATIENCE):
                    reason = await container.wait()
                nursery.cancel_scope.cancel()
            assert reason.startswith(
                "the container was killed, as is what needs more memory than limits.memory (64MiB)"
            )


async def _broken_off(container, program):
    try:
        await inside(container, program)
    except (IndexError, ValueError, trio.BrokenResourceError):
        return


async def test_open_files(box):
    """`limits.open_files` needs no control group."""
    program = "import resource; result = resource.getrlimit(resource.RLIMIT_NOFILE)"
    async with box.container(limits=LimitSettings(open_files=77)) as container:
        assert await inside(container, program) == "(77, 77)"


async def test_it_is_frozen_and_goes_on(box):
    """Nothing runs while it is paused, and nothing was lost when it goes on; usage is known meanwhile."""
    ticking = (
        "import threading, time, builtins; builtins.ticks = 0\n"
        "def tick():\n    while True:\n        builtins.ticks += 1; time.sleep(0.001)\n"
        "threading.Thread(target=tick, daemon=True).start()"
    )
    count = "import builtins; result = builtins.ticks"
    async with box.container() as container:
        await inside(container, ticking)
        before = int(await inside(container, count))
        assert await container.pause()
        frozen = await container.usage()
        assert (await container.usage()).cpu_seconds == frozen.cpu_seconds > 0
        assert frozen.memory_bytes > 1 << 20
        await container.resume()
        after = int(await inside(container, count))
        assert after > before
        assert await container.pause()
    assert box.log.texts[-1] == "told to end"
    assert box.store.containers() == []


async def test_a_start_that_is_cancelled_leaves_nothing(box):
    """At any moment."""
    async with box.podman() as podman:
        plan = await make_plan(box.site(podman))
        for number, patience in enumerate((0.005, 0.02, 0.05, 0.1, 0.2), 1):
            with trio.move_on_after(patience):
                async with open_container(plan, number):
                    await trio.sleep_forever()
        assert box.store.containers() == []
    assert list((box.directory / "f").iterdir()) == []


async def test_what_podman_refuses_is_said_in_its_words(box):
    """A user that the image does not have."""
    async with box.podman() as podman:
        plan = await make_plan(box.site(podman, user="nobody-has-this-name"))
        with pytest.raises(PodmanError, match="nobody-has-this-name"):
            async with open_container(plan, 1):
                pytest.fail("started")
    assert box.store.containers() == []


async def test_podmans_service_may_die(box):
    """Containers serve without it, and it is started again by itself."""
    async with box.podman(**box.store.options) as podman, box.container(podman) as container:
        service = await _service(podman)
        os.kill(service, signal.SIGKILL)
        assert await inside(container, "result = 1") == "1"
        await _answering(podman)
        assert await _service(podman) != service
        assert await container.usage() is not None
        assert container.name in box.store.podman("ps", "--quiet")
    assert box.store.containers() == []


async def _service(podman) -> int:
    """The pid at the other end of the socket."""
    with socket.socket(socket.AF_UNIX) as peer:
        peer.connect(podman.rest.socket)
        return int.from_bytes(peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)[:4], "little")


async def _answering(podman):
    with trio.fail_after(PATIENCE):
        while True:
            try:
                await podman.rest.call("GET", "/_ping")
            except PodmanError:
                await trio.sleep(0.02)
            else:
                return


async def test_an_earlier_lifes_containers_are_removed_and_nobody_elses(box):
    """By the daemon's id, which stays the same."""
    async with box.podman() as podman:
        identity = podman.identity
        for name, owner in (("mine", identity), ("theirs", "0123")):
            box.store.podman(
                "create", "--name", name, "--label", f"faasd-py.daemon={owner}", "localhost/function:1"
            )
    async with box.podman() as podman:
        assert podman.identity == identity
        assert box.store.containers() == ["theirs"]
    box.store.podman("rm", "--force", "theirs")

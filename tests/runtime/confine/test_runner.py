"""Confined functions as they run: each bound is tried to be broken from within."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest
import trio

from faasd_py.config import ConfineSettings, LimitSettings
from faasd_py.core.errors import FunctionUnavailable
from faasd_py.runtime.confine import host, landlock
from faasd_py.runtime.service import open_service
from tests.runtime.places import PYTHON, eventually, running, script, shell

from . import places
from .places import NOBODY, as_root

CONFINED = {"confine": ConfineSettings(read=[sys.prefix, sys.base_prefix])}


def fields(text):
    return dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)


@as_root
async def test_the_user_is_really_another(box):
    """Real, effective and saved; the user's groups and no others; HOME and USER are the user's; no way back."""
    async with box.function(shell("cat /proc/self/status; echo $HOME $USER $LOGNAME"), user="nobody") as call:
        _, text = await call()
    status = fields(text)
    assert set(status["Uid"].split()) == {str(NOBODY.pw_uid)}
    assert set(status["Gid"].split()) == {str(NOBODY.pw_gid)}
    assert status["Groups"].split() == [str(NOBODY.pw_gid)]
    assert text.endswith(f"{NOBODY.pw_dir} nobody nobody\n")
    back = script("import os\ntry: os.setuid(0)\nexcept PermissionError: print('no')")
    async with box.function(back, user=f"{NOBODY.pw_uid}:{NOBODY.pw_gid}") as call:
        assert await call() == (200, "no\n")


@pytest.mark.parametrize(
    "settings",
    [
        {"confine": ConfineSettings()},
        {"read_only_root": True},
        pytest.param({"user": "nobody"}, marks=as_root),
    ],
    ids=str,
)
async def test_no_privileges(box, settings):
    """However it is confined: no capability in any set, no_new_privs, a filter, no core dumps."""
    async with box.function(shell("cat /proc/self/status; ulimit -Hc"), **settings) as call:
        _, text = await call()
    status = fields(text)
    assert {int(status[f"Cap{kind}"], 16) for kind in ("Inh", "Prm", "Eff", "Bnd", "Amb")} == {0}
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    assert text.endswith("\n0\n")


ESCAPES = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
def tried(name, result):
    print(name, ctypes.get_errno() if result < 0 else "worked")
tried("unshare", libc.unshare(0x10000000))
tried("mount", libc.mount(b"none", b"/tmp", b"tmpfs", 0, None))
tried("ptrace", libc.ptrace(16, os.getppid(), 0, 0))
tried("setns", libc.setns(0, 0))
tried("chroot", libc.chroot(b"/tmp"))
tried("process_vm_readv", libc.process_vm_readv(os.getppid(), None, 0, None, 0, 0))
"""


async def test_system_calls(box):
    """Those by which one leaves are refused with EPERM, to root too."""
    async with box.function(script(ESCAPES), **CONFINED) as call:
        _, text = await call()
    assert {line.split()[1] for line in text.splitlines()} == {"1"}
    assert len(text.splitlines()) == 6


async def test_the_daemons_files_are_closed_to_every_confined_function(box):
    """Also without `confine`: the queue, secrets, sockets, whatever the path; but the rest is as ever."""
    (box.root / "beside").write_text("fine")
    link = box.root / "link"
    link.symlink_to(box.state)
    text = f"cat {box.state}/queue {link}/queue {box.state}/secrets/token; touch {box.run}/newer; echo x > {box.run}/new; cat {box.root}/beside"
    limits = LimitSettings(memory=1 << 30, best_effort=True)
    async with box.function(shell(text), limits=limits) as call:
        assert await call() == (200, "fine")
        await eventually(lambda: len(call.log.texts) >= 4)
    assert all("Permission denied" in line or "annot create" in line for line in call.log.texts)
    assert not (box.run / "new").exists()


async def test_without_the_wall_they_are_open(box):
    """The same function, not confined, reads them: it is the wall that holds, not the files' modes."""
    async with box.function(shell(f"cat {box.state}/queue")) as call:
        assert await call() == (200, "accepted calls")


async def test_what_confine_leaves(box):
    """The system, what is listed, /tmp; not the rest, not root's shadow, not even names."""
    for name in ("in", "out", "other"):
        (box.root / name).mkdir(mode=0o777)
        (box.root / name / "x").write_text(name)
    text = f"""cat {box.root}/in/x {box.root}/out/x
    ls {box.root}/other; cat {box.root}/other/x; cat /etc/shadow; ls /root
    echo new > {box.root}/in/x; echo new > {box.root}/out/x; echo new > /etc/faasd-test; echo new > /usr/bin/faasd-test
    f=$(mktemp) && rm $f; echo > /dev/null; echo end"""
    confine = ConfineSettings(read=[f"{box.root}/in"], write=[f"{box.root}/out"])
    async with box.function(shell(text), confine=confine) as call:
        status, said = await call()
        await eventually(lambda: len(call.log.texts) >= 7)
    assert (status, said) == (200, "inoutend\n")
    assert len([line for line in call.log.texts if "Permission denied" in line]) == 7
    assert (box.root / "out/x").read_text() == "new\n"
    assert (box.root / "in/x").read_text() == "in"


async def test_its_own_places_within_the_closed(box):
    """Settings that name a place in the state directory mean it."""
    (box.state / "data").mkdir()
    text = "echo kept > file; cat file; cat ../queue"
    limits = LimitSettings(cpu=1, best_effort=True)
    async with box.function(shell(text), working_directory=str(box.state / "data"), limits=limits) as call:
        _, said = await call()
    assert said == "exit status 1\nkept\n"
    assert (box.state / "data/file").read_text() == "kept\n"


async def test_read_only_root(box):
    """Nothing can be written but scratch; all can be read but the daemon's."""
    (box.root / "x").write_text("x")
    text = f"cat {box.root}/x; echo > {box.root}/x; echo > {box.state}/x; cat {box.state}/queue; f=$(mktemp) && echo > $f && rm $f; echo end"
    async with box.function(shell(text), read_only_root=True) as call:
        assert await call() == (200, "xend\n")
    assert (box.root / "x").read_text() == "x"


CONNECTS = """
import socket
def tried(family, address):
    try:
        with socket.socket(family) as one:
            one.settimeout(5)
            one.connect(address)
    except OSError as error:
        return error.strerror
print(tried(socket.AF_INET, ("127.0.0.1", 1)), tried(socket.AF_INET6, ("::1", 1)), tried(socket.AF_UNIX, "/tmp/none"), sep="|")
"""


async def test_no_network(box):
    """Sockets of other kinds than unix ones cannot even be made."""
    async with box.function(
        script(CONNECTS), confine=ConfineSettings(network=False, read=[sys.base_prefix])
    ) as call:
        _, text = await call()
    assert text == "Operation not permitted|Operation not permitted|No such file or directory\n"
    async with box.function(script(CONNECTS), **CONFINED) as call:
        _, text = await call()
    assert text.startswith("Connection refused|")


@pytest.mark.parametrize(
    "settings", [CONFINED, pytest.param({"user": "nobody"}, marks=as_root)], ids=["root", "nobody"]
)
async def test_secrets(box, settings):
    """It finds its own, and may read them whoever it is, and no others."""
    (box.state / "secrets/other").write_text("not yours")
    text = f"ls $SECRETS_DIR; cat $SECRETS_DIR/token; stat -c ' %a' $SECRETS_DIR/token; cat {box.state}/secrets/other"
    async with box.function(shell(text), secrets=["token"], **settings) as call:
        _, said = await call()
    assert said.removeprefix("exit status 1\n") == "token\nhush 400\n"


@pytest.mark.skipif(landlock.version() < 6, reason="signals are kept in since Linux 6.12")
async def test_signals_stay_inside(box):
    """The daemon cannot be killed by a function that is the same user."""
    text = f"kill -9 {os.getpid()}; kill -9 1; sleep 1000 & kill -9 $! && echo own"
    async with box.function(shell(text), **CONFINED) as call:
        status, said = await call()
    assert (status, said) == (200, "own\n")


async def test_the_runner_is_no_way_out(box):
    """Its memory, descriptors and environment are closed to what it starts."""
    text = "for f in mem fd/3 environ; do cat /proc/$PPID/$f > /dev/null 2>&1 && echo $f; done; ls /proc/$PPID/fd/ | head -1; echo end"
    async with box.function(shell(text), **CONFINED) as call:
        _, said = await call()
    assert said.splitlines()[-1] == "end"
    assert not {"mem", "fd/3", "environ"} & set(said.splitlines())


async def test_open_files(box):
    """Soft and hard, also under a runner."""
    text = "import os\nfds = []\ntry:\n while True: fds.append(os.dup(0))\nexcept OSError as error: print(len(fds), error.strerror)"
    async with box.function(script(text), limits=LimitSettings(open_files=20), **CONFINED) as call:
        status, said = await call()
    assert status == 200
    assert said.endswith("Too many open files\n")
    assert int(said.split()[0]) < 20


async def test_bodies_and_failures_are_as_ever(box):
    """Large bodies both ways, exit statuses, signals, standard error, a directory that is not there for the user."""
    async with box.function(["/bin/cat"], **CONFINED) as call:
        body = os.urandom(500_000).hex().encode()
        assert await call(body) == (200, body.decode())
    async with box.function(shell("echo out; echo err >&2; exit 3"), **CONFINED) as call:
        assert await call() == (500, "exit status 3\nout\n")
        await eventually(lambda: call.log.texts == ["err"])
    async with box.function(shell("kill -9 $$"), **CONFINED) as call:
        assert await call() == (500, "signal: killed\n")


@as_root
async def test_a_directory_that_the_user_may_not_enter(box):
    """The call says which bound it is."""
    closed = box.root / "closed"
    closed.mkdir(mode=0o700)
    async with box.function(["/bin/pwd"], user="nobody", working_directory=str(closed)) as call:
        with pytest.raises(FunctionUnavailable, match="its working directory: Permission denied"):
            await call()


async def test_one_runner_while_the_function_is_open(box):
    """It starts with the first call, serves all, and ends with the function."""
    async with box.function(shell("echo $PPID"), **CONFINED) as call:
        assert box.machinery.helpers == []
        parents = {await call() for _ in range(3)}
        assert parents == {(200, f"{box.machinery.helpers[0]}\n")}
        [runner] = box.machinery.helpers
    assert box.machinery.helpers == []
    assert not running(runner)


async def test_a_runner_that_dies(box):
    """Its calls fail with the reason, and the next call has another."""
    async with box.function(
        shell("read x; case $x in slow) sleep 1000;; esac; echo done"), **CONFINED
    ) as call:
        assert await call(b"quick\n") == (200, "done\n")
        [old] = box.machinery.helpers
        async with trio.open_nursery() as nursery:

            async def slow():
                with pytest.raises(FunctionUnavailable, match="has ended"):
                    await call(b"slow\n")

            nursery.start_soon(slow)
            await eventually(lambda: box.machinery.children)
            os.kill(old, signal.SIGKILL)
        assert await call(b"quick\n") == (200, "done\n")
        assert box.machinery.helpers != [old]


async def test_one_that_cannot_be_confined_is_not_run(box, monkeypatch):
    """Fail closed: the call says what was missing, and nothing was started."""
    marker = box.open / "ran"
    async with box.function(shell(f"touch {marker}"), **CONFINED) as call:
        monkeypatch.setattr(box.confiner, "group", lambda _: Gone())
        with pytest.raises(
            FunctionUnavailable, match="it cannot be confined: its control group: No such file"
        ):
            await call()
    assert not marker.exists()


class Gone:
    """A control group that somebody removed."""

    path = Path("/sys/fs/cgroup/none/such")
    populated = False

    def kill(self):
        """Nobody is in it."""

    async def remove(self):
        """It is gone already."""


@pytest.fixture
def pidfile(box):
    """A file that functions may write to, and that a setsid'ed process tells its pid."""
    return box.open / "pid"


async def strays_of(pidfile):
    await eventually(lambda: pidfile.exists() and pidfile.read_text().endswith("\n"))
    return int(pidfile.read_text())


async def test_what_leaves_its_group_is_killed_when_the_function_rests(box, pidfile):
    """A daemon that a function makes of itself does not outlive the call."""
    daemonize = f"setsid sh -c 'echo $$ > {pidfile}; trap \"\" TERM; sleep 1000' > /dev/null 2>&1 < /dev/null & while ! test -s {pidfile}; do sleep 0.01; done; echo left"
    async with box.function(shell(daemonize), limits=LimitSettings(cpu=1, best_effort=True)) as call:
        assert await call() == (200, "left\n")
        pid = await strays_of(pidfile)
        await eventually(lambda: not running(pid))
        assert len(box.machinery.helpers) == 1


async def test_a_call_that_takes_too_long(box, pidfile):
    """What exec_timeout ends is gone with all that it started, setsid or not."""
    text = f"setsid sh -c 'echo $$ > {pidfile}; sleep 1000 & wait' & wait"
    async with box.function(
        shell(text), limits=LimitSettings(cpu=1, best_effort=True), kill_grace=0.1
    ) as call:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(call)
            pid = await strays_of(pidfile)
            nursery.cancel_scope.cancel()
        await eventually(lambda: not running(pid))


async def test_strays_that_multiply(box):
    """A chain of processes that each start the next in a session of its own, and end: it is outrun, or all is killed."""
    chain = box.open / "chain.py"
    chain.write_text(
        "import os\nfor _ in range(3000):\n    if os.fork():\n        os._exit(0)\n    os.setsid()\n"
        f"open({str(box.open / 'survived')!r}, 'w')\n"
    )
    text = f"{' '.join(PYTHON)} {chain} > /dev/null 2>&1 &"
    async with box.function(shell(text), limits=LimitSettings(cpu=1, best_effort=True)) as call:
        await call()
        await eventually(lambda: not any(str(chain) in line for line in command_lines()), within=30)
        assert (await call())[0] == 200


def command_lines():
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            yield path.read_text()
        except OSError:
            continue


SERVES = """
import http.server, os, socketserver, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        filters = open("/proc/self/status").read().split("Seccomp:")[1].split()[0]
        text = f"{os.getuid()} {filters} {os.getppid()}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)
    def log_message(self, *_): pass
    def address_string(self): return "unix"
class Unix(socketserver.UnixStreamServer): pass
path = os.environ.get("UNIX_SOCKET")
server = Unix(path, Handler) if path else http.server.HTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler)
server.serve_forever()
"""


@as_root
@pytest.mark.parametrize("unix_socket", [False, True], ids=["port", "socket"])
async def test_services(box, unix_socket):
    """Replicas are confined by one runner, and may listen where they are told to, as another user too."""
    async with box.function(
        script(SERVES), open_mode=open_service, mode="http", user="nobody", unix_socket=unix_socket
    ) as call:
        status, text = await call()
        assert status == 200
        assert text == f"{NOBODY.pw_uid} 2 {box.machinery.helpers[0]}"
    assert box.machinery.helpers == []


async def test_a_daemon_that_is_gone(box, pidfile):
    """When the line to the daemon closes, the runner ends with all that it started, sessions of their own included."""
    async with places.box() as other:
        text = f"setsid sh -c 'echo $$ > {pidfile}; sleep 1000' & wait"
        limits = LimitSettings(cpu=1, best_effort=True)
        async with other.function(shell(text), limits=limits) as call, trio.open_nursery() as nursery:
            nursery.start_soon(call)
            pid = await strays_of(pidfile)
            [runner] = other.machinery.helpers
            nursery.cancel_scope.cancel()
    assert not running(pid)
    assert not running(runner)


async def test_a_limit_of_memory_without_control_groups(box, monkeypatch):
    """best_effort: each process has so much address space and no more."""
    monkeypatch.setattr(box.confiner, "host", host.with_groups(box.confiner.host, set(), "not here"))
    monkeypatch.setattr(box.confiner, "subtree", None)
    hog = script(
        "import time; time.sleep(0.05)\ntry: bytearray(1 << 30)\nexcept MemoryError: print('refused')"
    )
    async with box.function(hog, limits=LimitSettings(memory=256 << 20, best_effort=True)) as call:
        assert await call() == (200, "refused\n")


async def test_who_is_confined_is_known_by_its_pid(box, pidfile):
    """With control groups and by descent: a function, what it left behind; not the daemon, not an unconfined one."""
    text = f"setsid sh -c 'echo $$ > {pidfile}; exec sleep 1000' & wait"
    limits = LimitSettings(cpu=1, best_effort=True)
    async with box.function(shell(text), limits=limits) as call, trio.open_nursery() as nursery:
        nursery.start_soon(call)
        pid = await strays_of(pidfile)
        subtree = box.confiner.subtree
        for box.confiner.subtree in (subtree, None):
            assert box.machinery.confines(pid)
            assert not box.machinery.confines(os.getpid())
            assert not box.machinery.confines(1)
            assert box.machinery.confines(1 << 30)
        box.confiner.subtree = subtree
        nursery.cancel_scope.cancel()

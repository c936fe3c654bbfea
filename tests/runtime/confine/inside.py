"""Limits by control groups, tried to be broken under a kernel that has them: a program, run by test_limits.py.

It prints a line for each check below: `ok NAME`, or `FAILED NAME` and the traceback.
"""

from __future__ import annotations

import inspect
import logging
import os
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path

import trio

from faasd_py.config import LimitSettings
from faasd_py.core.errors import FunctionUnavailable
from faasd_py.runtime.confine.cgroup import Group
from faasd_py.runtime.confine.confiner import open_confiner
from faasd_py.runtime.service import open_service
from tests.runtime.confine import places
from tests.runtime.places import eventually, running, shell

LOG = []
PATIENT = 30.0
PY = ("python3", "-I", "-S")
HOG = "b = bytearray(200 << 20)"


class Kept(logging.Handler):
    def emit(self, record):
        LOG.append(record.getMessage())


def group_of(box):
    """The control group of the one confined function."""
    [group] = [path for path in box.confiner.subtree.path.iterdir() if path.is_dir()]
    return group


def read(path):
    return path.read_text().strip()


async def this_kernel_has_it_all(box):
    assert [box.confiner.host.lacks(key) for key in ("memory", "cpu", "pids", "user")] == ["", "", "", ""]


async def memory(box):
    """The hog is killed and its answer says why, so do the log and the event; runner and function go on."""
    async with box.function([*PY, "-c", HOG], limits=LimitSettings(memory=16 << 20)) as call:
        assert await call() == (500, "killed: memory limit of 16MiB\n")
        [runner] = box.machinery.helpers
        assert await call() == (500, "killed: memory limit of 16MiB\n")
        assert box.machinery.helpers == [runner]
        group = group_of(box)
        assert (read(group / "memory.max"), read(group / "memory.swap.max")) == (str(16 << 20), "0")
    assert [name for name, _ in box.events] == ["function.out_of_memory"] * 2
    facts = box.events[0][1]
    assert facts.pop("pid") > 1
    assert facts == {"function": "f.openfaas-fn", "limit": "16MiB"}
    assert any("f.openfaas-fn" in line and "killed: memory limit of 16MiB" in line for line in LOG)


async def memory_of_a_grandchild(box):
    """It is said also when the shell around it lives to tell; one that copes is not blamed, nor is the next."""
    python = f"python3 -IS -c '{HOG}'"
    text = f"read mode; case $mode in dies) {python}; exit $?;; copes) {python}; exit 0;; *) exit 3;; esac"
    async with box.function(shell(text), limits=LimitSettings(memory=16 << 20)) as call:
        reason = "exit status 137, after a process of it was killed: memory limit of 16MiB\n"
        status, said = await call(b"dies\n")
        assert (status, said) == (500, reason), said
        assert (await call(b"copes\n"))[0] == 200
        assert await call(b"fails\n") == (500, "exit status 3\n")


HOLDS = """
import os, sys, time
wanted = int(sys.stdin.read())
b = bytearray(12 << 20)
open(f"{sys.argv[1]}/{os.getpid()}", "w").close()
until = time.monotonic() + 3
while len(os.listdir(sys.argv[1])) < wanted and time.monotonic() < until:
    time.sleep(0.01)
print(len(b))
"""


async def memory_is_shared_by_calls(box):
    """Two calls that fit alone do not fit together: one of them is killed."""
    meeting = box.open / "meeting"
    meeting.mkdir()
    command = [*PY, "-c", HOLDS, str(meeting)]
    async with box.function(command, limits=LimitSettings(memory=24 << 20)) as call:
        assert (await call(b"1"))[0] == 200
        results = []

        async def one():
            results.append(await call(b"3"))

        async with trio.open_nursery() as nursery:
            for _ in range(2):
                nursery.start_soon(one)
    assert (500, "killed: memory limit of 24MiB\n") in results, results


async def memory_on_disk(box):
    """What a function writes to /dev/shm or a tmpfs is its memory, too."""
    text = "head -c 30000000 /dev/zero > /mnt/big; s=$?; rm -f /mnt/big; exit $s"
    async with box.function(shell(text), limits=LimitSettings(memory=16 << 20)) as call:
        status, said = await call()
    assert status == 500
    assert "memory limit of 16MiB" in said, said


async def pids(box):
    """A fork bomb gets so far and no farther; the daemon and the next call are well."""
    bomb = "import os\nn = 0\ntry:\n while True:\n  if not os.fork(): os.pause() if hasattr(os, 'pause') else __import__('signal').pause()\n  n += 1\nexcept OSError as error: print(n, error.strerror, flush=True)"
    async with box.function([*PY, "-c", bomb], limits=LimitSettings(pids=12)) as call:
        for _ in range(1):
            assert await call() == (200, "11 Resource temporarily unavailable\n")
            await eventually(lambda: read(group_of(box) / "pids.current") == "1", PATIENT)
        assert read(group_of(box) / "pids.max") == "13"


async def a_real_fork_bomb(box):
    """Each process forks for ever, in sessions of their own: exec_timeout ends the call, and then all of them."""
    bomb = "import os\nwhile True:\n try:\n  if not os.fork(): os.setsid()\n except OSError: pass"
    async with box.function([*PY, "-c", bomb], limits=LimitSettings(pids=30), kill_grace=0.2) as call:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(call)
            await eventually(
                lambda: box.machinery.children and "max 0" not in read(group_of(box) / "pids.events"), PATIENT
            )
            nursery.cancel_scope.cancel()
        await eventually(
            lambda: not box.machinery.helpers or read(group_of(box) / "pids.current") == "1", PATIENT
        )
    async with box.function(["true"], limits=LimitSettings(pids=30)) as call:
        assert (await call())[0] == 200


async def cpu(box):
    """A fifth of a core: a loop is stopped again and again."""
    loop = "import time\nwhile time.process_time() < 0.15: pass\nprint('done')"
    async with box.function([*PY, "-c", loop], limits=LimitSettings(cpu=0.2)) as call:
        assert await call() == (200, "done\n")
        group = group_of(box)
        assert read(group / "cpu.max") == "20000 100000"
        stat = dict(line.split() for line in read(group / "cpu.stat").splitlines())
        assert int(stat["nr_throttled"]) > 2, stat
        seconds, size = Group(group).usage()
        assert seconds > 0.1
        assert size > 0


async def it_cannot_lift_its_limits(box):
    """As another user it can neither write to its group nor leave it."""
    text = "for f in memory.max pids.max cgroup.procs; do echo max > $1/$f; done; echo $$ > $1/../cgroup.procs; echo $$ > /sys/fs/cgroup/cgroup.procs; cat /proc/self/cgroup"
    limits = LimitSettings(memory=64 << 20, pids=9)
    async with box.function(
        ["sh", "-c", text, "sh", "/sys/fs/cgroup/none"], user="nobody", limits=limits
    ) as call:
        await call()
        group = group_of(box)
    async with box.function(
        shell(text.replace("$1", str(group.parent / "function-f.openfaas-fn.2"))),
        user="nobody",
        limits=limits,
    ) as call:
        _, said = await call()
        group = group_of(box)
        assert read(group / "memory.max") == str(64 << 20)
        assert said.endswith(f"0::/{group.relative_to('/sys/fs/cgroup')}\n"), (said, call.log.texts)
        await eventually(
            lambda: len([line for line in call.log.texts if "Permission denied" in line]) == 5, PATIENT
        )


async def strays_are_killed(box):
    """A daemon that a function makes of itself goes when the function rests; so does the group with the function."""
    pidfile = box.open / "pid"
    text = f"setsid sh -c 'echo $$ > {pidfile}; trap \"\" TERM; sleep 1000' > /dev/null 2>&1 < /dev/null & while ! test -s {pidfile}; do sleep 0.01; done"
    async with box.function(shell(text), limits=LimitSettings(pids=20)) as call:
        assert (await call())[0] == 200
        pid = int(pidfile.read_text())
        await eventually(lambda: not running(pid), PATIENT)
        group = group_of(box)
    assert not group.exists()


async def a_runner_that_is_killed(box):
    """All that is in its group goes with it, sessions of their own included; the next call has a new group."""
    pidfile = box.open / "pid"
    text = f"read x; test $x = go && exit 0; setsid sh -c 'echo $$ > {pidfile}; sleep 1000' & wait"
    async with box.function(shell(text), limits=LimitSettings(pids=20)) as call:
        async with trio.open_nursery() as nursery:

            async def lost():
                try:
                    await call(b"stay\n")
                except FunctionUnavailable as error:
                    assert "has ended" in str(error)

            nursery.start_soon(lost)
            await eventually(lambda: pidfile.exists() and pidfile.read_text().endswith("\n"), PATIENT)
            old = group_of(box)
            os.kill(box.machinery.helpers[0], signal.SIGKILL)
        await eventually(lambda: not running(int(pidfile.read_text())), PATIENT)
        assert (await call(b"go\n"))[0] == 200
        await eventually(lambda: not old.exists(), PATIENT)


async def another_limit_after_a_reload(box):
    """The changed function has a group of its own; that of the old one is gone with it."""
    groups = set()
    for size in (64, 48):
        async with box.function(["true"], limits=LimitSettings(memory=size << 20)) as call:
            await call()
            group = group_of(box)
            assert read(group / "memory.max") == str(size << 20)
            groups.add(group)
    assert len(groups) == 2


async def a_service(box):
    """A replica that takes too much ends with the reason in the log, and another is started."""
    serves = (
        "import http.server, os\n"
        "class H(http.server.BaseHTTPRequestHandler):\n"
        " def do_POST(self):\n"
        "  if self.rfile.read(int(self.headers['Content-Length'])) == b'hog': b = bytearray(100 << 20)\n"
        "  self.send_response(200); self.send_header('Content-Length', '2'); self.end_headers(); self.wfile.write(b'ok')\n"
        " def log_message(self, *_): pass\n"
        "http.server.HTTPServer(('127.0.0.1', int(os.environ['PORT'])), H).serve_forever()\n"
    )
    limits = LimitSettings(memory=32 << 20)
    async with box.function([*PY, "-c", serves], open_mode=open_service, mode="http", limits=limits) as call:
        assert await call(b"fine") == (200, "ok")
        try:
            await call(b"hog")
        except FunctionUnavailable:
            pass
        else:
            raise AssertionError("the hog lives")
        await eventually(
            lambda: any("ended with killed: memory limit of 32MiB" in line for line in LOG), PATIENT
        )
        assert await call(b"fine") == (200, "ok")


DAEMON = """
import sys, trio
from pathlib import Path
from tests.runtime.confine import places
from faasd_py.config import LimitSettings
from tests.runtime.places import shell
async def main():
    async with places.box(Path(sys.argv[1])) as box:
        text = f"setsid sh -c 'echo $$ > {sys.argv[2]}; sleep 1000' & wait"
        async with box.function(shell(text), limits=LimitSettings(pids=20)) as call:
            await call()
trio.run(main)
"""


async def a_daemon_that_is_killed(box):
    """Nothing of its functions survives it, and the next daemon of that state directory finds and removes the group."""
    root, pidfile = box.open / "other", box.open / "pid"
    daemon = subprocess.Popen(
        [sys.executable, "-c", DAEMON, root, pidfile], env=os.environ | {"PYTHONPATH": str(Path.cwd())}
    )
    await eventually(lambda: pidfile.exists() and pidfile.read_text().endswith("\n"), PATIENT)
    daemon.kill()
    daemon.wait()
    await eventually(lambda: not running(int(pidfile.read_text())), PATIENT)
    with open_confiner(root / "state", []) as confiner:
        assert not [path for path in confiner.subtree.path.iterdir() if path.is_dir()]
        assert confiner.subtree.path != box.confiner.subtree.path
    assert not confiner.subtree.path.exists()


async def a_limit_that_the_kernel_refuses(box):
    """Then the function is not run."""
    async with box.function(["true"], limits=LimitSettings(pids=5)) as call:
        assert (await call())[0] == 200
    box.confiner.subtree.path.joinpath("cgroup.subtree_control").write_text("-pids")
    try:
        async with box.function(["true"], limits=LimitSettings(pids=5)) as call:
            try:
                await call()
            except FunctionUnavailable as error:
                assert "it cannot be confined" in str(error), error
            else:
                raise AssertionError("it ran")
    finally:
        box.confiner.subtree.path.joinpath("cgroup.subtree_control").write_text("+pids")


async def check(name, work):
    """Run one; whether it holds."""
    LOG.clear()
    began = time.monotonic()
    try:
        with trio.fail_after(60):
            async with places.box() as box:
                await work(box)
    except BaseException:  # noqa: BLE001
        print("FAILED", name, flush=True)
        traceback.print_exc(file=sys.stdout)
        print(*LOG, sep="\n", flush=True)
        return False
    print("ok", name, f"{time.monotonic() - began:.1f}s", flush=True)
    return True


async def main():
    """Every check, in the order in which they stand here; the exit status."""
    logging.getLogger("faasd_py").addHandler(Kept())
    here = sys.modules[__name__]
    checks = {
        name: work
        for name, work in vars(here).items()
        if inspect.iscoroutinefunction(work) and list(inspect.signature(work).parameters) == ["box"]
    }
    only = sys.argv[1:]
    results = [await check(name, work) for name, work in checks.items() if not only or name in only]
    print(len(results), "checks", flush=True)
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(trio.run(main))

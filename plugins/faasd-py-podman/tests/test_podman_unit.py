"""Containers under the shipped unit with the manual's drop-in: Debian's podman and its crun, on a kernel with one hierarchy.

In an emulated computer: hosts with control groups of both versions cannot run crun, and have no limits to show.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.house.computer import computer, why_not
from tests.house.machine import PYTHONS
from tests.house.patience import until

from .images import write_python_root

pytestmark = [
    pytest.mark.emulated,
    pytest.mark.skipif(bool(why_not()), reason=why_not() or "never"),
]

PLUGIN = Path(__file__).parents[1]
(DROP_IN,) = re.findall(r"(?ms)^```ini\n(.*?)^```$", (PLUGIN / "README.md").read_text())
SERVICE = "faasd-py.service"
CONFIG = """
plugins = ["podman"]
[auth]
enabled = false
[functions.f]
image = "localhost/function:1"
limits = { memory = "64MiB", cpu = 0.25, pids = 20 }
[functions.other]
image = "localhost/function:1"
user = "1234"
read_only_root = true
secrets = ["token"]
"""
BOMB = """
import os, time
result = 0
try:
    for _ in range(100):
        if os.fork() == 0:
            time.sleep(60)
            os._exit(0)
        result += 1
except BlockingIOError:
    pass
"""


@pytest.fixture(scope="module", params=sorted(PYTHONS))
def box(request, tmp_path_factory):
    """The computer, with the service up and both functions ready."""
    tar = tmp_path_factory.mktemp("image") / "root.tar"
    write_python_root(tar)
    directory = tmp_path_factory.mktemp("computer") / "c"
    with computer(directory, request.param, PLUGIN, files={"/srv/root.tar": tar}) as one:
        command = 'CMD ["/usr/bin/python3", "-I", "-S", "/function.py"]'
        one.run(
            "podman", "import", f"--change={command}", "/srv/root.tar", "localhost/function:1", timeout=200
        )
        one.write("/etc/faasd-py/credentials/token", "hush", 0o600)
        one.write("/etc/faasd-py/config.toml", CONFIG)
        one.write(f"/etc/systemd/system/{SERVICE}.d/override.conf", DROP_IN)
        one.systemctl("daemon-reload")
        one.systemctl("start", SERVICE)
        for name in ("f", "other"):
            assert call(one, name, "result = 1") == (200, "1"), one.journal(SERVICE)[-3000:]
        yield one


def call(box, name, program):
    answer = box.ask(8080, "POST", f"/function/{name}", program.encode())
    return answer.status, answer.text


def containers(box):
    return box.run("podman", "ps", "--all", "--quiet").split()


def test_it_is_crun_with_one_hierarchy(box):
    """Podman's own choice on such a host: nothing in config.toml says so."""
    told = "{{.Host.OCIRuntime.Name}} {{.Host.CgroupsVersion}} {{.Host.CgroupManager}}"
    assert box.run("podman", "info", "--format", told).split() == ["crun", "v2", "systemd"]


def test_limits_hold(box):
    """They are in the container's group; what needs more memory is killed, which the log says, and another one serves."""
    find = "for d in /sys/fs/cgroup/machine.slice/libpod-[0-9a-f]*.scope/container; do cat $d/memory.max $d/cpu.max $d/pids.max; done"
    assert "67108864\n25000 100000\n20\n" in box.run("sh", "-c", find)
    status, made = call(box, "f", BOMB)
    assert status == 200
    assert 10 <= int(made) < 20
    assert call(box, "f", "b = bytearray(200 << 20)")[0] == 502
    until(lambda: call(box, "f", "result = 1") == (200, "1"), within=120, every=1, what="another one serves")
    assert "needs more memory than limits.memory (64MiB)" in box.journal(SERVICE)


def test_another_user_a_root_that_is_read_only_and_a_secret(box):
    """The unit's UMask= makes nothing unreadable for the container's user."""
    assert call(box, "other", "import os; result = os.getuid()") == (200, "1234")
    assert call(box, "other", "result = open('/var/openfaas/secrets/token').read()") == (200, "hush")
    assert call(box, "other", "open('/tmp/x', 'w').write('x')")[0] == 200
    status, said = call(box, "other", "open('/x', 'w')")
    assert (status, "Read-only file system" in said) == (500, True)
    bounds = (
        "result = [line for line in open('/proc/self/status') if line.startswith(('CapBnd', 'NoNewPrivs'))]"
    )
    assert call(box, "other", bounds) == (200, r"['CapBnd:\t0000000000000000\n', 'NoNewPrivs:\t1\n']")


def test_killed_and_stopped(box):
    """Containers are systemd's scopes, outside of the service: a daemon that dies leaves them, the next removes them, a stop too."""
    before = containers(box)
    pid = box.show(SERVICE, "MainPID")
    box.run("sh", "-c", f"kill -9 {pid}")
    until(
        lambda: (
            box.show(SERVICE, "MainPID") not in {pid, "0"} and box.show(SERVICE, "ActiveState") == "active"
        ),
        within=120,
        every=1,
        what="it is started again",
    )
    assert call(box, "f", "result = 1") == (200, "1")
    assert not {*before} & {*containers(box)}
    box.systemctl("stop", SERVICE)
    assert containers(box) == []
    box.systemctl("start", SERVICE)

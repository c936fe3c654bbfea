"""The shipped unit where all of it can be in force: control groups of version 2, landlock, seccomp, credentials, other users.

One computer for all tests. It is for what a container on an older host cannot show: test_systemd.py has the rest.
"""

from __future__ import annotations

import base64
import json

import pytest

from tests.house.computer import computer, why_not
from tests.house.patience import until

pytestmark = [
    pytest.mark.emulated,
    pytest.mark.skipif(bool(why_not()), reason=why_not() or "never"),
]

SERVICE = "faasd-py.service"
CONFIG = "/etc/faasd-py/config.toml"
STATE = "/var/lib/faasd-py"
PROGRAM = "/opt/faasd-py/bin/faasd-py"
OPEN = "[auth]\nenabled = false\n"
USER, PASSWORD = "captain", "correct horse battery"
FIGURES = (
    "cd /sys/fs/cgroup$(cut -d: -f3 /proc/self/cgroup) && cat memory.max memory.swap.max cpu.max pids.max"
)
PLACE = "cut -d: -f3 /proc/self/cgroup; id -un; grep CapEff /proc/self/status"
HOG = "b = bytearray(300 << 20)"
BOMB = """
import os, time
made = 0
try:
    for _ in range(100):
        if os.fork() == 0:
            time.sleep(60)
            os._exit(0)
        made += 1
except BlockingIOError:
    print(made)
"""
SPIN = """
import time
began, used = time.monotonic(), time.process_time()
while time.monotonic() - began < 3:
    pass
print((time.process_time() - used) / 3)
"""


@pytest.fixture(scope="module", params=["bookworm", "trixie"])
def booted(request, tmp_path_factory):
    with computer(tmp_path_factory.mktemp("computer") / "c", request.param) as one:
        for name, program in (("hog", HOG), ("bomb", BOMB), ("spin", SPIN)):
            one.write(f"/opt/functions/{name}.py", program)
        one.write("/srv/open", "open\n")
        one.write("/srv/shut", "shut\n")
        yield one


@pytest.fixture
def box(booted):
    """The computer with nothing of the service running; drop-ins and state are gone afterwards."""
    yield booted
    booted.systemctl("stop", SERVICE)
    booted.run("rm", "-rf", f"/etc/systemd/system/{SERVICE}.d", STATE, "/var/lib/private/faasd-py")
    booted.systemctl("daemon-reload")


def drop_in(box, text):
    """As `systemctl edit` writes it."""
    box.write(f"/etc/systemd/system/{SERVICE}.d/override.conf", text)
    box.systemctl("daemon-reload")


def up(box, config):
    """The service with this configuration."""
    box.write(CONFIG, config)
    box.systemctl("start", SERVICE)


def function(name, command, **more):
    """Its table, as TOML; `more` is written as it stands."""
    lines = [f"{key} = {value}" for key, value in more.items()]
    return "\n".join([f"[functions.{name}]", f"command = {json.dumps(command)}", *lines, ""])


def call(box, name):
    return box.ask(8080, "POST", f"/function/{name}")


def basic(user, password):
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


def test_check_says_that_all_can_be_enforced(box):
    """But for a user, whom the unit's daemon cannot become."""
    box.write(CONFIG, OPEN)
    ok, _, *rows, last = box.run(PROGRAM, "check").splitlines()
    told = {row[:14].strip(): row[14:].split() for row in rows}
    assert ok == "OK"
    assert {key: words[0] for key, words in told.items()} == {
        "memory": "yes", "cpu": "yes", "pids": "yes", "user": "no", "files": "yes", "system calls": "yes",
    }  # fmt: skip
    assert told["memory"][1:] == ["cgroup", "v2"]
    assert "landlock," in told["files"]
    assert last == f"For the daemon of {SERVICE}, which runs as a user that is made for it."


def test_the_daemon_finds_what_check_promised(box):
    """Its log says so at the start; systemd has given its group to the service's own user, and it is in a leaf."""
    up(box, OPEN)
    assert "confinement: without user (the daemon is not root" in box.journal(SERVICE)
    group = "/sys/fs/cgroup" + box.show(SERVICE, "ControlGroup")
    owner, user = box.run("stat", "-c", "%U", group, f"/proc/{box.show(SERVICE, 'MainPID')}").split()
    assert owner == user == "faasd-py"
    assert box.run("cat", f"{group}/cgroup.subtree_control").split() == ["cpu", "memory", "pids"]
    assert box.run("cat", f"{group}/daemon/cgroup.procs").split()[0] == box.show(SERVICE, "MainPID")


def test_limits_of_a_function(box):
    """They stand in the kernel's files of a group beside the daemon's, and the kernel heeds them."""
    limits = '{ memory = "64MiB", cpu = 0.25, pids = 20 }'
    up(
        box,
        OPEN
        + function("figures", ["sh", "-c", FIGURES], limits=limits)
        + function("place", ["sh", "-c", PLACE], limits=limits)
        + function("hog", ["python3", "/opt/functions/hog.py"], limits=limits)
        + function("bomb", ["python3", "/opt/functions/bomb.py"], limits="{ pids = 20 }")
        + function("spin", ["python3", "/opt/functions/spin.py"], limits="{ cpu = 0.25 }"),
    )
    # One process more than asked for: the runner's own.
    assert call(box, "figures").text.split("\n") == ["67108864", "0", "25000 100000", "21", ""]
    place, user, capabilities = call(box, "place").text.splitlines()
    assert place.startswith(f"{box.show(SERVICE, 'ControlGroup')}/function-place.openfaas-fn.")
    assert (user, int(capabilities.split()[1], 16)) == ("faasd-py", 0)
    answer = call(box, "hog")
    assert (answer.status, answer.text) == (500, "killed: memory limit of 64MiB\n")
    assert 10 <= int(call(box, "bomb").text) < 20
    assert float(call(box, "spin").text) < 0.4
    assert "killed: memory limit" in box.journal(SERVICE) or "out of memory" in box.journal(SERVICE)
    group = "/sys/fs/cgroup" + box.show(SERVICE, "ControlGroup")
    until(
        lambda: box.run("sh", "-c", f"cat {group}/function-bomb*/cgroup.procs | wc -l").strip() in {"0", "1"},
        within=60,
        every=0.5,
        what="what the bomb left behind is killed",
    )
    assert call(box, "figures").status == 200


def test_files_that_a_function_does_not_see(box):
    """Landlock under the unit: all may read config.toml, but not a function with `confine`, nor write but to /tmp."""
    see = "for f in /etc/faasd-py/config.toml /srv/shut /srv/open; do cat $f 2>&1 >/dev/null && echo $f; done"
    write = "for f in /tmp/x /var/lib/faasd-py/x /run/faasd-py/x; do (echo x > $f) 2>/dev/null && echo $f; done; true"
    connect = "import socket; socket.create_connection(('127.0.0.1', 8080))"
    up(
        box,
        OPEN
        + function("free", ["sh", "-c", see])
        + function("see", ["sh", "-c", see], confine='{ read = ["/srv/open"] }')
        + function("write", ["sh", "-c", write], confine="{}")
        + function("hush", ["python3", "-c", connect], confine="{ network = false }")
        + function("talk", ["python3", "-c", connect], confine="{}"),
    )
    assert call(box, "free").text.split() == ["/etc/faasd-py/config.toml", "/srv/shut", "/srv/open"]
    said = call(box, "see").text.splitlines()
    assert said[-1] == "/srv/open"
    assert [line.endswith("Permission denied") for line in said[:-1]] == [True, True]
    assert call(box, "write").text.split() == ["/tmp/x"]
    assert call(box, "talk").status == 200
    assert call(box, "hush").status == 500


WITH_PASSWORD = """
[Service]
LoadCredential=basic-auth-user:/etc/faasd-py/basic-auth-user
LoadCredential=basic-auth-password:/etc/faasd-py/basic-auth-password
"""


def test_the_password_from_systemd(box):
    """As the manual has it: files of root's alone, and nothing is made. A restart reads them again; one missing is no start."""
    box.write("/etc/faasd-py/basic-auth-user", f"{USER}\n", 0o600)
    box.write("/etc/faasd-py/basic-auth-password", f"{PASSWORD}\n", 0o600)
    drop_in(box, WITH_PASSWORD)
    place = "/run/credentials/faasd-py.service"
    steal = ["sh", "-c", f"cat {place}/basic-auth-password {STATE}/secrets/*"]
    up(box, function("steals", steal, limits="{ pids = 20 }") + function("env", ["env"]))
    until(lambda: box.ask(8080, "GET", "/healthz").status == 200, within=60, every=0.2, what="it is healthy")

    def status(user, password):
        return box.ask(8080, "GET", "/system/functions", headers=basic(user, password)).status

    assert box.ask(8080, "GET", "/system/functions").status == 401
    assert (status(USER, PASSWORD), status("admin", PASSWORD), status(USER, "wrong")) == (200, 401, 401)
    assert box.run("sh", "-c", f"ls -A {STATE}/auth 2>/dev/null || true").split() in ([], ["tokens.json"])
    assert PASSWORD not in call(box, "steals").text + call(box, "env").text + box.journal(SERVICE)
    box.write("/etc/faasd-py/basic-auth-password", "another\n", 0o600)
    assert status(USER, PASSWORD) == 200
    box.systemctl("restart", SERVICE)
    until(lambda: status(USER, "another") == 200, within=60, every=0.2, what="the new password is in force")
    assert status(USER, PASSWORD) == 401
    box.run("rm", "/etc/faasd-py/basic-auth-password")
    drop_in(box, f"{WITH_PASSWORD}Restart=no\n")
    box.fails("systemctl", "restart", SERVICE)


AS_USERS = """
[Service]
DynamicUser=no
CapabilityBoundingSet=CAP_SETUID CAP_SETGID CAP_SETPCAP CAP_CHOWN CAP_KILL CAP_DAC_OVERRIDE
"""


def test_another_user_with_limits_and_walls(box):
    """All at once, with the drop-in of the manual: user, landlock, no capability, and limits, which the function may read.

    So that a runtime which sizes itself by them (Java, Go, Node.js) finds them, though the unit's UMask= is 0077.
    """
    drop_in(box, AS_USERS)
    limits = '{ memory = "64MiB", cpu = 0.5, pids = 20 }'
    see = f"{PLACE}; {FIGURES}; cat /srv/shut {STATE}/queue/queue.sqlite 2>&1; true"
    common = {"user": '"daemon"', "limits": limits, "confine": "{}"}
    up(
        box,
        OPEN
        + function("all", ["sh", "-c", see], **common)
        + function("hog", ["python3", "/opt/functions/hog.py"], **common),
    )
    assert "confinement: all of it can be enforced" in box.journal(SERVICE)
    assert box.run(PROGRAM, "check").splitlines()[-1] == f"For the daemon of {SERVICE}, which runs as root."
    place, user, capabilities, *figures = call(box, "all").text.splitlines()
    assert "/faasd-py.service/function-all.openfaas-fn." in place
    assert (user, int(capabilities.split()[1], 16)) == ("daemon", 0)
    assert figures[:4] == ["67108864", "0", "50000 100000", "21"]
    assert sum("Permission denied" in line for line in figures[4:]) == 2
    assert call(box, "hog").text == "killed: memory limit of 64MiB\n"


def test_a_daemon_that_is_killed_leaves_no_group(box):
    """Systemd starts it again, which finds its subtree as if nothing had been."""
    up(
        box,
        OPEN + function("left", ["sh", "-c", "setsid sleep 1000 & echo $!"], limits="{ pids = 20 }"),
    )
    stray = call(box, "left").text.strip()
    pid = box.show(SERVICE, "MainPID")
    box.run("sh", "-c", f"kill -9 {pid}")
    until(
        lambda: (
            box.show(SERVICE, "MainPID") not in {pid, "0"} and box.show(SERVICE, "ActiveState") == "active"
        ),
        within=60,
        every=0.3,
        what="it is started again",
    )
    box.fails("sh", "-c", f"kill -0 {stray}")
    assert call(box, "left").status == 200
    box.systemctl("stop", SERVICE)
    assert box.run("sh", "-c", "ls -d /sys/fs/cgroup/system.slice/faasd-py* 2>/dev/null || true") == ""

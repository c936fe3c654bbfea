"""The service as an operator has it: a real systemd, the wheel, the shipped units, and nothing else.

One machine is booted for all tests; each begins and ends with the service stopped.
"""

import os
import signal
import socket
import threading
from pathlib import Path

import pytest

from tests.house.machine import machine, why_not
from tests.house.patience import until
from tests.house.wire import ask, dial, until_bytes

pytestmark = [
    pytest.mark.systemd,
    pytest.mark.skipif(bool(why_not()), reason=why_not() or "never"),
]

SERVICE = "faasd-py.service"
SOCKET = "faasd-py.socket"
PORT = 8080
CONFIG = """
[auth]
enabled = false
[workers]
grace = "10s"
[functions.echo]
command = ["cat"]
[functions.record]
command = ["sh", "-c", "read -r line; echo $line >> /var/lib/faasd-py/ran"]
retry = { attempts = 10, min_wait = "100ms", max_wait = "200ms" }
[functions.slow]
command = ["sh", "-c", "echo began >> /var/lib/faasd-py/slow; sleep 1.5; echo done"]
"""
"""`record` and `slow` write with one write each, below the state directory, which is theirs too."""


@pytest.fixture(scope="module")
def booted(tmp_path_factory):
    """A machine with the service installed and not started."""
    with machine(tmp_path_factory.mktemp("systemd") / "root") as one:
        yield one


@pytest.fixture
def box(booted):
    """The machine with CONFIG, and nothing running; drop-ins, state and sockets are gone afterwards."""
    booted.write("/etc/faasd-py/config.toml", CONFIG)
    yield booted
    booted.systemctl("stop", SOCKET, SERVICE)
    booted.run("sh", "-c", f"rm -rf /etc/systemd/system/{SERVICE}.d /etc/systemd/system/{SOCKET}.d")
    booted.run("sh", "-c", "rm -rf /var/lib/private/faasd-py /etc/faasd-py/credentials/*")
    booted.systemctl("daemon-reload")
    booted.run("sh", "-c", f"systemctl reset-failed {SERVICE} || true")


@pytest.fixture
def up(box):
    """The machine with the service up, as `systemctl start` leaves it."""
    box.systemctl("start", SERVICE)
    return box


def drop_in(box, text, unit=SERVICE):
    """A drop-in as `systemctl edit` writes it."""
    box.write(f"/etc/systemd/system/{unit}.d/override.conf", text)
    box.systemctl("daemon-reload")


def call(box, target, body=b"", headers=(), method="POST", timeout=30.0):
    """One request to the gateway, inside the machine."""
    return box.within(lambda: ask(PORT, method, target, body, headers, timeout=timeout))


def lines(box, name):
    """The lines of a file below the state directory."""
    path = box.root / "var/lib/private/faasd-py" / name
    return path.read_text().splitlines() if path.exists() else []


def main_pid(box):
    return int(box.show(SERVICE, "MainPID"))


def send(box, pid, number):
    """A signal to a process inside."""
    os.kill(box.host_pid(pid), number)


def wait_restarted(box, pid):
    """The service is up with another process than `pid`."""
    until(
        lambda: main_pid(box) not in {0, pid} and box.show(SERVICE, "ActiveState") == "active",
        within=30,
        every=0.1,
        what="systemd starts it again",
    )


def accept(box, count):
    """Put so many calls of `record`; what each will write."""
    wanted = {f"call-{number}" for number in range(count)}

    def put():
        for name in sorted(wanted):
            assert ask(PORT, "POST", "/async-function/record", f"{name}\n".encode()).status == 202

    box.within(put)
    return wanted


def wait_ran(box, wanted):
    """Every one of them has run; how often in all."""
    until(lambda: wanted <= set(lines(box, "ran")), within=60, every=0.1, what="every accepted call runs")
    return len(lines(box, "ran"))


def test_started_means_ready(up):
    """When `systemctl start` returns, the first call is answered; systemd shows a status of the daemon's own."""
    assert call(up, "/function/echo", b"hello").body == b"hello"
    assert up.show(SERVICE, "StatusText")
    assert up.show(SERVICE, "ActiveState") == "active"


def test_it_is_nobody_in_particular(up):
    """It runs as a user that exists for this service only, with no capability, and its state is nobody else's."""
    status = Path(f"/proc/{up.host_pid(main_pid(up))}/status").read_text()
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert int(fields["Uid"].split()[0]) >= 61184
    assert int(fields["CapBnd"], 16) == int(fields["CapEff"], 16) == 0
    assert (fields["NoNewPrivs"], fields["Seccomp"]) == ("1", "2")
    assert (up.root / "var/lib/private/faasd-py").stat().st_mode & 0o777 == 0o700


def test_healthy_and_measured(up):
    """Behind the same door: /healthz soon says 200; the metrics have their own listener, on loopback."""
    until(
        lambda: call(up, "/healthz", method="GET").status == 200, within=30, every=0.1, what="it is healthy"
    )
    metrics = up.within(lambda: ask(8082, "GET", "/metrics"))
    assert b"gateway_function_invocation_total" in metrics.body


def test_reload_brings_the_new_function(up):
    """Edit config.toml, `systemctl reload`: the new function answers, in the same process."""
    pid = main_pid(up)
    assert call(up, "/function/new", b"x").status == 404
    up.write("/etc/faasd-py/config.toml", CONFIG + '[functions.new]\ncommand = ["tr", "a-z", "A-Z"]\n')
    up.systemctl("reload", SERVICE)
    until(lambda: call(up, "/function/new", b"x").status == 200, every=0.05, what="the new function is there")
    assert call(up, "/function/new", b"hello").body == b"HELLO"
    assert main_pid(up) == pid


def test_a_broken_file_changes_nothing(up):
    """A reload with a broken file: the log names the place, everything goes on as it was."""
    up.write("/etc/faasd-py/config.toml", CONFIG + "[functions.new]\ncomand = []\n")
    up.systemctl("reload", SERVICE)
    until(lambda: "functions.new" in up.journal(SERVICE), every=0.1, what="the log names the table")
    until(lambda: up.show(SERVICE, "SubState") == "running", every=0.1, what="the reload is over")
    assert call(up, "/function/echo", b"still here").body == b"still here"


def test_a_broken_file_is_no_start(box):
    """A start with a broken file fails, and the journal has the sentence."""
    drop_in(box, "[Service]\nRestart=no\n")
    box.write("/etc/faasd-py/config.toml", "[gatway]\n")
    box.fails("systemctl", "start", SERVICE)
    assert "config.toml: gatway: " in box.journal(SERVICE)


def test_a_hang_is_ended_by_the_watchdog(box):
    """A process that is stopped sends no pings: systemd starts another one, and what was accepted runs."""
    drop_in(box, "[Service]\nWatchdogSec=2s\n")
    box.systemctl("start", SERVICE)
    wanted = accept(box, 20)
    pid = main_pid(box)
    send(box, pid, signal.SIGSTOP)
    wait_restarted(box, pid)
    assert "Watchdog timeout" in box.journal(SERVICE)
    assert call(box, "/function/echo", b"again").body == b"again"
    wait_ran(box, wanted)


def test_the_watchdog_leaves_a_living_daemon_alone(box):
    """For longer than the interval, busy and idle, pings come in time."""
    drop_in(box, "[Service]\nWatchdogSec=1s\n")
    box.systemctl("start", SERVICE)
    pid = main_pid(box)
    assert call(box, "/function/slow").body == b"done\n"
    assert call(box, "/function/slow").body == b"done\n"
    assert main_pid(box) == pid


def test_kill_9_loses_nothing(up):
    """Killed in the midst of two hundred accepted calls, it is started again, and every call has run."""
    wanted = accept(up, 200)
    pid = main_pid(up)
    send(up, pid, signal.SIGKILL)
    wait_restarted(up, pid)
    assert wait_ran(up, wanted) >= 200


def test_stop_drains(up):
    """A call that runs when the stop begins gets its answer; after that nothing of the service is left."""
    answers = []
    caller = threading.Thread(target=lambda: answers.append(call(up, "/function/slow")))
    caller.start()
    until(lambda: lines(up, "slow"), what="the call runs")
    up.systemctl("stop", SERVICE)
    caller.join(20)
    assert [(answer.status, answer.body) for answer in answers] == [(200, b"done\n")]
    assert up.show(SERVICE, "Result") == "success"
    assert up.show(SERVICE, "ExecMainStatus") == "0"
    assert up.show(SERVICE, "TasksCurrent") == "[not set]"


def test_what_waits_is_there_after_a_restart(up):
    """Calls that are put off survive a stop and a start."""
    later = [("X-Delay", "3s")]
    assert call(up, "/async-function/record", b"later\n", later).status == 202
    up.systemctl("restart", SERVICE)
    wait_ran(up, {"later"})


def test_the_first_call_starts_it(box):
    """With the socket unit alone, a call starts the daemon and is answered."""
    box.systemctl("start", SOCKET)
    assert box.show(SERVICE, "ActiveState") == "inactive"
    assert call(box, "/function/echo", b"knock").body == b"knock"
    assert box.show(SERVICE, "ActiveState") == "active"


def test_calls_wait_in_the_socket_over_a_restart(box):
    """A caller that connects while the daemon restarts is answered by the next one, never refused."""
    box.systemctl("start", SOCKET)
    box.systemctl("start", SERVICE)
    stop = threading.Event()
    answers = []

    def keep_calling():
        while not stop.is_set():
            answers.append(ask(PORT, "POST", "/function/echo", b"again").status)

    caller = threading.Thread(target=lambda: box.within(keep_calling))
    caller.start()
    box.systemctl("restart", SERVICE)
    box.systemctl("restart", SERVICE)
    stop.set()
    caller.join(30)
    assert set(answers) == {200}


def test_a_unix_socket_from_systemd(box):
    """Socket activation with a path: the door is there, and a privileged port would be, too."""
    drop_in(box, "[Socket]\nListenStream=\nListenStream=/run/door\nListenStream=127.0.0.1:80\n", SOCKET)
    box.systemctl("start", SOCKET)
    with socket.socket(socket.AF_UNIX) as wire:
        wire.settimeout(20)
        wire.connect(f"/proc/{box.leader}/root/run/door")
        wire.sendall(b"POST /function/echo HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nunix")
        until_bytes(wire, b"unix")
    assert box.within(lambda: ask(80, "POST", "/function/echo", b"eighty")).body == b"eighty"


def test_the_metrics_door_from_systemd(box):
    """A second socket unit, named `metrics`, is the metrics' door in place of metrics.listen; the gateway's is its own."""
    unit = f"[Socket]\nListenStream=127.0.0.1:9082\nFileDescriptorName=metrics\nService={SERVICE}\n"
    box.write("/etc/systemd/system/metrics.socket", unit)
    box.systemctl("daemon-reload")
    box.systemctl("start", "metrics.socket")
    try:
        box.systemctl("start", SERVICE)
        metrics = box.within(lambda: ask(9082, "GET", "/metrics"))
        assert b"gateway_function_invocation_total" in metrics.body
        assert box.within(lambda: ask(9082, "POST", "/function/echo", b"x")).status == 404
        assert call(box, "/function/echo", b"x").body == b"x"
    finally:
        box.systemctl("stop", "metrics.socket", SERVICE)


def test_credentials_are_secrets(box):
    """A file of root's in /etc/faasd-py/credentials is read by the function that names it, and by nobody else."""
    box.systemctl("start", SERVICE)  # makes the directory
    box.write("/etc/faasd-py/credentials/token", "sesame", 0o600)
    function = '[functions.open]\ncommand = ["sh", "-c", "cat $SECRETS_DIR/token"]\nsecrets = ["token"]\n'
    box.write("/etc/faasd-py/config.toml", CONFIG + function)
    box.systemctl("restart", SERVICE)
    assert call(box, "/function/open").body == b"sesame"


JIT = """
import ctypes, mmap, os, subprocess
code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
code.write(bytes.fromhex({"x86_64": "b82a000000c3", "aarch64": "40058052c0035fd6"}[os.uname().machine]))
run = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(code)))
print(run(), subprocess.run("echo child | tr a-z A-Z", shell=True, capture_output=True, text=True).stdout.strip())
"""


def test_nothing_a_function_needs_is_broken(box):
    """Under the shipped unit a function may write code and run it, have children of its own, /tmp, and name a host."""
    box.write("/srv/jit.py", JIT)
    functions = (
        '[functions.jit]\ncommand = ["python3", "/srv/jit.py"]\n'
        '[functions.tmp]\ncommand = ["sh", "-c", "echo x > /tmp/x && cp -p /tmp/x /tmp/y && nice cat /tmp/y"]\n'
        '[functions.net]\ncommand = ["python3", "-c", "import socket; print(socket.gethostbyname(\'localhost\'))"]\n'
    )
    box.write("/etc/faasd-py/config.toml", CONFIG + functions)
    box.systemctl("start", SERVICE)
    assert call(box, "/function/jit").body == b"42 CHILD\n"
    assert call(box, "/function/tmp").body == b"x\n"
    assert call(box, "/function/net").body == b"127.0.0.1\n"


def test_the_strict_drop_in_serves_urls(box):
    """With strict-url-only.conf the daemon starts, accepts, and calls functions that are URLs."""
    share = next((box.root / "opt/faasd-py/lib").glob("python3*/site-packages/faasd_py/share/systemd"))
    drop_in(box, (share / "strict-url-only.conf").read_text())
    box.write("/etc/faasd-py/config.toml", '[functions.away]\nurl = "http://127.0.0.1:9000"\n')
    box.run("systemd-run", "--unit=peer", "--working-directory=/srv", "python3", "-m", "http.server", "9000")
    try:
        box.systemctl("start", SERVICE)
        until(
            lambda: call(box, "/function/away", method="GET").status == 200,
            every=0.1,
            what="the peer answers",
        )
        assert call(box, "/async-function/away").status == 202
        until(lambda: "POST / HTTP/1.1" in box.journal("peer"), every=0.1, what="the worker calls the peer")
    finally:
        box.systemctl("stop", "peer")


def test_a_second_daemon_is_turned_away(up):
    """The state directory is held: a second daemon by hand ends with the pid of the first, and harms nothing."""
    command = "faasd-py up --config /etc/faasd-py/config.toml"
    said = up.fails(
        "sh", "-c", f"STATE_DIRECTORY=/var/lib/faasd-py RUNTIME_DIRECTORY=/run/x /opt/faasd-py/bin/{command}"
    )
    assert f"in use by another daemon (pid {main_pid(up)})" in said
    assert call(up, "/function/echo", b"unharmed").body == b"unharmed"


def test_a_signal_at_a_bad_moment(box):
    """SIGHUP and SIGTERM right after the start do what they always do."""
    for number in (signal.SIGHUP, signal.SIGTERM):
        box.run("sh", "-c", f"systemctl start --no-block {SERVICE}")
        pid = until(lambda: main_pid(box), every=0.01, what="the process is there")
        send(box, pid, number)
    until(lambda: box.show(SERVICE, "ActiveState") == "active", within=30, every=0.1, what="it is up")
    assert call(box, "/function/echo", b"fine").body == b"fine"


def test_an_open_connection_does_not_hold_up_a_stop(up):
    """Idle keep-alive connections are closed, half-sent requests do not outlive the grace."""
    idle, half = up.within(lambda: (dial(PORT), dial(PORT)))
    with idle, half:
        half.sendall(b"POST /function/echo HTTP/1.1\r\nHost: x\r\n")
        up.systemctl("stop", SERVICE)
        assert up.show(SERVICE, "Result") == "success"


CONFINED = """
[functions.confined]
command = ["sh", "-c", "cat /proc/self/cgroup; grep -E '^(Seccomp|CapBnd)' /proc/self/status; setsid sleep 1000 & echo $!"]
limits = { cpu = 1, best_effort = true }
[functions.closed]
command = ["cat", "/etc/faasd-py/config.toml"]
confine = {}
"""


def test_confined_functions_under_the_unit(box):
    """The daemon moves to a leaf of its group, functions have groups beside it; what cannot be enforced is refused.

    The container that the machine runs in takes landlock away (and the kernel here the controllers).
    """
    box.write("/etc/faasd-py/config.toml", CONFIG + CONFINED)
    box.systemctl("start", SERVICE)
    own = Path(f"/proc/{box.host_pid(main_pid(box))}/cgroup").read_text()
    assert "/faasd-py.service/daemon\n" in own
    answer = call(box, "/function/confined")
    said = answer.body.decode()
    assert "/faasd-py.service/function-confined.openfaas-fn." in said
    assert "Seccomp:\t2" in said
    assert "confinement: without " in box.journal(SERVICE)
    closed = call(box, "/function/closed")
    assert (closed.status, b"functions.closed.confine: cannot be enforced here" in closed.body) in {
        (502, True),
        (500, False),
    }
    stray = int(said.split()[-1])
    until(
        lambda: box.fails("kill", "-0", str(stray)), within=30, every=0.1, what="what it left behind is gone"
    )
    pid = main_pid(box)
    box.systemctl("reload", SERVICE)
    assert call(box, "/function/echo", b"after").body == b"after"
    send(box, pid, signal.SIGKILL)
    wait_restarted(box, pid)
    assert b"function-confined" in call(box, "/function/confined").body


AS_USERS = """
[Service]
DynamicUser=no
CapabilityBoundingSet=CAP_SETUID CAP_SETGID CAP_SETPCAP CAP_CHOWN CAP_KILL CAP_DAC_OVERRIDE
"""


def test_functions_of_other_users(box):
    """With the drop-in of the manual; without it such a function says why not."""
    users = """
[functions.daemonly]
command = ["sh", "-c", "id -un; cat $SECRETS_DIR/token; grep CapBnd /proc/self/status; cat /var/lib/faasd-py/queue/queue.sqlite"]
user = "daemon"
secrets = ["token"]
"""
    box.write("/etc/faasd-py/credentials/token", "hush\n", 0o600)
    box.write("/etc/faasd-py/config.toml", CONFIG + users)
    box.systemctl("start", SERVICE)
    answer = call(box, "/function/daemonly")
    assert (answer.status, b"functions cannot run as 'daemon' here" in answer.body) == (502, True)
    box.systemctl("stop", SERVICE)
    drop_in(box, AS_USERS)
    box.systemctl("start", SERVICE)
    answer = call(box, "/function/daemonly")
    lines_said = answer.body.decode().splitlines()
    assert lines_said == ["exit status 1", "daemon", "hush", "CapBnd:\t0000000000000000"]
    box.systemctl("stop", SERVICE)
    box.run("sh", "-c", "rm -rf /var/lib/faasd-py /var/lib/private/faasd-py")


def test_check_judges_for_the_unit(box):
    """Whoever asks: root could start programs as others, the daemon of the unit cannot; with the drop-in it can."""
    check = ("/opt/faasd-py/bin/faasd-py", "check")
    said = box.run(*check).splitlines()
    assert said[-1] == "For the daemon of faasd-py.service, which runs as a user that is made for it."
    assert any(line.startswith("user ") and "without CAP_SETUID" in line for line in said)
    box.write("/etc/faasd-py/config.toml", CONFIG + '[functions.other]\ncommand = ["id"]\nuser = "daemon"\n')
    assert "functions.other.user: functions cannot run as 'daemon' here" in box.fails(*check)
    drop_in(box, AS_USERS)
    assert box.run(*check).splitlines()[-1] == "For the daemon of faasd-py.service, which runs as root."
    box.write("/srv/other.toml", CONFIG)
    assert "For a daemon that root starts" in box.run(*check, "--config", "/srv/other.toml")

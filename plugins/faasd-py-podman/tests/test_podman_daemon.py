"""A whole daemon whose functions are containers: called, changed, killed, started again."""

from __future__ import annotations

import shutil
import tempfile
import threading
from pathlib import Path

import pytest

from tests.house.daemon import Daemon, alive
from tests.house.patience import until

from .store import IMAGE

PATIENCE = 60.0
NAME = "import os; result = os.environ.get('VERSION', 'one')"


@pytest.fixture
def house(store):
    """Makes daemons with functions of the test image."""
    root = Path(tempfile.mkdtemp(prefix="h-"))
    made = []

    def make(functions, **tables):
        given = {
            name: {"image": IMAGE, "kill_grace": "2s"} | settings for name, settings in functions.items()
        }
        daemon = Daemon(root, given, runtimes={"podman": store.options}, **tables)
        daemon.tables = {"plugins": ["podman"], **daemon.tables}
        daemon.write()
        made.append(daemon)
        return daemon

    yield make
    for daemon in made:
        daemon.close()
    store.podman("rm", "--all", "--force", "--time=0")
    shutil.rmtree(root)


def run(daemon, name, program):
    """What a program in the function's container leaves in `result`."""
    answer = daemon.ask("POST", f"/function/{name}", program.encode(), timeout=PATIENCE)
    assert answer.status == 200, (answer, daemon.log[-2000:])
    return answer.body.decode()


def test_its_life(house, store):
    """Called both ways, logged, and nothing of it is left when the daemon stops."""
    daemon = house({"f": {"environment": {"VERSION": "first"}}})
    daemon.start()
    assert run(daemon, "f", NAME) == "first"
    call = daemon.put("f", b"print('from inside', flush=True)")
    daemon.wait_state(call, "DONE", within=PATIENCE)
    until(lambda: "from inside" in daemon.log, within=PATIENCE, what="its line is logged")
    assert len(store.containers()) == 1
    assert daemon.stop(within=PATIENCE) == 0
    assert "told to end" in daemon.log
    assert store.containers() == []
    assert not [pid for pid in daemon.family() if alive(pid)]


def test_the_daemon_is_killed(house, store):
    """Podman's service ends with it; what it left is removed by the next, which serves, with the calls that were accepted."""
    daemon = house({"f": {}})
    daemon.start()
    run(daemon, "f", NAME)
    before = store.containers()
    calls = [daemon.put("f", NAME.encode()) for _ in range(20)]
    daemon.kill()
    until(lambda: not _services(daemon), within=PATIENCE, what="podman's service has ended")
    daemon.start()
    for call in calls:
        daemon.wait_state(call, "DONE", within=PATIENCE)
    after = store.containers()
    assert len(after) == 1
    assert after != before
    assert "1 containers were left behind by an earlier life" in daemon.log


def _services(daemon):
    """The processes that run podman's service for this daemon."""
    mark = f"unix://{daemon.state}/runtimes/podman/podman.sock".encode()
    found = []
    for path in Path("/proc").iterdir():
        try:
            found += [path] if mark in (path / "cmdline").read_bytes() else []
        except OSError:
            continue
    return found


def test_a_new_version_takes_over_without_a_failed_call(house, store):
    """The old container serves until the new one answers; then it is told to end."""
    daemon = house({"f": {"environment": {"VERSION": "first"}}})
    daemon.start()
    assert run(daemon, "f", NAME) == "first"
    seen, failed, over = [], [], threading.Event()

    def call():
        while not over.is_set():
            answer = daemon.ask("POST", "/function/f", NAME.encode(), timeout=PATIENCE)
            (seen if answer.status == 200 else failed).append(answer.body.decode())

    callers = [threading.Thread(target=call) for _ in range(4)]
    for caller in callers:
        caller.start()
    daemon.tables["functions"]["f"]["environment"]["VERSION"] = "second"
    daemon.reload()
    until(lambda: "second" in seen[-4:], within=PATIENCE, what="the second version answers")
    over.set()
    for caller in callers:
        caller.join()
    assert failed == []
    assert set(seen) == {"first", "second"}
    until(lambda: len(store.containers()) == 1, within=PATIENCE, what="the first is removed")


def test_a_container_that_dies_is_replaced(house):
    """Its calls fail with 502, and the next one is there soon; the log has its last words."""
    daemon = house({"f": {}})
    daemon.start()
    first = run(daemon, "f", "import socket, os; result = open('/proc/self/mountinfo').read()")
    answer = daemon.ask(
        "POST", "/function/f", b"import os; os.write(2, b'enough\\n'); os._exit(9)", timeout=PATIENCE
    )
    assert answer.status == 502
    until(
        lambda: daemon.ask("POST", "/function/f", b"result = 1", timeout=PATIENCE).status == 200,
        within=PATIENCE,
        what="there is another",
    )
    assert run(daemon, "f", "result = open('/proc/self/mountinfo').read()") != first
    assert "the container ended with exit status 9: " in daemon.log


def test_it_sleeps_and_is_woken_by_a_call(house, store):
    """`replicas.min = 0`: no container after idle_timeout, one with the next call."""
    daemon = house({"f": {"replicas": {"min": 0, "max": 1}, "idle_timeout": "300ms"}})
    daemon.start()
    assert store.containers() == []
    run(daemon, "f", NAME)
    assert len(store.containers()) == 1
    until(lambda: store.containers() == [], within=PATIENCE, what="it sleeps")
    run(daemon, "f", NAME)


def deploy(daemon, method="POST", image=IMAGE, **more):
    return daemon.system(method, "/system/functions", {"service": "g", "image": image, **more})


def test_deployed_over_rest(house, store):
    """As faas-cli does it: environment, secrets, limits and root; replaced, restored after a restart, removed."""
    daemon = house({})
    daemon.start()
    daemon.wait_healthy()
    assert daemon.system("POST", "/system/secrets", {"name": "token", "value": "hush"}).status == 201
    sent = {
        "envProcess": "node index.js",
        "envVars": {"VERSION": "first"},
        "secrets": ["token"],
        "labels": {"com.openfaas.scale.max": "3"},
        "limits": {"memory": "64Mi"},
        "readOnlyRootFilesystem": True,
    }
    assert deploy(daemon, **sent).status == 202
    program = "import os; result = os.environ['fprocess'], os.environ['VERSION'], open('/var/openfaas/secrets/token').read()"
    assert run(daemon, "g", program) == "('node index.js', 'first', 'hush')"
    assert daemon.ask("POST", "/function/g", b"open('/x', 'w')").status == 500
    assert deploy(daemon, "PUT", **sent | {"envVars": {"VERSION": "second"}}).status == 202
    assert "second" in run(daemon, "g", program)
    daemon.restart()
    assert "second" in run(daemon, "g", program)
    assert daemon.system("DELETE", "/system/functions", {"functionName": "g"}).status == 202
    until(lambda: store.containers() == [], within=PATIENCE, what="its containers are removed")


def test_what_cannot_be_deployed(house):
    """Is answered 400 with the reason, and what was there serves on."""
    daemon = house({})
    daemon.start()
    daemon.wait_healthy()
    lost = deploy(daemon, image="127.0.0.1:9/no/such:1")
    assert lost.status == 400
    assert "function g.openfaas-fn" in lost.text
    assert "127.0.0.1:9/no/such:1 cannot be pulled" in lost.text
    assert daemon.system("GET", "/system/function/g").status == 404
    assert deploy(daemon).status == 202
    broken = deploy(daemon, "PUT", image="127.0.0.1:9/no/such:1")
    assert broken.status == 400
    assert run(daemon, "g", "result = 1") == "1"


def test_an_image_that_there_is_not_troubles_only_its_function(house):
    """It answers 502 with podman's reason; the others serve."""
    daemon = house({"f": {}, "lost": {"image": "127.0.0.1:9/no/such:1"}})
    daemon.start()
    run(daemon, "f", NAME)
    answer = daemon.ask("POST", "/function/lost", timeout=PATIENCE)
    assert answer.status == 502
    assert b"127.0.0.1:9/no/such:1 cannot be pulled" in answer.body
    assert "functions.lost.image: image 127.0.0.1:9/no/such:1 cannot be pulled" in daemon.log

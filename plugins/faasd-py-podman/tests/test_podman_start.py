"""When podman is not what it should be: the start ends with one sentence."""

from __future__ import annotations

import json
import sys
import textwrap

import pytest

from faasd_py.api import ConfigError, PluginError
from faasd_py_podman.host import look
from faasd_py_podman.podman import open_podman
from tests.house.daemon import Daemon

FAKE = """
import http.server, socketserver, sys

class Server(socketserver.UnixStreamServer):
    def get_request(self):
        return super().get_request()[0], ("", 0)

class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = {answer!r}.encode()
        self.send_response({status})
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

sys.stderr.write("a fake one\\n")
{before}
Server(sys.argv[-1].removeprefix("unix://"), Answer).serve_forever()
"""


def fake(tmp_path, answer="{}", status=200, before=""):
    """The command of something that is not podman."""
    path = tmp_path / "fake.py"
    path.write_text(textwrap.dedent(FAKE).format(answer=answer, status=status, before=before))
    return {"command": [sys.executable, str(path)]}


async def refused(tmp_path, options, kind=PluginError):
    with pytest.raises(kind) as caught:
        async with open_podman(options, tmp_path):
            pytest.fail("opened")
    return str(caught.value)


async def test_podman_is_missing(tmp_path):
    """What to install."""
    said = await refused(tmp_path, {"command": ["no-such-podman"]})
    assert said == (
        "runtimes.podman.command: there is no program 'no-such-podman'; install podman (apt-get install podman)"
    )


async def test_its_service_does_not_start(tmp_path):
    """Its last words."""
    said = await refused(tmp_path, fake(tmp_path, before="sys.exit('the disk is full')"))
    assert said == "runtimes.podman: podman's service does not start: the disk is full"


async def test_its_program_cannot_be_run(tmp_path, monkeypatch):
    """It is there, and the system refuses."""

    def refused_by_the_system(*_, **__):
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr("subprocess.Popen", refused_by_the_system)
    said = await refused(tmp_path, fake(tmp_path))
    assert said.endswith(
        "does not start: " + sys.executable + " cannot be started: Resource temporarily unavailable"
    )


async def test_it_is_too_old(tmp_path):
    """What is needed, and what is there."""
    said = await refused(tmp_path, fake(tmp_path, json.dumps({"version": {"Version": "3.4.4"}})))
    assert said == "runtimes.podman: podman 4.0 or newer is needed, this is 3.4.4"
    assert (await refused(tmp_path, fake(tmp_path))).startswith(
        "runtimes.podman: podman 4.0 or newer is needed"
    )


async def test_it_is_rootless(tmp_path):
    """Its containers live in a user's namespaces, where no connection of the daemon's leads."""
    told = {"version": {"Version": "4.3.1"}, "host": {"security": {"rootless": True}}}
    said = await refused(tmp_path, fake(tmp_path, json.dumps(told)))
    assert said.startswith("runtimes.podman: this podman is a user's own (rootless), ")


async def test_somebody_elses_service_is_not_there(tmp_path):
    """Its socket is named."""
    said = await refused(tmp_path, {"socket": "/no/such.sock"})
    assert said.startswith("runtimes.podman: podman does not answer at /no/such.sock: ")


async def test_options_are_checked_first(tmp_path):
    """Before anything is started."""
    said = await refused(tmp_path, {"network": "host"}, ConfigError)
    assert said.startswith("runtimes.podman.network: expected")


def test_the_daemon_says_it_and_ends(tmp_path):
    """Exit status 2, for it is the operator's to mend."""
    daemon = Daemon(tmp_path, {}, runtimes={"podman": {"command": ["no-such-podman"]}})
    daemon.tables = {"plugins": ["podman"], **daemon.tables}
    daemon.write()
    daemon.start(wait=False)
    try:
        assert daemon.wait() == 2
    finally:
        daemon.close()
    assert daemon.log.splitlines()[-1].startswith("faasd-py: runtimes.podman.command: there is no program")


async def test_what_it_is_asked_and_what_it_says(tmp_path):
    """The version, and the control groups that it can use."""

    class Rest:
        async def ask(self, path):
            assert path == "/info"
            return {"version": {"Version": "5.2.0-rc1"}, "host": {"cgroupControllers": ["memory", "pids"]}}

    host = await look(Rest())
    assert (host.version, host.controllers) == ("5.2.0-rc1", {"memory", "pids"})

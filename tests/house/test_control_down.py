"""The control plane behind the door: while it starts, while it is there, and what it does not know."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from tests.house.daemon import Daemon, seconds, service
from tests.house.patience import until


def test_functions_are_served_before_the_control_plane_is_there(
    make: Callable[..., Daemon], tmp_path: Path
) -> None:
    """The first call is answered at once; /healthz is 503 in the meantime, in a sentence, and then 200."""
    daemon = make({"cat": {"command": ["/bin/cat"]}})
    daemon.start()
    assert daemon.ask("POST", "/function/cat", b"early").body == b"early"
    seen, begun = [], time.monotonic()
    while (answer := daemon.ask("GET", "/healthz")).status != 200:
        seen.append(answer)
        assert seconds(begun) < 20
        time.sleep(0.02)
    assert all(answer.status == 503 and answer.body for answer in seen)
    assert daemon.ask("POST", "/async-function/cat", b"x").status == 202


def test_what_the_control_plane_answers(start: Callable[..., Daemon], tmp_path: Path) -> None:
    """/healthz by GET only; an unknown route is OpenFaaS' 404."""
    daemon = start({"cat": {"command": ["/bin/cat"]}})
    daemon.wait_healthy()
    assert daemon.ask("GET", "/healthz").status == 200
    assert daemon.ask("HEAD", "/healthz").status in {200, 405}
    wrong = daemon.ask("POST", "/healthz", b"x")
    assert (wrong.status, wrong.body) == (405, b"")
    for target in (
        "/nothing",
        "/functions",
        "/function",
        "/async-function",
        "/healthz/x",
        "/%2e%2e/etc/passwd",
    ):
        unknown = daemon.ask("GET", target)
        assert (unknown.status, unknown.text) == (404, "404 page not found\n"), target


def test_the_admin_api_is_not_behind_the_door(start: Callable[..., Daemon], tmp_path: Path) -> None:
    """The door of the private API is not open to the network: only /healthz and /metrics are proxied."""
    daemon = start({"api": service(tmp_path / "0")})
    daemon.wait_healthy()
    for target in ("/calls", "/api/calls", "/queue", "/reload", "/config"):
        assert daemon.ask("GET", target).status == 404
        assert daemon.ask("POST", target, b"").status in {404, 405}


def test_private_sockets_are_the_owners_only(start: Callable[..., Daemon], tmp_path: Path) -> None:
    """Every socket in the runtime directory is for the daemon's own user."""
    daemon = start({"cat": {"command": ["/bin/cat"]}})
    daemon.wait_healthy()
    sockets = [path for path in (daemon.root / "run").rglob("*") if path.is_socket()]
    assert sockets
    for path in sockets:
        private = path.stat().st_mode & 0o077 == 0 or path.parent.stat().st_mode & 0o077 == 0
        assert private, path
    assert until(lambda: daemon.state.stat().st_mode & 0o077 == 0)

"""Functions that ask who calls: synchronously, asynchronously, by WebSocket; and what becomes of the credential."""

from __future__ import annotations

import base64
import socket
from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.house.daemon import Daemon, running, script, service
from tests.house.patience import until
from tests.house.wire import ask_on, dial, until_bytes, until_close

PASSWORD = "a-word-that-is-nowhere-else"
TOKEN = {"name": "caller", "scopes": ["invoke"]}
SECRET_FIELD = {"Authorization": "Bearer not-for-us-at-all"}


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """One daemon for all; its functions are `asks`, `slow` (asks, too), and `open`."""
    root = tmp_path_factory.mktemp("asks")
    (root / "state" / "auth").mkdir(parents=True)
    (root / "state" / "auth" / "basic-auth-password").write_text(PASSWORD)
    functions = {
        "asks": service(root, auth=True),
        "slow": script(root, "nap", auth=True),
        "open": service(root),
    }
    images = {"functions/alpine:*": {"command": ["$fprocess"]}}
    with running(root, functions, auth={"enabled": True}, images=images, log={"level": "debug"}) as one:
        one.wait_healthy()
        one.token = one.system("POST", "/system/tokens", TOKEN).json()["token"]
        one.bearer = {"Authorization": f"Bearer {one.token}"}
        yield one
        assert one.stop() == 0
        nowhere_else(one)


def nowhere_else(daemon: Daemon) -> None:
    """No credential that the gateway took is in the log, in the queue's files, or in what functions were sent."""
    words = [PASSWORD, base64.b64encode(f"admin:{PASSWORD}".encode()).decode(), daemon.token]
    files = [path for path in daemon.root.rglob("*") if path.is_file() and path.parent.name != "auth"]
    assert {"log", "record", "queue.sqlite"} <= {path.name for path in files} | {"queue.sqlite"}
    assert any(".sqlite" in path.name for path in files)
    for path in files:
        data = path.read_bytes()
        assert [word for word in words if word.encode() in data] == [], path


def last(daemon: Daemon, word: str) -> dict[str, str]:
    """The header fields that a function was sent last, of the requests whose record has `word`."""
    until(lambda: daemon.ran(word), what=f"{word} was recorded")
    return {name.lower(): value for name, value in daemon.ran(word)[-1]["headers"]}


def test_the_credential_stays_at_the_gateway(daemon: Daemon) -> None:
    """A function that asked does not see it; whatever else was sent it does."""
    for who in (daemon.authorization, daemon.bearer):
        answer = daemon.ask("POST", "/function/asks/tell/sync", b"x", {**who, "X-Mine": "yes"})
        assert answer.status == 200
        assert "authorization" not in last(daemon, "/tell/sync")
        assert last(daemon, "/tell/sync")["x-mine"] == "yes"


def test_a_function_that_does_not_ask_gets_it_untouched(daemon: Daemon) -> None:
    """It is then between the caller and the function."""
    assert daemon.ask("POST", "/function/open/tell/through", b"x", SECRET_FIELD).status == 200
    assert last(daemon, "/tell/through")["authorization"] == SECRET_FIELD["Authorization"]
    call = daemon.put("open/tell/later-through", b"x", SECRET_FIELD)
    daemon.wait_state(call, "DONE")
    assert last(daemon, "/tell/later-through")["authorization"] == SECRET_FIELD["Authorization"]


def test_an_asynchronous_call(daemon: Daemon) -> None:
    """Refused before anything is kept; accepted without the credential, which its function never needs."""
    before = daemon.system("GET", "/system/calls?limit=1000").json()["calls"]
    assert daemon.ask("POST", "/async-function/asks/tell/async", b"x").status == 401
    assert daemon.system("GET", "/system/calls?limit=1000").json()["calls"] == before
    call = daemon.put("asks/tell/async", b"x", daemon.bearer)
    daemon.wait_state(call, "DONE")
    assert "authorization" not in last(daemon, "/tell/async")
    shown = daemon.system("GET", f"/system/calls/{call}/request")
    assert "authorization" not in shown.text.lower()


def test_the_same_head_again_and_again(daemon: Daemon) -> None:
    """What is remembered of a head is not who sent it: each request is asked, on a connection that goes on."""
    with closing(daemon_connection(daemon)) as connection:
        for _ in range(5):
            assert ask_on(connection, "POST", "/function/asks/tell/again", b"x", daemon.bearer).status == 200
        for _ in range(3):
            assert ask_on(connection, "POST", "/function/asks/tell/again", b"x").status == 401
    assert len(daemon.ran("/tell/again")) == 5


def daemon_connection(daemon: Daemon):
    import http.client

    return http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=30)


UPGRADE = "GET /function/asks/upgrade HTTP/1.1\r\nHost: x\r\nConnection: {}\r\nUpgrade: shout\r\n{}\r\n"


def test_a_websocket(daemon: Daemon) -> None:
    """The upgrade is asked as any request is: 401 without, a tunnel with."""
    with dial(daemon.port) as wire:
        wire.sendall(UPGRADE.format("Upgrade", "").encode())
        assert until_bytes(wire, b"\r\n\r\n").startswith(b"HTTP/1.1 401 ")
    field = f"Authorization: {daemon.bearer['Authorization']}\r\n"
    with dial(daemon.port) as wire:
        wire.sendall(UPGRADE.format("Upgrade", field).encode())
        assert until_bytes(wire, b"\r\n\r\n").startswith(b"HTTP/1.1 101 ")
        wire.sendall(b"hello")
        assert until_bytes(wire, b"HELLO")
        wire.shutdown(socket.SHUT_WR)
        until_close(wire)
    assert "authorization" not in last(daemon, "/upgrade")


def test_a_field_that_was_for_this_hop_is_no_credential(daemon: Daemon) -> None:
    """`Connection: authorization` takes it out before anybody looks."""
    field = f"Authorization: {daemon.bearer['Authorization']}\r\n"
    with dial(daemon.port) as wire:
        wire.sendall(UPGRADE.format("Upgrade, authorization", field).encode())
        assert until_bytes(wire, b"\r\n\r\n").startswith(b"HTTP/1.1 401 ")


def test_a_refusal_comes_before_the_body(daemon: Daemon) -> None:
    """Nobody is asked to send a body that nobody will read."""
    for kind in ("function", "async-function"):
        with dial(daemon.port) as wire:
            wire.sendall(
                f"POST /{kind}/asks HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 99999999\r\n\r\n".encode()
            )
            assert until_bytes(wire, b"\r\n").startswith(b"HTTP/1.1 401 ")


def test_callbacks_within_the_daemon_are_not_asked(daemon: Daemon) -> None:
    """To a function that asks, delivered by the daemon itself; what the caller showed does not go with it."""
    for target, word in (
        ("function/asks/tell/called", "/tell/called"),
        ("async-function/asks/tell/queued", "/tell/queued"),
    ):
        headers = {**daemon.bearer, "X-Callback-Url": f"http://gateway/{target}"}
        call = daemon.put("asks/tell/first", b"x", headers)
        daemon.wait_state(call, "DONE")
        assert "authorization" not in last(daemon, word)


def test_cancelling_is_asked_as_calling_is(daemon: Daemon) -> None:
    """Of a call whose function asks; anybody may cancel another's whose function does not."""
    ask = daemon.ask
    call = daemon.put("slow", b"30", {**daemon.bearer, "X-Call-Id": "mine", "X-Delay": "10m"})
    for known in (call, "mine"):
        assert ask("DELETE", f"/async-function/{known}").status == 401
        assert ask("DELETE", f"/async-function/{known}", None, SECRET_FIELD).status == 401
    assert daemon.state_of(call) == "DELAYED"
    assert ask("DELETE", "/async-function/mine", None, daemon.bearer).status == 202
    assert daemon.state_of(call) == "CANCELLED"
    other = daemon.put("open/tell", b"x", {"X-Delay": "10m"})
    assert ask("DELETE", f"/async-function/{other}").status == 202


def test_a_deployed_function_asks_by_its_annotation(daemon: Daemon) -> None:
    """`faasd-py.auth`: whatever it says but `false` closes it."""
    for name, word, status in (("dep1", "true", 401), ("dep2", "false", 200), ("dep3", "yes please", 401)):
        body = {
            "service": name, "image": "functions/alpine:latest", "envProcess": "cat",
            "annotations": {"faasd-py.auth": word},
        }  # fmt: skip
        assert daemon.system("POST", "/system/functions", body).status == 202
        assert daemon.ask("POST", f"/function/{name}", b"x").status == status
        assert daemon.ask("POST", f"/function/{name}", b"x", daemon.bearer).text == "x"


def test_all_functions_ask(tmp_path) -> None:
    """`[auth] functions = true`, but for those that say otherwise; a stranger is not told which there are. A reload changes it."""
    functions = {"one": {"command": ["/bin/cat"]}, "free": {"command": ["/bin/cat"], "auth": False}}
    with running(tmp_path, functions, auth={"enabled": False, "functions": True}) as daemon:
        for kind in ("function", "async-function"):
            for name in ("one", "none"):
                assert daemon.ask("POST", f"/{kind}/{name}", b"x").status == 401
            assert daemon.ask("POST", f"/{kind}/none", b"x", daemon.authorization).status == 404
            assert daemon.ask("POST", f"/{kind}/free", b"x").status < 300
            assert daemon.ask("POST", f"/{kind}/one", b"x", daemon.authorization).status < 300
        assert daemon.ask("DELETE", "/async-function/unknown").status == 401
        daemon.tables["auth"] = {"enabled": False}
        daemon.reload()
        until(lambda: daemon.ask("POST", "/function/one", b"x").status == 200, what="it is open")
        assert daemon.ask("DELETE", "/async-function/unknown").status == 404

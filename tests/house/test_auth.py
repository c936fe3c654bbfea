"""Who may do what, kept by a whole daemon: credentials, tokens, and what a stranger is told."""

from __future__ import annotations

import base64
import http.client
import json
import random
import re
import socket
from contextlib import closing
from pathlib import Path

import pytest

from tests.house.daemon import Daemon, running
from tests.house.patience import until
from tests.house.wire import Answer, UnixConnection, ask_on, dial, until_bytes

CAT = {"command": ["/bin/cat"]}
ON = {"enabled": True}


def basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def admin(daemon: Daemon, method: str, target: str, body: object = None) -> Answer:
    """As the command line asks, over the private socket."""
    connection = UnixConnection(daemon.root / "run" / "admin.sock")
    data = None if body is None else json.dumps(body).encode()
    try:
        return ask_on(connection, method, target, data, {"Host": "x"})
    finally:
        connection.close()


def address() -> str:
    """One that nobody asked from before, most likely."""
    return f"127.{random.randrange(1, 250)}.{random.randrange(250)}.{random.randrange(1, 250)}"


def stranger(
    daemon: Daemon, method: str, target: str, body: bytes | None = None, headers: object = ()
) -> Answer:
    """A request from an address that nobody asked from before: its refusal does not wait."""
    connection = http.client.HTTPConnection(
        "127.0.0.1", daemon.port, timeout=30, source_address=(address(), 0)
    )
    with closing(connection):
        return ask_on(connection, method, target, body, headers)


def token(daemon: Daemon, name: str, *scopes: str, **more: object) -> str:
    answer = admin(daemon, "POST", "/system/tokens", {"name": name, "scopes": scopes, **more})
    assert answer.status == 201, answer
    text: str = answer.json()["token"]
    return text


def reloaded(daemon: Daemon) -> bool:
    """Reload; whether it was taken."""
    lines = len(daemon.log.splitlines())
    daemon.reload()

    def end() -> list[str]:
        return [line for line in daemon.log.splitlines()[lines:] if "reload" in line]

    until(end, what="the reload is over")
    return "reloaded" in end()[0]


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    """One daemon for the tests that change nothing that others see."""
    functions = {"open": CAT, "closed": {**CAT, "auth": True}}
    with running(tmp_path_factory.mktemp("house"), functions, auth=ON) as daemon:
        daemon.wait_healthy()
        daemon.tokens = {name: token(daemon, name, name) for name in ("invoke", "read", "admin")}
        yield daemon


REFUSAL = b'HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm="Restricted"\r\n'


@pytest.mark.parametrize(
    "field", ["", "Authorization: Basic YWRtaW46eA==\r\n", "Authorization: Bearer x\r\n"]
)
@pytest.mark.parametrize("path", ["/system/functions", "/system/secrets?x=y", "/%73ystem/functions", "/ui/"])
def test_a_stranger_is_told_what_openfaas_tells(house, path, field):
    """Byte for byte: status, challenge, and a body without a line end (wire contract §1.1)."""
    with closing(socket.socket()) as wire:
        wire.settimeout(30)
        wire.bind((address(), 0))
        wire.connect(("127.0.0.1", house.port))
        wire.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n{field}\r\n".encode())
        answer = until_bytes(wire, b"invalid credentials")
    assert answer.startswith(REFUSAL)
    assert answer.partition(b"\r\n\r\n")[2] == b"invalid credentials"


@pytest.mark.parametrize("path", ["/healthz", "/metrics"])
def test_what_is_open_stays_open(house, path):
    """With no credentials, right ones, and wrong ones."""
    for headers in ({}, house.authorization, basic("admin", "wrong")):
        assert house.ask("GET", path, headers=headers).status == 200


def test_the_daemons_own_credentials(house):
    """What it made at its first start opens the door, and nothing near it does."""
    user, password = house.credentials
    assert house.system("GET", "/system/namespaces").status == 200
    for wrong in (basic(user, password[:-1]), basic(user, ""), basic("Admin", password), bearer(password)):
        assert stranger(house, "GET", "/system/namespaces", headers=wrong).status == 401
    twice = [*house.authorization.items(), *house.authorization.items()]
    assert stranger(house, "GET", "/system/namespaces", headers=twice).status == 401


def test_a_stranger_is_refused_before_the_body_is_read(house):
    """The answer comes while the body does not, and nobody is asked to go on with it."""
    with dial(house.port) as wire:
        wire.sendall(
            b"POST /system/functions HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 1000000\r\n\r\n"
        )
        assert until_bytes(wire, b"\r\n").startswith(b"HTTP/1.1 401 ")


@pytest.mark.parametrize("name", ["X-Faasd-Py-Identity", "x-faasd-py-identity"])
def test_nobody_can_say_themselves_who_they_are(house, name):
    """The header by which the door tells the control plane is the door's alone."""
    forged = {name: "everyone;admin,invoke,read"}
    assert house.ask("GET", "/system/namespaces", headers=forged).status == 401
    low = forged | bearer(house.tokens["read"])
    assert house.ask("POST", "/system/secrets", b"{}", low).status == 403


def test_a_page_of_another_site_changes_nothing(house):
    """Its visitor's browser knows the password, and says who asks; functions are anybody's, and are told the origin."""
    before = counted(house)["cross-site"]
    foreign = house.authorization | {"Origin": "http://evil.example", "Content-Type": "text/plain"}
    new = json.dumps({"name": "taken"}).encode()
    for headers in (foreign, foreign | {"Sec-Fetch-Site": "cross-site"}):
        answer = house.ask("POST", "/system/secrets", new, headers)
        assert (answer.status, answer.body) == (403, b"a page of another site may not change anything here\n")
        assert house.ask("DELETE", "/system/functions", b"{}", headers).status == 403
    assert house.ask("GET", "/system/secrets", headers=foreign).status == 200
    assert house.ask("POST", "/function/open", b"hello", {"Origin": "http://evil.example"}).body == b"hello"
    own = house.authorization | {"Origin": f"http://127.0.0.1:{house.port}"}
    own |= {"Host": f"127.0.0.1:{house.port}"}
    assert house.ask("POST", "/system/secrets", b"{}", own).status == 400
    low = bearer(house.tokens["read"])
    assert house.ask("POST", "/system/secrets", b"{}", low).status == 403
    assert counted(house)["cross-site"] == before + 4


def test_the_private_socket_of_the_command_line_asks_nobody(house):
    """Who may open it is up to the file's mode."""
    assert (house.root / "run" / "admin.sock").stat().st_mode & 0o777 == 0o600
    assert admin(house, "GET", "/system/namespaces").status == 200


def test_the_control_socket_lets_nobody_in_by_itself(house):
    """Whoever comes to it past the door is nobody."""
    connection = UnixConnection(house.root / "run" / "control.sock")
    answer = ask_on(connection, "GET", "/system/namespaces", None, {"Host": "x"})
    connection.close()
    assert answer.status == 401


READS = [("GET", "/system/namespaces"), ("GET", "/system/secrets"), ("GET", "/system/queue")]
WRITES = [
    ("GET", "/system/tokens"),
    ("POST", "/system/secrets"),
    ("POST", "/system/tokens"),
    ("DELETE", "/system/tokens/none"),
]


@pytest.mark.parametrize(
    ("name", "reads", "writes", "calls"),
    [("invoke", False, False, True), ("read", True, False, False), ("admin", True, True, False)],
)
def test_each_scope_on_each_kind_of_route(house, name, reads, writes, calls):
    """403 where it is too small; 400 and 404 are the routes' own words, behind the door."""
    headers = bearer(house.tokens[name])
    assert {house.ask(*route, headers=headers).status for route in READS} == ({200} if reads else {403})
    statuses = {house.ask(*route, b"{}", headers=headers).status for route in WRITES}
    assert statuses == ({200, 400, 404} if writes else {403})
    assert house.ask("POST", "/function/closed", b"x", headers).status == (200 if calls else 403)
    assert house.ask("POST", "/async-function/closed", b"x", headers).status == (202 if calls else 403)


def test_a_scope_that_is_too_small_is_told_as_the_route_tells(house):
    """Text where OpenFaaS speaks text, JSON where we speak JSON."""
    headers = bearer(house.tokens["read"])
    sentence = "insufficient scope: this needs admin, read has read"
    text = house.ask("POST", "/system/secrets", b"{}", headers)
    assert (text.text, text.headers["content-type"]) == (f"{sentence}\n", "text/plain; charset=utf-8")
    assert house.ask("POST", "/system/tokens", b"{}", headers).json() == {"error": sentence}


def test_a_function_that_asks(house):
    """401 with both ways to answer it, marked as the platform's, with the call's id; and no word without credentials."""
    answer = house.ask("POST", "/function/closed/path?q", b"x", {"X-Call-Id": "mine"})
    assert (answer.status, answer.text) == (401, "invalid credentials\n")
    challenges = [value for name, value in answer.pairs if name.lower() == "www-authenticate"]
    assert challenges == [f'{kind} realm="faasd-py function invoke"' for kind in ("Bearer", "Basic")]
    assert answer.headers["x-openfaas-internal"] == "faas-middleware"
    assert answer.headers["x-call-id"] == "mine"
    assert house.ask("POST", "/async-function/closed", b"x").status == 401
    assert house.ask("POST", "/function/closed", b"x", house.authorization).text == "x"
    assert house.ask("POST", "/function/closed.openfaas-fn", b"x").status == 401


def test_a_function_that_asks_and_a_page_of_another_site(house):
    """The browser's password is not the page's to use, synchronously or not; a token, which no browser sends by itself, is."""
    foreign = {"Origin": "http://evil.example", "Content-Type": "text/plain"}
    for path in ("/function/closed", "/async-function/closed"):
        answer = house.ask("POST", path, b"x", house.authorization | foreign)
        assert (answer.status, answer.body) == (403, b"a page of another site may not change anything here\n")
        assert house.ask("POST", path, b"x", bearer(house.tokens["invoke"]) | foreign).status in {200, 202}
    own = {"Host": f"127.0.0.1:{house.port}", "Origin": f"http://127.0.0.1:{house.port}"}
    assert house.ask("POST", "/function/closed", b"x", house.authorization | own).text == "x"


def test_a_function_that_does_not_ask(house):
    """Nobody is asked, whatever they send."""
    for headers in ({}, basic("a", "b"), house.authorization):
        assert house.ask("POST", "/function/open", b"x", headers).text == "x"


def test_tokens_over_rest(house):
    """Made, told once, listed without their texts, revoked; what is wrong is said."""
    made = house.system(
        "POST", "/system/tokens", {"name": "ci", "scopes": ["read", "invoke"], "expires": "90d"}
    )
    assert made.status == 201
    secret = made.json()["token"]
    assert house.ask("GET", "/system/namespaces", headers=bearer(secret)).status == 200
    listed = house.system("GET", "/system/tokens")
    assert secret not in listed.text
    assert [one["scopes"] for one in listed.json() if one["name"] == "ci"] == [["invoke", "read"]]
    for body, status in (
        ({"name": "ci", "scopes": ["read"]}, 409),
        ({"name": "c i", "scopes": ["read"]}, 400),
        ({"name": "x", "scopes": []}, 400),
        ({"name": "x", "scopes": ["root"]}, 400),
        ({"name": "x", "scopes": ["read"], "expires": "soon"}, 400),
        ({"name": "x", "scopes": ["read"], "expires": "0s"}, 400),
        ({"name": "x", "scopes": ["read"], "expires": 10**12}, 400),
        ({"scopes": ["read"]}, 400),
    ):
        answer = house.system("POST", "/system/tokens", body)
        assert (answer.status, set(answer.json())) == (status, {"error"}), body
    assert house.system("DELETE", "/system/tokens/ci").json()["name"] == "ci"
    assert stranger(house, "GET", "/system/namespaces", headers=bearer(secret)).status == 401
    assert house.system("DELETE", "/system/tokens/ci").status == 404


def test_a_wrong_guess_does_not_lock_anybody_out(house):
    """After more than enough of them from this very address the right password opens at once."""
    for _ in range(6):
        assert house.ask("GET", "/system/namespaces", headers=basic("admin", "guess")).status == 401
    assert house.system("GET", "/system/namespaces").status == 200
    assert "refused wrong credentials from 127." in house.log
    assert "guess" not in house.log


def counted(daemon: Daemon) -> dict[str, float]:
    """Requests that were not let in, by reason."""
    page = daemon.ask("GET", "/metrics").text
    found = re.findall(r'^faasd_auth_failures_total\{reason="([\w-]+)"\} (\S+)', page, re.MULTILINE)
    return {reason: float(number) for reason, number in found}


@pytest.mark.parametrize(
    ("said", "status", "reason"),
    [
        ([bearer("x")], 401, "credentials"),
        (["read"], 403, "scope"),
        (["admin", {"Origin": "https://evil.example"}], 403, "cross-site"),
    ],
)
def test_who_was_not_let_in_is_counted(house, said, status, reason):
    """By reason, at the door and behind it; who says nothing is not."""
    before = counted(house)
    headers: dict[str, str] = {}
    for one in said:
        headers |= bearer(house.tokens[one]) if isinstance(one, str) else one
    assert stranger(house, "POST", "/system/secrets", b"{}", headers).status == status
    assert stranger(house, "POST", "/system/secrets", b"{}").status == 401
    assert counted(house) == before | {reason: before[reason] + 1}


def test_a_stranger_of_a_name_where_nobody_is_asked(tmp_path):
    """A page that gave itself our address neither reads nor changes; addresses, local names and listed ones do."""
    names = ["gateway.example"]
    with running(tmp_path, {"open": CAT}, auth={"enabled": False}, gateway={"names": names}) as daemon:
        daemon.wait_healthy()
        port = daemon.port
        rebound = {"Host": f"evil.example:{port}", "Origin": f"http://evil.example:{port}"}
        for method, target in (("GET", "/system/functions"), ("POST", "/system/namespace/"), ("GET", "/ui/")):
            answer = daemon.ask(method, target, b"{}" if method == "POST" else None, rebound)
            assert (answer.status, answer.text.count("\n")) == (403, 1)
            assert "gateway.names" in answer.text
        for host in (
            f"127.0.0.1:{port}",
            f"localhost:{port}",
            "gateway:8080",
            "gateway.example",
            socket.gethostname(),
        ):
            assert daemon.ask("GET", "/system/functions", headers={"Host": host}).status == 200
        assert daemon.ask("POST", "/function/open", b"x", rebound).text == "x"
        assert counted(daemon)["host"] == 3


@pytest.mark.parametrize("path", ["/ui", "/ui/", "/ui/index.html?x=y"])
def test_there_is_no_web_page(house, path):
    """Whoever may come in is told what there is instead."""
    answer = house.system("GET", path)
    assert (answer.status, answer.headers["content-type"]) == (404, "text/plain; charset=utf-8")
    assert answer.text == (
        "there are no web pages here: use faasd-py, faas-cli, or the REST API (/system/openapi.json)\n"
    )
    assert house.ask("GET", path).status == 401


def test_credentials_survive_and_change(tmp_path):
    """A restart keeps what was made, and tokens; a reload takes what the files have now, and nothing else any more."""
    with running(tmp_path, {}, auth=ON) as daemon:
        daemon.wait_healthy()
        old, secret = daemon.authorization, token(daemon, "ci", "read")
        daemon.restart()
        daemon.wait_healthy()
        assert daemon.authorization == old
        for headers in (old, bearer(secret)):
            assert daemon.ask("GET", "/system/namespaces", headers=headers).status == 200
        (tmp_path / "state" / "auth" / "basic-auth-password").write_text("a new one\n")
        assert reloaded(daemon)
        assert daemon.ask("GET", "/system/namespaces", headers=old).status == 401
        assert daemon.ask("GET", "/system/namespaces", headers=basic("admin", "a new one")).status == 200
        (tmp_path / "state" / "auth" / "basic-auth-password").write_text("")
        assert not reloaded(daemon)
        assert daemon.ask("GET", "/system/namespaces", headers=basic("admin", "a new one")).status == 200
        daemon.tables["auth"] = {"enabled": False}
        (tmp_path / "state" / "auth" / "basic-auth-password").write_text("x")
        assert reloaded(daemon)
        assert daemon.ask("GET", "/system/namespaces").status == 200
        assert daemon.ask("DELETE", "/system/tokens/ci").status == 200


def test_files_of_ones_own(tmp_path):
    """One that is not there keeps the daemon from starting, with one sentence and status 2."""
    user, password = tmp_path / "u", tmp_path / "p"
    user.write_text("me\n")
    settings = {"enabled": True, "user_file": str(user), "password_file": str(password)}
    daemon = Daemon(_root(tmp_path), {}, auth=settings)
    try:
        daemon.start(wait=False)
        assert daemon.wait() == 2
        assert f"auth.password_file: {password}: there is no such file" in daemon.log
        password.write_text("mine\n")
        daemon.start()
        daemon.wait_healthy()
        assert daemon.ask("GET", "/system/namespaces", headers=basic("me", "mine")).status == 200
        assert not (daemon.state / "auth").exists()
    finally:
        daemon.close()


def _root(tmp_path: Path) -> Path:
    root = tmp_path / "d"
    root.mkdir()
    return root

"""Every command of faas-cli against a running daemon, byte for byte as its HTTP client speaks (OpenFaaS wire contract §7).

One suite, whatever runs the functions: test_faas_cli.py runs it over processes, the plug-in for podman over containers.
"""

from __future__ import annotations

import base64
import threading
from pathlib import Path
from typing import ClassVar

import pytest

from tests.house.daemon import Daemon
from tests.house.faas_cli import CliError, FaasCli
from tests.house.patience import until


class FaasCliSuite:
    """A subclass says what the images are, and has a fixture `daemon`: authentication, and one function in config.toml.

    That one is `fixed`, and answers with what it is sent.
    """

    FORK: ClassVar = "functions/alpine:latest"
    """An image that runs its envProcess for each call, as the classic watchdog does."""
    HTTP: str
    """An image that is an HTTP server, and logs each request: a line with its headers and its body."""
    BROKEN: str
    """An image whose program ends at once."""
    LOST: ClassVar[tuple[str, str]]
    """An image that is not to be had, and what the refusal says (a pattern)."""
    UPPER: ClassVar = "tr a-z A-Z"
    SAY: ClassVar[str]
    """The program that runs the Python after it, which has no blanks: the watchdogs split at them."""
    SECRETS: ClassVar[str]
    """An expression of Python's: the directory where a function has its secrets."""

    @pytest.fixture
    def cli(self, daemon: Daemon) -> FaasCli:
        """Logged in."""
        client = FaasCli(daemon.port)
        client.login(*daemon.credentials)
        return client

    def test_the_bytes_it_sends(self, cli: FaasCli, daemon: Daemon) -> None:
        """As Go's client writes them: the test is about these, and no others."""
        assert cli.sent == [
            (
                f"GET /system/functions HTTP/1.1\r\nHost: 127.0.0.1:{daemon.port}\r\nUser-Agent: faas-cli/0.17.8\r\n"
                f"Accept-Encoding: gzip\r\nAuthorization: Basic {cli.token}\r\nConnection: close\r\n\r\n"
            ).encode()
        ]

    def test_login(self, daemon: Daemon) -> None:
        """A wrong password is 401 with the challenge, and everything needs one; /healthz does not."""
        stranger = FaasCli(daemon.port)
        user, _ = daemon.credentials
        with pytest.raises(CliError, match="password is incorrect"):
            stranger.login(user, "wrong")
        refused = stranger.send("GET", "/system/functions")
        assert refused.status == 401
        assert refused.headers["www-authenticate"] == 'Basic realm="Restricted"'
        assert refused.body == b"invalid credentials"
        for method, path in (
            ("POST", "/system/functions"), ("PUT", "/system/functions"), ("DELETE", "/system/functions"),
            ("GET", "/system/function/fixed"), ("POST", "/system/scale-function/fixed"), ("GET", "/system/info"),
            ("GET", "/system/namespaces"), ("POST", "/system/namespace/"), ("GET", "/system/secrets"),
            ("GET", "/system/logs?name=fixed"), ("GET", "/system/calls"), ("GET", "/system/events"),
            ("GET", "/system/openapi.json"), ("POST", "/system/alert"), ("GET", "/system/nothing"),
        ):  # fmt: skip
            assert stranger.send(method, path).status == 401, path
        assert stranger.ready()

    def test_version_and_ready(self, cli: FaasCli) -> None:
        """Nothing in it is null."""
        assert cli.version()["provider"]["provider"] == "faasd-py"
        assert cli.ready()
        until(lambda: cli.ready("fixed"), within=60)
        assert not cli.ready("nothing")

    def test_deploy_list_describe_invoke_remove(self, cli: FaasCli) -> None:
        """The first deployment is a PUT, then, because of the 404, a POST; the second one a rolling update."""
        deployment = {
            "service": "figlet", "image": self.FORK, "envProcess": self.UPPER, "envVars": {"mood": "good"},
            "labels": {"team": "a"}, "annotations": {"topic": "none"}, "limits": {"memory": "128Mi"},
            "requests": {"cpu": "100m"}, "constraints": ["node.role == worker"], "namespace": "openfaas-fn",
        }  # fmt: skip
        deployment.pop("limits")  # what a host can enforce is another suite's matter
        assert cli.deploy(**deployment) == (404, 202)
        described = cli.describe("figlet")
        for key, value in deployment.items():
            assert described[{"service": "name"}.get(key, key)] == value
        assert described["Status"] == "Ready"
        assert cli.invoke("figlet", b"hello\n") == b"HELLO\n"
        until(lambda: cli.describe("figlet")["Invocations"] == 1, within=10)
        assert cli.deploy(**deployment | {"envProcess": "/bin/cat"}) == (202,)
        assert cli.invoke("figlet", b"hello") == b"hello"
        assert sorted(one["name"] for one in cli.list()) == ["figlet", "fixed"]
        cli.remove("figlet")
        with pytest.raises(CliError, match="No existing function"):
            cli.remove("figlet")
        with pytest.raises(CliError, match="no such function"):
            cli.describe("figlet")
        with pytest.raises(CliError, match="404"):
            cli.invoke("figlet", b"")

    def test_replace(self, cli: FaasCli) -> None:
        """`--replace --update=false` is a DELETE and a POST, also when there was nothing."""
        deployment = {"service": "again", "image": self.FORK, "envProcess": "/bin/cat"}
        assert cli.deploy(update=False, replace=True, **deployment) == (404, 202)
        assert cli.deploy(update=False, replace=True, **deployment) == (202, 202)
        cli.remove("again")

    def test_an_http_function(self, cli: FaasCli) -> None:
        """`faas-cli store deploy` and templates of mode http; scaled to nothing, and awake again with the next call."""
        assert cli.deploy(service="web", image=self.HTTP) == (404, 202)
        assert cli.ready("web")
        assert b"hello" in cli.invoke("web", b"hello", X_Trace="1")
        cli.scale("web", 0)
        until(lambda: not cli.ready("web"), within=15)
        assert b"awake" in cli.invoke("web", b"awake")
        until(lambda: cli.ready("web"), within=15)
        cli.remove("web")

    def test_invoke_async(self, cli: FaasCli) -> None:
        """202 at once; the result comes to the callback URL, which is a function that logs what it is sent."""
        cli.deploy(service="later", image=self.FORK, envProcess=self.UPPER)
        cli.deploy(service="told", image=self.HTTP)
        call = cli.invoke_async("later", b"quietly", X_Callback_Url="http://gateway:8080/function/told")
        (told,) = until(lambda: [line for line in cli.logs("told") if call in line["text"]], within=15)
        assert "QUIETLY" in told["text"]
        for name in ("later", "told"):
            cli.remove(name)

    def test_logs(self, cli: FaasCli) -> None:
        """What functions write, with their name; followed, while it happens."""
        cli.deploy(
            service="talks",
            image=self.FORK,
            envProcess=f"{self.SAY} __import__('sys').stderr.write('said\\n')",
        )
        cli.invoke("talks", b"")
        said = until(lambda: cli.logs("talks"), within=15)
        assert (said[0]["name"], said[0]["namespace"]) == ("talks", "openfaas-fn")
        lines = cli.logs("talks", follow=True)
        assert next(lines)["text"] == said[0]["text"]
        threading.Timer(0.2, cli.invoke, ("talks", b"")).start()
        assert next(lines)["name"] == "talks"
        lines.close()
        assert cli.logs("talks", tail=1)[-1]["name"] == "talks"
        assert cli.logs("talks", since="2100-01-01T00:00:00Z") == []
        cli.remove("talks")

    def test_secrets(self, cli: FaasCli, daemon: Daemon) -> None:
        """Created, refused when it is there, updated, used, removed; a function cannot be deployed without its secret."""
        with pytest.raises(CliError, match="unable to find secret: key"):
            cli.deploy(service="safe", image=self.FORK, envProcess="/bin/cat", secrets=["key"])
        cli.secret("create", "key", value=b"first\xff")
        with pytest.raises(CliError, match="already exists"):
            cli.secret("create", "key", value=b"second")
        assert cli.secret("list") == ["key"]
        show = f"{self.SAY} print(open({self.SECRETS}+'/key','rb').read())"
        cli.deploy(service="safe", image=self.FORK, envProcess=show, secrets=["key"])
        assert cli.invoke("safe", b"") == b"b'first\\xff'\n"
        cli.secret("update", "key", value=b"second")
        until(lambda: cli.invoke("safe", b"") == b"b'second'\n", within=15, what="the new value is seen")
        cli.remove("safe")
        cli.secret("remove", "key")
        with pytest.raises(CliError, match="unable to find secret"):
            cli.secret("remove", "key")
        assert "first" not in daemon.log

    def test_namespaces(self, cli: FaasCli) -> None:
        """The same name in two of them is two functions, with secrets of their own."""
        cli.namespace("create", "shop", team="a")
        assert cli.namespace("list") == ["openfaas-fn", "shop"]
        assert cli.namespace("get", "shop")["labels"] == {"openfaas": "1", "team": "a"}
        cli.namespace("update", "shop", team="b")
        assert cli.namespace("get", "shop")["labels"]["team"] == "b"
        cli.secret("create", "key", "shop", b"of the shop")
        cli.deploy(service="twin", image=self.FORK, envProcess="/bin/cat")
        cli.deploy(service="twin", image=self.FORK, envProcess=self.UPPER, namespace="shop", secrets=["key"])
        assert cli.invoke("twin", b"who") == b"who"
        assert cli.invoke("twin", b"who", "shop") == b"WHO"
        assert [one["namespace"] for one in cli.list("shop")] == ["shop"]
        assert cli.describe("twin", "shop")["envProcess"] == self.UPPER
        with pytest.raises(CliError, match="has functions: twin"):
            cli.namespace("remove", "shop")
        cli.remove("twin", "shop")
        assert cli.invoke("twin", b"who") == b"who"
        cli.namespace("remove", "shop")
        with pytest.raises(CliError, match="no such namespace"):
            cli.namespace("remove", "shop")
        with pytest.raises(CliError, match="namespace"):
            cli.deploy(service="twin", image=self.FORK, envProcess="/bin/cat", namespace="shop")
        cli.remove("twin")

    def test_what_config_toml_has_is_read_only(self, cli: FaasCli) -> None:
        """409 says where to change it."""
        for act in (
            lambda: cli.deploy(service="fixed", image=self.FORK, envProcess="/bin/cat"),
            lambda: cli.remove("fixed"),
        ):
            with pytest.raises(CliError, match=r"409: .*config\.toml"):
                act()
        assert cli.invoke("fixed", b"still") == b"still"

    def test_a_deployment_that_cannot_run_is_refused(self, cli: FaasCli) -> None:
        """With the reason, and the version that runs goes on."""
        with pytest.raises(CliError, match=f"400: .*{self.LOST[1]}"):
            cli.deploy(service="none", image=self.LOST[0], envProcess="cat")
        cli.deploy(service="keeps", image=self.FORK, envProcess="/bin/cat")
        with pytest.raises(CliError, match="400"):
            cli.deploy(service="keeps", image=self.FORK, envProcess="/no/such/program")
        with pytest.raises(CliError, match="400"):
            cli.deploy(service="keeps", image=self.BROKEN)
        assert cli.invoke("keeps", b"kept") == b"kept"
        cli.remove("keeps")

    @pytest.mark.parametrize(
        ("method", "target", "body", "expected"),
        [
            ("POST", "/system/functions", b"", 400),
            ("POST", "/system/functions", b"{", 400),
            ("POST", "/system/functions", b"[" * 100_000, 400),
            ("POST", "/system/functions", b'{"service":1,"image":"functions/a"}', 400),
            ("POST", "/system/functions", b'{"service":"../up","image":"functions/a","envProcess":"cat"}', 400),
            ("POST", "/system/functions", b'{"service":"a.b","image":"functions/a","envProcess":"cat"}', 400),
            ("POST", "/system/functions", b'{"service":"' + b"n" * 64 + b'","image":"functions/a"}', 400),
            ("POST", "/system/functions", b'{"service":"","image":"functions/a"}', 400),
            ("POST", "/system/functions", b'{"service":"a","image":""}', 400),
            ("POST", "/system/functions", b'{"service":"a","image":"functions/a","namespace":"../x"}', 400),
            ("POST", "/system/functions", b'{"service":"a","image":"functions/a","envVars":{"a=b":"c"}}', 400),
            ("PUT", "/system/functions", b"\xff\xfe", 400),
            ("DELETE", "/system/functions", b'{"functionName":"../../etc"}', (400, 404)),
            ("DELETE", "/system/functions", b'{"functionName":""}', (400, 404)),
            ("GET", "/system/function/..%2f..%2fsecrets", None, (400, 404)),
            ("GET", "/system/function/%00", None, (400, 404)),
            ("GET", "/system/functions?namespace=../x", None, 400),
            ("POST", "/system/scale-function/fixed", b'{"replicas":-1}', 400),
            ("POST", "/system/scale-function/fixed", b'{"replicas":"2"}', 400),
            ("POST", "/system/scale-function/nothing", b'{"replicas":1}', 404),
            ("POST", "/system/secrets", b'{"name":"../auth/basic-auth-password","value":"x"}', 400),
            ("GET", "/system/logs?name=..%2f..%2fetc%2fpasswd", None, (400, 404, 422)),
            ("GET", "/system/logs?name=fixed&tail=x", None, 422),
            ("GET", "/system/calls/..%2f..%2f", None, (400, 404)),
            ("PATCH", "/system/functions", b"{}", 405),
            ("POST", "/system/functions", b" " * (1 << 20) + b"{}", 413),
        ],
    )  # fmt: skip
    def test_hostile_requests(
        self, cli: FaasCli, method: str, target: str, body: bytes | None, expected
    ) -> None:
        """A line that says why; the daemon goes on, and nothing was deployed."""
        before = [one["name"] for one in cli.list()]
        answer = cli.send(method, target, raw=body, fields={"Content-Type": "application/json"})
        assert answer.status in ({expected} if isinstance(expected, int) else set(expected)), answer
        assert b"Traceback" not in answer.body
        assert [one["name"] for one in cli.list()] == before

    def test_unknown_fields_and_other_content_types_are_no_matter(self, cli: FaasCli) -> None:
        """Old clients send `network` and `registryAuth`; some send no type at all."""
        body = b'{"service":"old","image":"functions/a","envProcess":"/bin/cat","network":"x","registryAuth":"y"}'
        for kind in ("text/plain", "application/json; charset=utf-8", "nonsense"):
            assert (
                cli.send("POST", "/system/functions", raw=body, fields={"Content-Type": kind}).status == 202
            )
        cli.remove("old")

    def test_a_body_is_not_read_before_the_credentials(self, daemon: Daemon) -> None:
        """401 comes although the body never does."""
        token = base64.b64encode(b"admin:wrong").decode()
        answer = FaasCli(daemon.port).send(
            "POST", "/system/functions", token=token, fields={"Content-Length": "1000000"}
        )
        assert answer.status == 401

    def test_many_at_once(self, cli: FaasCli, daemon: Daemon) -> None:
        """Updates and removals of one function by many: each is answered, the daemon goes on, and the last word stands."""
        seen: list[int] = []

        def change(number: int) -> None:
            one = FaasCli(daemon.port)
            one.token = cli.token
            body = {
                "service": "busy",
                "image": self.FORK,
                "envProcess": "/bin/cat",
                "labels": {"by": str(number)},
            }
            method = ("POST", "PUT", "DELETE")[number % 3]
            value = {"functionName": "busy"} if method == "DELETE" else body
            seen.append(one.send(method, "/system/functions", value).status)

        threads = [threading.Thread(target=change, args=(number,)) for number in range(24)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert len(seen) == 24
        assert set(seen) <= {202, 404}
        cli.deploy(service="busy", image=self.FORK, envProcess=self.UPPER)
        assert cli.invoke("busy", b"last") == b"LAST"
        cli.remove("busy")

    def test_the_log_shows_no_credentials(self, daemon: Daemon) -> None:
        """Neither the password nor its encoded form."""
        user, password = daemon.credentials
        token = base64.b64encode(f"{user}:{password}".encode()).decode()
        assert password not in daemon.log
        assert token not in daemon.log

    def test_deployments_survive(self, cli: FaasCli, daemon: Daemon, tmp_path: Path) -> None:
        """A restart, also by kill -9, brings back what was deployed, as it was deployed."""
        cli.deploy(
            service="stays", image=self.FORK, envProcess="/bin/cat", labels={"a": "b"}, envVars={"x": "y"}
        )
        before = cli.describe("stays")
        daemon.kill()
        daemon.start()
        daemon.wait_healthy()
        after = cli.describe("stays")
        assert {key: after[key] for key in ("image", "envProcess", "labels", "envVars", "createdAt")} == {
            key: before[key] for key in ("image", "envProcess", "labels", "envVars", "createdAt")
        }
        assert cli.invoke("stays", b"here") == b"here"
        cli.remove("stays")

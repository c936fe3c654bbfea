"""faas-cli's side of every exchange it has with a gateway: the bytes that its HTTP client sends, and what it makes of the answers.

OpenFaaS wire contract §7. Go's client writes Host, User-Agent and Content-Length first, then the other fields in the order
of the alphabet, and asks for gzip; its JSON has no blanks and ends without a newline.
"""

from __future__ import annotations

import base64
import json
from contextlib import closing
from typing import Any

from tests.house.wire import Answer, dial, until_close

AGENT = "faas-cli/0.17.8"
OK = {200, 201, 202}
"""What every mutation takes for success."""
Json = dict[str, Any]


class CliError(Exception):
    """What faas-cli would print and exit 1."""


class FaasCli:
    """One user's faas-cli: a gateway's port, and credentials once logged in."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.token = ""
        self.sent: list[bytes] = []

    # how it speaks

    def send(
        self,
        method: str,
        target: str,
        value: Any = None,
        *,
        raw: bytes | None = None,
        token: str | None = None,
        fields: Json | None = None,
    ) -> Answer:
        """One request on a connection of its own. `value` goes as JSON, `raw` as it is."""
        body = json.dumps(value, separators=(",", ":")).encode() if value is not None else raw
        given = {"Accept-Encoding": "gzip", "Connection": "close"} | (fields or {})
        if auth := self.token if token is None else token:
            given["Authorization"] = f"Basic {auth}"
        if value is not None:
            given["Content-Type"] = "application/json"
        lines = [f"{method} {target} HTTP/1.1", f"Host: 127.0.0.1:{self.port}", f"User-Agent: {AGENT}"]
        if body is not None:
            lines.append(f"Content-Length: {len(body)}")
        lines += [f"{name}: {given[name]}" for name in sorted(given)]
        data = "\r\n".join(lines).encode() + b"\r\n\r\n" + (body or b"")
        self.sent.append(data)
        with closing(dial(self.port, 60)) as wire:
            wire.sendall(data)
            return parse(until_close(wire))

    # what it is asked for

    def login(self, user: str, password: str) -> None:
        """`faas-cli login -u USER -s`."""
        token = base64.b64encode(f"{user}:{password}".encode()).decode()
        answer = self.send("GET", "/system/functions", token=token)
        if answer.status == 401:
            raise CliError("unable to login, either username or password is incorrect")
        if answer.status != 200:
            raise CliError(f"received {answer.status}: {answer.text}")
        self.token = token

    def list(self, namespace: str = "") -> list[Json]:
        """`faas-cli list`."""
        answer = self.send("GET", "/system/functions" + query(namespace))
        self.must(answer, {200})
        return [status(one) for one in answer.json()]

    def describe(self, name: str, namespace: str = "") -> Json:
        """`faas-cli describe`: the function, and its invocations from the list."""
        answer = self.send(
            "GET", f"/system/function/{name}?usage=1" + (f"&namespace={namespace}" if namespace else "")
        )
        if answer.status == 404:
            raise CliError(f"no such function: {name}")
        self.must(answer, {200})
        function = status(answer.json())
        (listed,) = [one for one in self.list(namespace) if one["name"] == name]
        ready = "Ready" if function.get("availableReplicas", 0) > 0 else "Not Ready"
        return function | {"Status": ready, "Invocations": listed.get("invocationCount", 0)}

    def deploy(self, *, update: bool = True, replace: bool = False, **deployment: Any) -> tuple[int, ...]:
        """`faas-cli deploy`; the statuses that came."""
        body = {"labels": {}, "annotations": {}} | deployment
        if replace and not update:
            name, namespace = body["service"], body.get("namespace", "")
            gone = self.send("DELETE", "/system/functions" + query(namespace), removal(name, namespace))
            if gone.status not in OK | {404}:
                raise CliError(gone.text)
            answer = self.send("POST", "/system/functions", body)
            self.must(answer, OK)
            return gone.status, answer.status
        first = self.send("PUT" if update else "POST", "/system/functions", body)
        if update and first.status == 404:
            answer = self.send("POST", "/system/functions", body)
            self.must(answer, OK)
            return 404, answer.status
        self.must(first, OK)
        return (first.status,)

    def remove(self, name: str, namespace: str = "") -> None:
        """`faas-cli remove`."""
        answer = self.send("DELETE", "/system/functions" + query(namespace), removal(name, namespace))
        if answer.status == 404:
            raise CliError("No existing function to remove")
        self.must(answer, OK)

    def scale(self, name: str, replicas: int, namespace: str = "") -> None:
        """As go-sdk's ScaleFunction."""
        body = {"serviceName": name, "replicas": replicas} | ({"namespace": namespace} if namespace else {})
        self.must(self.send("POST", f"/system/scale-function/{name}{query(namespace)}", body), OK)

    def invoke(self, name: str, body: bytes, namespace: str = "openfaas-fn", **fields: str) -> bytes:
        """`faas-cli invoke`: no credentials are sent to functions."""
        answer = self.call("/function/", name, body, namespace, fields)
        if not 200 <= answer.status < 300:
            raise CliError(f"server returned unexpected status code: {answer.status} - {answer.text}")
        return answer.body

    def invoke_async(self, name: str, body: bytes, namespace: str = "openfaas-fn", **fields: str) -> str:
        """`faas-cli invoke --async`; the call id that it prints."""
        answer = self.call("/async-function/", name, body, namespace, fields)
        if answer.status != 202:
            raise CliError(f"server returned unexpected status code: {answer.status}")
        return answer.headers["x-call-id"]

    def call(self, road: str, name: str, body: bytes, namespace: str, fields: dict[str, str]) -> Answer:
        given = {"Content-Type": "text/plain"} | {
            key.replace("_", "-"): value for key, value in fields.items()
        }
        return self.send("POST", f"{road}{name}.{namespace}", raw=body, token="", fields=given)

    def logs(self, name: str, namespace: str = "", *, tail: int = -1, since: str = "", follow: bool = False):
        """`faas-cli logs`: what was said, in order; with `follow` a generator that goes on for ever."""
        parts = {"name": name, "follow": "1" if follow else "0", "tail": str(tail)}
        parts |= ({"namespace": namespace} if namespace else {}) | ({"since": since} if since else {})
        target = "/system/logs?" + "&".join(f"{key}={value}" for key, value in sorted(parts.items()))
        if follow:
            return self._follow(target)
        answer = self.send("GET", target)
        self.must(answer, {200})
        return [message(line) for line in answer.body.splitlines()]

    def _follow(self, target: str):
        head = f"GET {target} HTTP/1.1\r\nHost: x\r\nUser-Agent: {AGENT}\r\nAuthorization: Basic {self.token}\r\n\r\n"
        with closing(dial(self.port, 60)) as wire:
            wire.sendall(head.encode())
            with wire.makefile("rb") as answer:
                assert b" 200 " in answer.readline()
                while answer.readline() != b"\r\n":
                    pass
                while size := int(answer.readline(), 16):
                    yield from map(
                        message, filter(None, answer.read(size + 2).splitlines())
                    )  # blank lines: Go skips them

    def secret(
        self, verb: str, name: str = "", namespace: str = "openfaas-fn", value: bytes | None = None
    ) -> Any:
        """`faas-cli secret list|create|update|remove`; from a file both forms of the value are sent."""
        if verb == "list":
            answer = self.send("GET", "/system/secrets" + query(namespace))
            self.must(answer, {200, 202})
            return [secret["name"] for secret in answer.json()]
        body: Json = {"name": name, "namespace": namespace}
        if value is not None:
            body |= {"value": value.decode("utf-8", "replace"), "rawValue": base64.b64encode(value).decode()}
        method = {"create": "POST", "update": "PUT", "remove": "DELETE"}[verb]
        answer = self.send(method, "/system/secrets", body)
        if verb == "create" and answer.status == 409:
            raise CliError(f"secret with the name {name!r} already exists, try --replace")
        if answer.status == 404:
            raise CliError(f"unable to find secret: {name}")
        self.must(answer, {200, 201, 202} if verb == "create" else {200, 202})
        return None

    def namespace(self, verb: str, name: str = "", **labels: str) -> Any:
        """`faas-cli namespace list|get|create|update|remove`."""
        if verb == "list":
            answer = self.send("GET", "/system/namespaces")
            self.must(answer, {200})
            return answer.json()
        mark = {"openfaas": "1"}
        body = {"name": name, "annotations": mark, "labels": mark | labels}
        if verb == "get":
            answer = self.send("GET", f"/system/namespace/{name}")
        elif verb == "create":
            answer = self.send("POST", "/system/namespace/", body)
        else:
            answer = self.send({"update": "PUT", "remove": "DELETE"}[verb], f"/system/namespace/{name}", body)
        if answer.status == 404:
            raise CliError(f"no such namespace: {name}")
        self.must(answer, {200} if verb == "get" else OK)
        return answer.json() if verb == "get" else None

    def version(self) -> Json:
        """`faas-cli version`: it crashes when provider or version is null."""
        answer = self.send("GET", "/system/info")
        self.must(answer, {200})
        info: Json = answer.json()
        assert isinstance(info["provider"]["version"]["release"], str)
        assert isinstance(info["version"]["release"], str)
        assert info["arch"]
        return info

    def ready(self, name: str = "") -> bool:
        """`faas-cli ready`: one look."""
        if not name:
            return self.send("GET", "/healthz").status == 200
        answer = self.send("GET", f"/system/function/{name}")
        return answer.status == 200 and answer.json().get("availableReplicas", 0) > 0

    def must(self, answer: Answer, accepted: set[int]) -> None:
        if answer.status == 401:
            raise CliError(
                "unauthorized access, run `faas-cli login` to setup authentication for this server"
            )
        if answer.status not in accepted:
            raise CliError(f"server returned unexpected status code {answer.status}: {answer.text}")


def query(namespace: str) -> str:
    return f"?namespace={namespace}" if namespace else ""


def removal(name: str, namespace: str) -> Json:
    return {"functionName": name} | ({"namespace": namespace} if namespace else {})


def status(function: Json) -> Json:
    """As Go decodes a FunctionStatus: types that do not fit are an error, and a time must be one."""
    for key, kind in {
        "name": str, "image": str, "namespace": str, "envProcess": str, "envVars": dict, "constraints": list,
        "secrets": list, "labels": dict, "annotations": dict, "limits": dict, "requests": dict,
        "readOnlyRootFilesystem": bool, "invocationCount": (int, float), "replicas": int,
        "availableReplicas": int, "usage": dict,
    }.items():  # fmt: skip
        assert key not in function or isinstance(function[key], kind), (key, function[key])
    assert function["createdAt"].endswith("Z"), function["createdAt"]
    return function


def message(line: bytes) -> Json:
    """A line of logs: every key is there."""
    said: Json = json.loads(line)
    assert set(said) >= {"name", "namespace", "instance", "timestamp", "text"}, said
    return said


def parse(data: bytes) -> Answer:
    """An answer's bytes, to the end of the connection."""
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    pairs = [tuple(line.split(": ", 1)) for line in lines]
    if ("transfer-encoding", "chunked") in [(name.lower(), value) for name, value in pairs]:
        body = _dechunked(body)
    return Answer(int(first.split(" ")[1]), pairs, body)  # type: ignore[arg-type]


def _dechunked(data: bytes) -> bytes:
    body = b""
    while True:
        size, _, data = data.partition(b"\r\n")
        if not (length := int(size, 16)):
            return body
        body, data = body + data[:length], data[length + 2 :]

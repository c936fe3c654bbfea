"""The REST API is what its description says: schemathesis makes requests of it, right and wrong ones, for a running daemon."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.house.daemon import Daemon, running, service

STREAMS = ("/system/events", "/system/logs")
"""They go on: their own tests read them."""
CHECKS = (
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
)

KNOWN: dict[str, dict[str, list[object]]] = {
    "/system/function": {"name": ["echo", "there", "there.shop", "nothing"]},
    "/system/scale-function": {"name": ["there", "echo", "nothing"]},
    "/system/namespace": {"name": ["shop", "mall", "openfaas-fn"]},
    "/system/tokens": {"name": ["one", "nothing"]},
    "/system/calls": {
        "call": ["known", "nothing"],
        "function": ["echo", "fails.openfaas-fn"],
        "wait": ["10ms"],
    },
    "/system/queue": {"lane": ["echo.openfaas-fn"]},
    "": {"namespace": ["openfaas-fn", "shop"], "limit": [1, 1000]},
}
"""What there is, so that those who ask the right way also find something."""
BODIES: dict[str, dict[str, list[object]]] = {
    "Secret": {"name": ["key", "new"], "namespace": ["", "shop"], "value": ["x"]},
    "Namespace": {"name": ["shop", "mall", "openfaas-fn"], "labels": [{"openfaas": "1"}]},
    "FunctionDeployment": {
        "service": ["there", "fresh"], "image": ["functions/a"], "namespace": ["", "shop"], "secrets": [[]],
        "envVars": [{"a": "b"}], "limits": [None], "readOnlyRootFilesystem": [False], "envProcess": ["cat"],
    },
    "DeleteFunctionRequest": {"functionName": ["fresh", "nothing"], "namespace": ["", "shop"]},
}  # fmt: skip
EXAMPLES = settings(
    max_examples=10, deadline=None, derandomize=True, phases=[Phase.generate], database=None,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon that has something to tell: functions, a secret, a namespace, calls that are done and dead."""
    root = tmp_path_factory.mktemp("openapi")
    functions = {
        "echo": {"command": ["/bin/cat"]},
        "fails": {"command": ["/bin/false"], "retry": {"attempts": 1}},
    }
    images = {"functions/*": {"command": ["/bin/cat"]}, "web/*": service(root)}
    with running(root, functions, auth={"enabled": True}, images=images) as one:
        one.wait_healthy()
        for name in ("echo", "fails"):
            one.put(name, b"x", {"X-Call-Id": "known"})
        one.system("POST", "/system/secrets", {"name": "key", "value": "x"})
        one.system("POST", "/system/namespace/", {"name": "shop", "labels": {"openfaas": "1"}})
        one.system("POST", "/system/functions", {"service": "there", "image": "functions/a"})
        one.system("POST", "/system/tokens", {"name": "one", "scopes": ["read"]})
        yield one


def acquainted(document: dict[str, Any]) -> dict[str, Any]:
    """The description with what there is in the place of anything."""
    for path, methods in document["paths"].items():
        known = {
            name: values
            for base, given in KNOWN.items()
            if path.startswith(base)
            for name, values in given.items()
        }
        for operation in methods.values():
            for parameter in operation["parameters"]:
                if parameter["name"] in known:
                    parameter["schema"]["enum"] = known[parameter["name"]]
    schemas = document["components"]["schemas"]
    for name, fields in BODIES.items():
        for field, values in fields.items():
            schemas[name]["properties"][field] = {"enum": values}
        schemas[name]["required"] = list(fields)
    return document


def operations(daemon: Daemon, mode: GenerationMode) -> Iterator[schemathesis.APIOperation]:
    """What the daemon itself says that it can do."""
    document = daemon.system("GET", "/system/openapi.json").json()
    for path in STREAMS:
        document["paths"].pop(path)
    if mode is GenerationMode.POSITIVE:
        document = acquainted(document)
    schema = schemathesis.openapi.from_dict(document)
    schema.config.update(base_url=f"http://127.0.0.1:{daemon.port}")
    for found in schema.get_all_operations():
        yield found.ok()


def _checks(path: str) -> tuple[Any, ...]:
    """OpenFaaS' alerts that cannot be followed are answered 500 (wire contract §1.4)."""
    return CHECKS[1:] if path == "/system/alert" else CHECKS


def _hold(operation: schemathesis.APIOperation, mode: GenerationMode, authorization: dict[str, str]) -> None:
    """Whatever is asked, the answer is one of those that are described."""

    @EXAMPLES
    @given(operation.as_strategy(generation_mode=mode))
    def ask(case: schemathesis.Case) -> None:
        case.call_and_validate(checks=_checks(operation.path), headers=authorization, timeout=20)

    with suppress(Unsatisfiable):  # there is nothing to be wrong about it
        ask()


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_every_operation(daemon: Daemon, mode: GenerationMode, subtests: pytest.Subtests) -> None:
    """Each is held to its description, by requests that are right and by wrong ones."""
    for operation in operations(daemon, mode):
        with subtests.test(operation.label):
            _hold(operation, mode, daemon.authorization)


def test_it_is_all_the_same_daemon(daemon: Daemon) -> None:
    """Nothing of that has hurt it."""
    assert daemon.ask("POST", "/function/echo", b"still here").body == b"still here"
    assert daemon.ask("GET", "/healthz").status == 200
    assert "Traceback" not in daemon.log

"""From a deployment to a function's settings: which template, which command, what is heeded, what is refused."""

from __future__ import annotations

import pytest

from faasd_py.config import FunctionSettings, LimitSettings
from faasd_py.core.deployment import FunctionDeployment, FunctionResources
from faasd_py.core.errors import BadRequest
from faasd_py.deploy.images import settings_of, template_of

MODES = ("fork", "stream", "http", "url")
ALPINE = "functions/alpine:latest"
FORK = {"functions/alpine:*": FunctionSettings(command=["$fprocess"])}


def sent(image=ALPINE, **more) -> FunctionDeployment:
    return FunctionDeployment(service="f", image=image, **more)


def settings(images=FORK, modes=MODES, **more) -> FunctionSettings:
    return settings_of("f", sent(**more), images, modes)


@pytest.mark.parametrize(
    ("image", "pattern"),
    [
        ("a/b:1", "a/b:1"),
        ("a/b:2", "a/b:*"),
        ("a/c:1", "a/*"),
        ("a/b", "a/b:*"),
        ("a/latest", "a/latest:latest"),
        ("docker.io/a/b:1", "a/b:1"),
        ("docker.io/library/alone", "alone:latest"),
        ("alone", "alone:latest"),
        ("reg.lan:5000/alone", "reg.lan:5000/*"),
        ("a/b@sha256:77", "a/*"),
        ("x", "*"),
        ("A/B:1", "*"),
        ("two/1", "two/?"),
        ("two/11", "*"),
        ("set/b", "set/[ab]"),
    ],
)
def test_the_pattern_that_fits_best(image, pattern):
    """Without wildcards first, then most other characters; a tag and the registry that go without saying are said."""
    patterns = (
        "*", "a/*", "a/b:*", "a/b:1", "a/latest:latest", "alone:latest", "reg.lan:5000/*", "two/?", "set/[ab]",
    )  # fmt: skip
    images = {one: FunctionSettings(command=[one]) for one in patterns}
    assert template_of(image, images).command == [pattern]


def test_the_first_of_equals():
    """As the file has them."""
    one, other = FunctionSettings(command=["1"]), FunctionSettings(command=["2"])
    assert template_of("ab", {"a*": one, "*b": other}) is one
    assert template_of("ab", {"*b": other, "a*": one}) is other
    assert template_of("x", {"a*": one}) is None


def test_the_process():
    """The deployment's, in the place of `$fprocess`, split at spaces as the watchdog does; no shell, no quotes."""
    assert settings(env_process="cat  -n 'a b'").command == ["cat", "-n", "'a", "b'"]
    nice = {ALPINE: FunctionSettings(command=["nice", "$fprocess", "-"])}
    assert settings(nice, env_process="cat -n").command == ["nice", "cat", "-n", "-"]
    assert settings({ALPINE: FunctionSettings()}, env_process="cat").command == ["cat"]
    fixed = {ALPINE: FunctionSettings(command=["always"])}
    assert settings(fixed, env_process="cat").command == ["always"]


def test_where_the_process_may_stand():
    """In envProcess, else function_process, else fprocess, else what the template's environment brings along."""
    template = {ALPINE: FunctionSettings(environment={"fprocess": "brought"})}
    assert settings(template).command == ["brought"]
    assert settings(template, env_vars={"fprocess": "sent"}).command == ["sent"]
    both = {"fprocess": "sent", "function_process": "newer"}
    assert settings(template, env_vars=both).command == ["newer"]
    assert settings(template, env_vars=both, env_process="said").command == ["said"]


def test_what_carries_over():
    """Environment, labels and annotations are laid over the template's, secrets added to them."""
    template = FunctionSettings(
        command=["cat"],
        environment={"A": "1", "B": "1"},
        labels={"x": "1", "y": "1"},
        annotations={"k": "1"},
        secrets=["one"],
        working_directory="/tmp",
        limits=LimitSettings(best_effort=True, open_files=9),
    )
    found = settings(
        {ALPINE: template},
        env_vars={"B": "2"},
        labels={"y": "2"},
        annotations={"l": "2"},
        secrets=["two", "one"],
        limits=FunctionResources(memory="128Mi", cpu="100m"),
        requests=FunctionResources(memory="1Gi"),
        constraints=["node.role == any"],
    )
    assert found.environment == {"A": "1", "B": "2"}
    assert found.labels == {"x": "1", "y": "2"}
    assert found.annotations == {"k": "1", "l": "2"}
    assert found.secrets == ["one", "two"]
    assert found.working_directory == "/tmp"
    assert found.limits == LimitSettings(memory=128 << 20, cpu=0.1, best_effort=True, open_files=9)


def test_the_watchdogs_variables():
    """Those that the mode has a setting for; what cannot be read counts as not given."""
    variables = {
        "read_timeout": "5s", "write_timeout": "6", "exec_timeout": "1m30s", "max_inflight": "3",
        "combine_output": "true", "content_type": "text/html", "cgi_headers": "false", "grace_period": "1s",
        "ready_path": "/ready", "healthcheck_interval": "9s",
    }  # fmt: skip
    fork = settings(env_vars=variables, env_process="cat")
    assert (fork.exec_timeout, fork.max_inflight, fork.kill_grace) == (90, 3, 1)
    assert (fork.combine_output, fork.content_type, fork.cgi_headers) == (True, "text/html", False)
    assert (fork.read_timeout, fork.ready_path) == (60, None)
    http = settings(env_vars={**variables, "mode": "http"}, env_process="cat")
    assert (http.mode, http.read_timeout, http.write_timeout, http.ready_path) == ("http", 5, 6, "/ready")
    assert not http.combine_output
    odd = {"exec_timeout": "soon", "max_inflight": "-1", "ready_path": "nowhere", "combine_output": "yes"}
    assert settings(env_vars=odd, env_process="cat").exec_timeout == 60
    assert settings(env_vars=odd, env_process="cat").max_inflight == 0
    assert not settings(env_vars=odd, env_process="cat").combine_output
    assert settings(env_vars=odd, env_process="cat").environment == odd


@pytest.mark.parametrize(
    ("watchdog", "mode"), [("http", "http"), ("streaming", "stream"), ("serializing", "fork")]
)
def test_the_watchdogs_modes(watchdog, mode):
    """Of-watchdog's words for ours; any other word is the function's own."""
    assert settings(env_vars={"mode": "fast"}, env_process="cat").mode == "fork"
    assert settings(env_vars={"mode": watchdog}, env_process="cat").mode == mode


@pytest.mark.parametrize(
    ("url", "port"),
    [
        ("http://127.0.0.1:3000", 3000),
        ("http://localhost:5000/", 5000),
        ("http://127.0.0.1", 0),
        ("http://10.0.0.1:3000", 0),
        ("http://127.0.0.1:x", 0),
    ],
)
def test_the_port_of_the_process(url, port):
    """A process that listens where the watchdog would look for it is looked for there."""
    found = settings(env_vars={"mode": "http", "http_upstream_url": url}, env_process="node index.js")
    assert found.port == port
    assert settings(env_vars={"http_upstream_url": url}, env_process="cat").port == 0


def test_a_plug_in_that_runs_images():
    """It gets the image as it was sent, and the process as the variable that the watchdog in it reads."""
    found = settings({}, (*MODES, "image"), env_process="cat -n", read_only_root_filesystem=True)
    assert (found.image, found.command, found.mode) == (ALPINE, None, "image")
    assert found.environment == {"fprocess": "cat -n"}
    assert found.read_only_root


def test_a_template_for_a_plug_in():
    """Another mode, or another image for the same name."""
    images = {"a:*": FunctionSettings(mode="vm"), "b:*": FunctionSettings(image="mirror.lan/b:1")}
    assert (settings(images, image="a:1").mode, settings(images, image="a:1").image) == ("vm", "a:1")
    assert settings(images, image="b:7").image == "mirror.lan/b:1"


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ({"image": "other:1"}, "functions.f.image: nothing here runs 'other:1': name it in [images]"),
        ({"image": ""}, "functions.f.image: the deployment names none"),
        ({}, "functions.f.command: the image's template runs what envProcess (fprocess) says"),
        ({"env_process": "  "}, "functions.f.command: the image's template runs what"),
        ({"env_process": "a", "env_vars": {"mode": "inproc"}}, "functions.f.mode: of the watchdog's modes"),
        ({"env_process": "a", "env_vars": {"": "x"}}, "functions.f.environment."),
        ({"env_process": "a", "env_vars": {"A": "\0"}}, "functions.f.environment.A"),
        ({"env_process": "a", "limits": FunctionResources(memory="lots")}, "functions.f.limits: expected"),
        ({"env_process": "a", "limits": FunctionResources(cpu="-1")}, "functions.f.limits: expected"),
        ({"env_process": "a", "secrets": ["../x"]}, "functions.f.secrets[0]: expected a file name"),
    ],
)
def test_what_is_refused(more, sentence):
    """With a sentence that begins with the key."""
    with pytest.raises(BadRequest) as refused:
        settings(**more)
    assert str(refused.value).startswith(sentence)

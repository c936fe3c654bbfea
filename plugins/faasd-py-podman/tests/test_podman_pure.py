"""What needs no podman: options, names of images, credentials, what is asked of podman, what the host can."""

from __future__ import annotations

import base64
import json
import resource
from pathlib import Path

import msgspec
import pytest

from faasd_py.api import ConfigError, RuntimeSite
from faasd_py.config import FunctionSettings, LimitSettings
from faasd_py_podman import references
from faasd_py_podman.host import Host, rlimits
from faasd_py_podman.images import find_credentials
from faasd_py_podman.lines import Lines
from faasd_py_podman.options import read_options
from faasd_py_podman.spec import Box, spec


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"sockets": "x"}, "runtimes.podman.sockets: there is no such setting (is socket meant?)"),
        ({"socket": 3}, "runtimes.podman.socket: expected a string, got "),
        (
            {"socket": "podman.sock"},
            "runtimes.podman.socket: expected the absolute path of a socket, got 'podman.sock'",
        ),
        ({"command": []}, 'runtimes.podman.command: expected the program and its options, like ["podman"]'),
        ({"pull": "sometimes"}, 'runtimes.podman.pull: expected "missing", "always" or "never"'),
        (
            {"network": "host"},
            "runtimes.podman.network: expected \"none\" or the name of a network of podman, got 'host'",
        ),
        ({"network": "container:x"}, "runtimes.podman.network: expected"),
        (
            {"capabilities": ["net_admin"]},
            "runtimes.podman.capabilities[0]: expected a word like NET_BIND_SERVICE",
        ),
        ({"tmp_size": "big"}, "runtimes.podman.tmp_size: expected"),
        ({"functions": {"f": {"network": "host"}}}, "runtimes.podman.functions.f.network: expected"),
        (
            {"socket": "/x", "oci_runtime": "runc"},
            "runtimes.podman.oci_runtime: the service at /x has chosen one",
        ),
    ],
)
def test_options_that_are_wrong(given, sentence):
    """Are said with their place."""
    with pytest.raises(ConfigError) as caught:
        read_options(given)
    assert str(caught.value).startswith(sentence)


def test_a_functions_own_options_win():
    """By its label, then by its name; what it does not say is everybody's."""
    options = read_options(
        {
            "pull": "always",
            "capabilities": ["CHOWN"],
            "functions": {"f": {"network": "lan"}, "f.dev": {"capabilities": [], "pull": "never"}},
        }
    )

    def of(name, label):
        return msgspec.structs.astuple(options.of(name, label))

    assert of("f", "f.prod") == ("lan", "always", ("CHOWN",))
    assert of("f", "f.dev") == ("none", "never", ())
    assert of("g", "g.dev") == ("none", "always", ("CHOWN",))


@pytest.mark.parametrize(
    ("short", "full"),
    [
        ("alpine", "docker.io/library/alpine"),
        ("alpine:3", "docker.io/library/alpine:3"),
        ("functions/alpine:latest", "docker.io/functions/alpine:latest"),
        ("ghcr.io/openfaas/figlet:latest", "ghcr.io/openfaas/figlet:latest"),
        ("localhost/f:1", "localhost/f:1"),
        ("127.0.0.1:5000/f", "127.0.0.1:5000/f"),
        ("box:5000/f@sha256:0a", "box:5000/f@sha256:0a"),
    ],
)
def test_short_names_are_dockers(short, full):
    """As faas-cli's users mean them."""
    assert references.full(short) == full


def entry(user, password):
    return {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}


@pytest.mark.parametrize(
    ("reference", "found"),
    [
        ("ghcr.io/team/f:1", ("narrow", "p:w")),
        ("ghcr.io/team/f@sha256:0a", ("narrow", "p:w")),
        ("ghcr.io/team/g:1", ("team", "t")),
        ("ghcr.io/else/g:1", ("wide", "w")),
        ("docker.io/library/alpine", ("docker", "d")),
        ("quay.io/f", None),
        ("helper.io/f", None),
    ],
)
def test_credentials_are_found(reference, found):
    """The most specific entry; docker.io under its old names; none for a registry whose password a helper keeps."""
    text = json.dumps(
        {
            "auths": {
                "ghcr.io": entry("wide", "w"),
                "ghcr.io/team": entry("team", "t"),
                "ghcr.io/team/f": entry("narrow", "p:w"),
                "https://index.docker.io/v1/": entry("docker", "d"),
                "helper.io": {},
            }
        }
    )
    assert find_credentials(text.encode(), reference, Path("auth.json")) == found


@pytest.mark.parametrize("text", [b"", b"[]", b'{"auths": {"quay.io": {"auth": "*"}}}', b'{"auths": []}'])
def test_a_file_that_has_no_credentials_in_it(text):
    """Is named; its content is not shown."""
    with pytest.raises(ConfigError, match=r"runtimes\.podman\.auth_file: auth\.json is not what"):
        find_credentials(text, "quay.io/f", Path("auth.json"))


def site(**settings) -> RuntimeSite:
    return RuntimeSite(
        name="f",
        namespace="fns",
        settings=FunctionSettings(image="i", **settings),
        directory=Path(),
        secrets=Path(),
        log=None,
    )


def box(**more) -> Box:
    given = {
        "name": "f-1", "owner": "me", "image": "sha", "network": "none", "capabilities": (), "log": Path("/l"),
        "secrets": None, "tmp_size": 1024, "rlimits": [], "enforced": frozenset({"memory", "pids", "cpu"}),
    }  # fmt: skip
    return Box(**(given | more))


def test_what_podman_is_asked_for():
    """Nothing that was not said: no network, no capability, no privilege, no limit."""
    asked = spec(site(), box())
    assert asked["netns"] == {"nsmode": "none"}
    assert (asked["cap_drop"], asked["cap_add"], asked["no_new_privileges"]) == (["all"], [], True)
    assert asked["resource_limits"] == {}
    assert asked["mounts"] == []
    assert not {"user", "work_dir", "Networks", "privileged"} & asked.keys()


def test_what_is_asked_for_more():
    """Limits in the kernel's units, labels of the function under the daemon's own, a port of its own."""
    limits = LimitSettings(memory=1 << 20, cpu=0.25, pids=9)
    asked = spec(
        site(
            limits=limits, labels={"faasd-py.daemon": "stolen", "a": "b"}, port=9000, environment={"X": "1"}
        ),
        box(network="lan", capabilities=("CAP_CHOWN", "KILL"), secrets=Path("/s")),
    )
    assert asked["resource_limits"] == {
        "memory": {"limit": 1 << 20}, "cpu": {"period": 100_000, "quota": 25_000}, "pids": {"limit": 9},
    }  # fmt: skip
    assert (asked["netns"], asked["Networks"]) == ({"nsmode": "bridge"}, {"lan": {}})
    assert asked["cap_add"] == ["CAP_CHOWN", "CAP_KILL"]
    assert asked["labels"] == {"faasd-py.daemon": "me", "faasd-py.function": "f.fns", "a": "b"}
    assert asked["env"] == {"PORT": "9000", "X": "1"}
    (mount,) = asked["mounts"]
    assert (mount["destination"], mount["source"]) == ("/var/openfaas/secrets", "/s")
    assert {"ro", "nosuid", "nodev", "noexec"} < set(mount["options"])
    assert spec(site(limits=limits), box(enforced=frozenset({"pids"})))["resource_limits"] == {
        "pids": {"limit": 9}
    }


def test_limits_that_the_host_cannot_enforce():
    """Are named."""
    host = Host("4.3.1", frozenset({"cpu", "memory"}))
    assert host.unenforced(site(limits=LimitSettings(memory=1, cpu=1.0, pids=1))) == ["pids"]
    assert host.unenforced(site()) == []


def test_rlimits_are_what_can_be_given(monkeypatch):
    """Not more than this process has; a function may have fewer files."""
    unlimited = resource.RLIM_INFINITY
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1000, 2000))
    assert rlimits(None) == [
        {"type": "nofile", "soft": 2000, "hard": 2000}, {"type": "nproc", "soft": 2000, "hard": 2000},
    ]  # fmt: skip
    assert [rlimits(number)[0]["hard"] for number in (10, 5000)] == [10, 2000]
    monkeypatch.setattr(resource, "getrlimit", lambda _: (unlimited, unlimited))
    assert [limit["hard"] for limit in rlimits(None)] == [1 << 20, 32768]


class Log:
    def __init__(self):
        self.lines = []

    def line(self, text, *, stream, instance):
        self.lines.append((stream, text))


async def test_lines_are_put_together(tmp_path):
    """Pieces of both streams mixed, cut anywhere; what is not in the format is left out; the last words are kept."""
    log = Log()
    lines = Lines(tmp_path / "fifo", log)
    text = b"T stdout P one \nT stderr F err\nT stdout F two\nnonsense\nT stdout F \nT stdout P no end\n"
    for cut in range(len(text)):
        lines._take(text[cut : cut + 1])
    assert log.lines == [("stderr", "err"), ("stdout", "one two"), ("stdout", "")]
    lines._take(b"".join(b"T stderr P %s\n" % (b"z" * 8000) for _ in range(20)))
    assert max(len(text) for _, text in log.lines) < 80_000
    assert len(lines.last) <= 5
    assert max(map(len, lines.last)) <= 200
    await lines.aclose(running=False)
    assert not (tmp_path / "fifo").exists()

"""What a stranger does first: `make run`'s configuration, the README's three curls, the shipped config.toml."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.house.daemon import Daemon, free_port
from tests.house.patience import until
from tests.house.wire import dial, until_bytes

ROOT = Path(__file__).parents[2]
Make = Callable[..., Daemon]


def surrounded(daemon: Daemon) -> str:
    """The shell words that start it with its own directories, as systemd and `make run` do, and the demo's programs."""
    places = f"STATE_DIRECTORY={daemon.root}/state RUNTIME_DIRECTORY={daemon.root}/run"
    return f'{places} PATH={ROOT}/demo/functions:$PATH exec "$@"'


@pytest.fixture
def demo(make: Make) -> Iterator[Daemon]:
    daemon = make({})
    text = (ROOT / "demo" / "config.toml").read_text()
    head = f'[gateway]\nlisten = ["127.0.0.1:{daemon.port}"]\n[metrics]\nlisten = []\n'
    daemon.config.write_text(text.replace("[functions.echo]", head + "[functions.echo]", 1))
    daemon.start(through=surrounded(daemon))
    yield daemon
    assert daemon.stop() == 0
    assert "Traceback" not in daemon.log


def test_the_readmes_three_calls(demo: Daemon) -> None:
    """Synchronously, asynchronously, and with a callback to another function, whose line is in the log."""
    assert demo.ask("POST", "/function/echo", b"hello").body == b"hello"
    assert demo.ask("POST", "/async-function/echo", b"hello").status == 202
    headers = {"X-Callback-Url": "http://gateway/function/receiver"}
    assert demo.ask("POST", "/async-function/echo", b"hello from afar", headers).status == 202
    until(lambda: "hello from afar" in demo.log, what="the receiver's line is in the log")


def test_the_live_function_answers_line_by_line(demo: Daemon) -> None:
    """Each line comes back before the next is sent."""
    with dial(demo.port) as wire:
        wire.sendall(b"PUT /function/shout HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        for word in (b"one", b"two"):
            wire.sendall(b"4\r\n" + word + b"\n\r\n")
            assert word.upper() in until_bytes(wire, word.upper() + b"\n")


def test_the_sleeping_service_wakes(demo: Daemon) -> None:
    """The first call starts it."""
    assert demo.ask("GET", "/function/api").status == 200


def test_a_killed_demo_loses_nothing(demo: Daemon) -> None:
    """A call that waits is there after a kill and a start."""
    demo.put("receiver", b"remember me", {"X-Delay": "1s"})
    demo.kill()
    demo.start(through=surrounded(demo))
    until(lambda: "remember me" in demo.log, what="it ran")


def test_the_shipped_configuration_starts(make: Make) -> None:
    """As it is, but for the ports; without functions everything is 404, and it is healthy."""
    daemon = make({})
    text = (ROOT / "config.toml").read_text()
    for port in (8080, 8082):
        text = text.replace(f"127.0.0.1:{port}", f"127.0.0.1:{daemon.port if port == 8080 else free_port()}")
    daemon.config.write_text(text)
    daemon.start(through=surrounded(daemon))
    assert daemon.ask("GET", "/function/nobody").status == 404
    daemon.wait_healthy()
    assert daemon.stop() == 0


def test_what_the_demo_says_of_deploying(demo: Daemon) -> None:
    """The body in its last comment, as it stands there."""
    body = (ROOT / "demo" / "config.toml").read_text().partition("-d '")[2].partition("'\n")[0]
    demo.wait_healthy()
    assert demo.system("POST", "/system/functions", body.encode()).status == 202
    assert demo.ask("POST", "/function/upper", b"hello").body == b"HELLO"

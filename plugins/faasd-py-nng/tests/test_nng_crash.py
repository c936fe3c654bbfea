"""Real processes, killed under load: every put that was confirmed runs. Duplicates are at-least-once, and printed."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections import Counter
from pathlib import Path

import pytest

from .processes import Process, started, until


@pytest.fixture
def root():
    directory = Path(tempfile.mkdtemp(prefix="nng-"))
    yield directory
    shutil.rmtree(directory)


@pytest.fixture
def address(root):
    return f"ipc://{root}/hub.ipc"


def hub_words(root: Path, address: str, **options: object) -> list[str]:
    return ["hub", str(root / "hub"), json.dumps({"listen": [address], "lease_timeout": "2s"} | options)]


def spoke_words(
    root: Path, name: str, address: str, puts: int, workers: int, seconds: float = 0.002, **options: object
) -> list[str]:
    options = {"hub": address, "lanes": ["*"], "reconnect_max": "1s", "put_timeout": "5s"} | options
    return ["spoke", str(root / name), json.dumps(options), str(puts), str(workers), str(seconds)]


def ended(producers: list[Process], workers: list[Process], within: float = 30.0) -> None:
    """Everything confirmed ran; print what ran more than once."""
    for process in producers:
        if process.process.poll() is None:
            process.say("stop")
    put = {number for process in producers for number in process.of("put")}
    assert put, "nothing was put"
    ran = lambda: Counter(number for process in workers for number in process.of("ran"))  # noqa: E731
    until(lambda: put <= set(ran()), within, f"{len(put - set(ran()))} of {len(put)} calls ran")
    again = sum(count - 1 for count in ran().values())
    print(f"{len(put)} put, {sum(ran().values())} ran, {again} of them again")


def test_a_spoke_is_killed_while_it_works(root, address):
    """What it ran is given to another within lease_timeout, and says that it was interrupted."""
    with (
        started(*hub_words(root, address)) as hub,
        started(*spoke_words(root, "producer", address, 300, 0)) as producer,
        started(*spoke_words(root, "first", address, 0, 16, 0.04)) as first,
    ):
        until(lambda: hub.of("ready") and len(first.of("ran")) > 100, what="it works")
        first.kill()
        with started(*spoke_words(root, "second", address, 0, 16)) as second:
            until(lambda: len(second.of("ran")) > 100, what="the second works")
            ended([producer], [first, second])
            interrupted = lambda line: "ran" in line and line["crashed"] and line["attempt"] == 2  # noqa: E731
            until(lambda: any(map(interrupted, second.said)), what="an interrupted call runs again")


def test_a_spoke_that_comes_back_is_known(root, address):
    """The next life of the same directory ends the session of the one before at once, without waiting for the time-out."""
    words = spoke_words(root, "worker", address, 0, 16)
    with (
        started(*hub_words(root, address, lease_timeout="1h")),
        started(*spoke_words(root, "producer", address, 300, 0)) as producer,
        started(*words) as first,
    ):
        until(lambda: len(first.of("ran")) > 100, what="it works")
        first.kill()
        with started(*words) as second:
            until(lambda: len(second.of("ran")) > 100, what="it works again")
            ended([producer], [first, second])


def test_the_hub_is_killed_and_comes_back(root, address):
    """Spokes reconnect; what was confirmed is there, what was under way runs again."""
    words = hub_words(root, address)
    hub = Process(*words)
    with (
        started(*spoke_words(root, "producer", address, 300, 0)) as producer,
        started(*spoke_words(root, "worker", address, 0, 16)) as worker,
    ):
        for _ in range(3):
            before = len(worker.of("ran"))
            until(lambda before=before: len(worker.of("ran")) > before + 100, what="it works")
            hub.kill()
            hub = Process(*words)
        before = len(worker.of("ran"))
        until(lambda: len(worker.of("ran")) > before + 100, what="it works again")
        ended([producer], [worker])
    hub.close()


def test_store_and_forward_while_the_hub_is_down(root, address):
    """No put is refused; all of them run, in spite of a kill of the spoke with a backlog."""
    words = hub_words(root, address)
    producing = spoke_words(root, "producer", address, 200, 0, mode="store-and-forward", put_timeout="500ms")
    hub = Process(*words)
    with (
        started(*producing) as producer,
        started(*spoke_words(root, "worker", address, 0, 16)) as worker,
    ):
        until(lambda: len(worker.of("ran")) > 50, what="it works")
        hub.kill()
        before = len(producer.of("put"))
        until(lambda: len(producer.of("put")) > before + 100, what="calls are accepted here")
        assert not producer.of("refused")
        producer.kill()
        hub = Process(*words)
        with started(*[word if word != "200" else "0" for word in producing]):
            ended([producer], [worker])
    hub.close()

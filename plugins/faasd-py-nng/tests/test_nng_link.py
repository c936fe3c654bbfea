"""Two hosts, as network namespaces with a cable between them that is cut and mended."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import pytest

from .processes import started, until

KEY = "a key of at least sixteen bytes"


def ip(*words: str, check: bool = True) -> bool:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0 or not check, (words, done.stderr)
    return done.returncode == 0


class Cable:
    """Between the namespaces `hub` (10.77.0.1) and `spoke` (10.77.0.2)."""

    def __init__(self) -> None:
        self.mark = f"nng{os.getpid() % 10_000}"
        self.hub, self.spoke = f"{self.mark}h", f"{self.mark}s"

    def lay(self) -> None:
        for name in (self.hub, self.spoke):
            ip("netns", "add", name)
        ip(
            "link",
            "add",
            "cable0",
            "netns",
            self.hub,
            "type",
            "veth",
            "peer",
            "name",
            "cable1",
            "netns",
            self.spoke,
        )
        for name, device, address in (
            (self.hub, "cable0", "10.77.0.1/24"),
            (self.spoke, "cable1", "10.77.0.2/24"),
        ):
            ip("-n", name, "address", "add", address, "dev", device)
            ip("-n", name, "link", "set", device, "up")
            ip("-n", name, "link", "set", "lo", "up")

    def cut(self) -> None:
        ip("-n", self.hub, "link", "set", "cable0", "down")

    def mend(self) -> None:
        ip("-n", self.hub, "link", "set", "cable0", "up")

    def remove(self) -> None:
        for name in (self.hub, self.spoke):
            ip("netns", "delete", name, check=False)


@pytest.fixture
def cable():
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("network namespaces need root and iproute2")
    laid = Cable()
    try:
        laid.lay()
    except AssertionError as error:
        laid.remove()
        pytest.skip(f"network namespaces cannot be made here: {error}")
    yield laid
    laid.remove()


@pytest.fixture
def root():
    directory = Path(tempfile.mkdtemp(prefix="nng-"))
    (directory / "key").write_text(KEY)
    yield directory
    shutil.rmtree(directory)


@contextmanager
def hub(root: Path, cable: Cable, lease_timeout: str):
    options = {
        "listen": ["tcp://10.77.0.1:7776"],
        "key_file": str(root / "key"),
        "lease_timeout": lease_timeout,
    }
    with started("hub", str(root / "hub"), json.dumps(options), netns=cable.hub) as process:
        until(lambda: process.of("ready"), what="the hub is up")
        yield process


def spoke(root: Path, name: str, netns: str, puts: int, workers: int, seconds: float, **options: object):
    options = {
        "hub": "tcp://10.77.0.1:7776", "key_file": str(root / "key"), "lanes": ["*"], "reconnect_max": "1s",
        "put_timeout": "500ms", "connect_timeout": "1s",
    } | options  # fmt: skip
    words = ["spoke", str(root / name), json.dumps(options), str(puts), str(workers), str(seconds)]
    return started(*words, netns=netns)


def ran(*workers) -> Counter:
    return Counter(number for process in workers for number in process.of("ran"))


def trouble(process) -> object:
    """What the spoke says of its link, asked now."""
    before = len(process.of("stats"))
    process.say("stats")
    until(lambda: len(process.of("stats")) > before, what="its figures")
    return process.said[-1].get("trouble") or next(
        line["trouble"] for line in reversed(process.said) if "stats" in line
    )


def finish(producers, workers, within: float = 30.0) -> int:
    """All that was confirmed ran; how often something ran again."""
    for process in producers:
        process.say("stop")
    put = {number for process in producers for number in process.of("put")}
    until(lambda: put <= set(ran(*workers)), within, f"{len(put - set(ran(*workers)))} of {len(put)} ran")
    again = sum(count - 1 for count in ran(*workers).values())
    print(f"{len(put)} put, {sum(ran(*workers).values())} ran, {again} of them again")
    return again


def test_a_short_cut_costs_nothing(cable, root):
    """Shorter than lease_timeout: the session goes on, what ran goes on, nothing runs twice."""
    with (
        hub(root, cable, "10s"),
        spoke(root, "there", cable.spoke, 100, 4, 0.02, put_timeout="20s") as there,
    ):
        until(lambda: len(ran(there)) > 50, what="it works")
        cable.cut()
        with pytest.raises(AssertionError):
            until(lambda: False, within=1.0)
        before = len(ran(there))
        cable.mend()
        until(lambda: len(ran(there)) > before + 50, what="it works again")
        assert finish([there], [there]) == 0
        assert not there.of("refused")


def test_a_long_cut_gives_the_calls_to_others(cable, root):
    """What the spoke behind the cut ran is run at the hub's side; when it is back it takes part again."""
    with (
        hub(root, cable, "2s"),
        spoke(root, "here", cable.hub, 100, 4, 0.01, put_timeout="5s") as here,
        spoke(root, "there", cable.spoke, 0, 4, 0.5) as there,
    ):
        until(lambda: len(ran(there)) > 4, what="the one there works")
        cable.cut()
        until(lambda: trouble(there), what="the cut is felt")
        until(lambda: any(line.get("crashed") for line in here.said), what="the one here takes over")
        before = len(ran(there))
        cable.mend()
        until(lambda: len(ran(there)) > before, what="the one there is back")
        finish([here], [here, there])


def test_store_and_forward_over_a_cut(cable, root):
    """Calls are accepted while the cable is cut, and run when it is mended; none is put twice."""
    with (
        hub(root, cable, "2s"),
        spoke(root, "here", cable.hub, 0, 8, 0.001) as here,
        spoke(root, "there", cable.spoke, 100, 0, 0.0, mode="store-and-forward") as there,
    ):
        until(lambda: len(ran(here)) > 50, what="it works")
        cable.cut()
        before = len(there.of("put"))
        until(lambda: len(there.of("put")) > before + 200, what="calls are accepted behind the cut")
        assert len(ran(here)) < len(there.of("put"))
        cable.mend()
        assert finish([there], [here]) == 0
        assert not there.of("refused")

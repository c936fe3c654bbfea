"""A hub's daemon and a spoke's, either killed at any moment under load: every 202 ran.

A 503 may have run as well: the hub that did not confirm in time may have had the call when it died.
"""

from __future__ import annotations

import os
import random
import shutil
import tempfile
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.house.daemon import Daemon, service
from tests.house.load import Books, Loader
from tests.house.patience import until

from .daemons import below, daemon, hub_tables, spoke_tables

pytestmark = pytest.mark.crash
ROUNDS = max(4, int(os.environ.get("CRASH_ROUNDS", "25")) // 4)
SEED = int(os.environ.get("CRASH_SEED", "1"))
SOON = {"attempts": 60, "min_wait": "10ms", "max_wait": "100ms"}
URL = "/async-function/quick?slow=0.01"
CALLBACK = "X-Callback-Url: http://gateway/function/told\r\n"


@pytest.fixture
def root():
    directory = Path(tempfile.mkdtemp(prefix="nng-"))
    yield directory
    shutil.rmtree(directory)


@pytest.fixture
def pair(root):
    """A hub and a spoke that both have the functions; whoever takes a call runs it."""
    made: list[Daemon] = []

    def start(**options) -> tuple[Daemon, Daemon]:
        for name in ("hub", "spoke"):
            place = below(root, name)
            functions = {
                "quick": service(place, script="recorder.py", retry=SOON, max_inflight=8),
                "told": service(place, script="recorder.py", environment={"RECORD": str(place / "told")}),
            }
            tables = hub_tables(root) if name == "hub" else spoke_tables(root, ["quick.*"], **options)
            tables["callback"] = {"schedule": ["100ms"] * 60}
            made.append(daemon(place, functions, tables))
            made[-1].start()
        made[-1].wait_healthy()
        return made[0], made[1]

    yield start
    for one in made:
        one.close()


def lines(daemons: tuple[Daemon, Daemon], name: str) -> Counter[str]:
    """How often each call stands in a record, of both together."""
    found: Counter[str] = Counter()
    for one in daemons:
        path = one.root / name
        text = path.read_text() if path.exists() else ""
        found.update(line.split(" ")[0] for line in text.splitlines() if line)  # a body may end in a newline
    return found


@pytest.mark.parametrize("mode", ["remote", "store-and-forward"])
def test_whoever_dies_nothing_that_was_accepted_is_lost(pair, mode, capsys):
    """Calls come in at both doors while hub, spoke, or both are killed and started again; callbacks come, too."""
    both = hub, spoke = pair(mode=mode, put_timeout="500ms", reconnect_max="200ms")
    dice, books, begun = random.Random(SEED), Books(), time.monotonic()
    for number in range(ROUNDS):
        loaders = [
            Loader(
                door.port,
                books,
                [[f"{side}{number}-{thread}-{n}" for n in range(150)] for thread in range(2)],
                lambda _: (URL, b"small", CALLBACK),
            )
            for side, door in (("h", hub), ("s", spoke))
        ]
        for loader in loaders:
            loader.start()
        time.sleep(dice.uniform(0.05, 0.8))
        dying = [(spoke,), (hub,), (hub, spoke)][number % 3]
        for one in dying:
            one.kill()
        for one in dying:
            one.start()
        for loader in loaders:
            loader.join()
    until(lambda: books.accepted <= set(lines(both, "record")), within=60, every=0.2, what="every 202 ran")
    until(
        lambda: set(lines(both, "record")) <= set(lines(both, "told")),
        within=60,
        every=0.2,
        what="every callback came",
    )
    until(hub.idle, within=30, every=0.1, what="the hub's queue is empty")
    ran, told = lines(both, "record"), lines(both, "told")
    assert [one.stop() for one in (spoke, hub)] == [0, 0]
    assert "Traceback" not in hub.log + spoke.log
    with capsys.disabled():
        print(
            f"\n{mode}: {ROUNDS} rounds of kills in {time.monotonic() - begun:.0f} s: {books}; {sum(ran.values())} runs of "
            f"{len(ran)} calls, {sum(ran.values()) - len(ran)} duplicates; {sum(told.values()) - len(told)} duplicate callbacks"
        )

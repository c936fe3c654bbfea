"""What the tests of the whole daemon are given. A failed test shows the end of its daemon's log."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.house.daemon import Daemon, Settings
from tests.house.receivers import Receiver, receiver


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Daemon]]:
    """Makes daemons that are not started yet; whatever runs at the end of the test is ended."""
    made: list[Daemon] = []

    def one(functions: dict[str, Settings], **tables: Settings) -> Daemon:
        root = tmp_path / str(len(made))
        root.mkdir()
        made.append(Daemon(root, functions, **tables))
        return made[-1]

    one.made = made  # type: ignore[attr-defined]
    yield one
    for daemon in made:
        daemon.close()


@pytest.fixture
def start(make: Callable[..., Daemon]) -> Callable[..., Daemon]:
    """Makes daemons that are up."""

    def one(functions: dict[str, Settings], **tables: Settings) -> Daemon:
        daemon = make(functions, **tables)
        daemon.start()
        return daemon

    return one


@pytest.fixture
def hook() -> Iterator[Receiver]:
    """Somebody to be called back, outside the daemon."""
    with receiver() as one:
        yield one


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of thirty-two megabytes."""
    place = tmp_path / "disk"
    place.mkdir()
    if os.geteuid() != 0:
        pytest.skip("mounting a small tmpfs needs root")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=32m", "house-test", str(place)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"a tmpfs cannot be mounted here: {mounted.stderr.decode().strip()}")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]):
    report = yield
    if report.failed:
        for daemon in _daemons(item):
            report.sections.append((f"log of {daemon.root}", daemon.log[-4000:]))
    return report


def _daemons(item: pytest.Item) -> list[Daemon]:
    given = list(getattr(item, "funcargs", {}).values())
    made = [daemon for value in given for daemon in getattr(value, "made", [])]
    return made + [value for value in given if isinstance(value, Daemon)]

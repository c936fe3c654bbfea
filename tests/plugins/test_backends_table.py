"""The README's table of queue backends says what each plug-in that is installed registers."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from faasd_py import plugins
from faasd_py.api import Capabilities, parse_size
from faasd_py.config import Config, QueueSettings

PROJECT = Path(__file__).parents[2]
ABILITIES = ("delay", "priority", "inspect", "cancel", "dedup")


def rows() -> dict[str, dict[str, str]]:
    """The table's rows by backend, each by its columns' titles."""
    section = (PROJECT / "README.md").read_text().partition("\n## Queues\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert set("".join(cells[1])) == {"-"}
    assert {len(row) for row in cells} == {len(cells[0])}
    return {
        row[0].partition("`")[2].partition("`")[0]: dict(zip(cells[0], row, strict=True)) for row in cells[2:]
    }


def distributions() -> dict[str, str]:
    """The project's plug-ins by entry point, with the name of their distribution."""
    found = {}
    for path in (PROJECT / "plugins").glob("*/pyproject.toml"):
        project = tomllib.loads(path.read_text())["project"]
        found |= dict.fromkeys(project.get("entry-points", {}).get("faasd_py", ()), project["name"])
    return found


def registered() -> dict[str, Capabilities]:
    """What the built-in backends and the project's installed plug-ins offer."""
    installed = sorted(distributions().keys() & plugins.installed().keys())
    loaded = [
        plugins.load(Config(plugins=installed, queue=QueueSettings(backend=name)))
        for name in plugins.BUILT_IN_QUEUES
    ]
    return {name: backend.capabilities for one in loaded for name, backend in one.queues.items()}


TABLE = rows()


@pytest.fixture(params=TABLE)
def backend(request):
    """A row, and the capabilities of the backend it is about."""
    known = registered()
    if request.param not in known:
        if request.param not in distributions():
            pytest.fail(f"nothing of the project's registers {request.param!r}")
        pytest.skip(f"the plug-in is not installed: pip install plugins/{distributions()[request.param]}")
    return TABLE[request.param], known[request.param]


def says_yes(cell: str) -> bool:
    """`yes` or `no`, perhaps with a remark."""
    assert cell.split(" ", maxsplit=1)[0].rstrip(":") in {"yes", "no"}, cell
    return cell.startswith("yes")


def test_every_backend_has_a_row():
    """The built-in ones, and every one that an installed plug-in of the project registers; the default comes first."""
    assert registered().keys() <= TABLE.keys()
    assert next(iter(TABLE)) == QueueSettings().backend


def test_the_columns():
    """All that one chooses by."""
    titles = ["backend", "install", "a 202 means", *ABILITIES, "max body", "several daemons"]
    assert all(list(row) == titles for row in TABLE.values())


@pytest.mark.parametrize("ability", ABILITIES)
def test_abilities(backend, ability):
    """`yes` where the backend can."""
    row, capabilities = backend
    assert says_yes(row[ability]) is getattr(capabilities, ability)


def test_several_daemons(backend):
    """`yes` where several daemons may serve one queue."""
    row, capabilities = backend
    assert says_yes(row["several daemons"]) is capabilities.shared


def test_what_a_202_means(backend):
    """Something that outlives the process, or the words that it does not."""
    row, capabilities = backend
    assert ("gone with the process" in row["a 202 means"]) is not capabilities.durable
    assert row["a 202 means"]


def test_the_largest_body(backend):
    """The backend's own limit in bytes, or the daemon's."""
    row, capabilities = backend
    cell = row["max body"].strip("`")
    assert (None if cell == "gateway.max_body" else parse_size(cell)) == capabilities.max_body


@pytest.mark.parametrize("name", TABLE)
def test_how_it_is_installed(name):
    """By the name of the distribution that registers it, whose README the row leads to."""
    row = TABLE[name]
    if name in plugins.BUILT_IN_QUEUES:
        assert row["install"].startswith("built in")
        return
    distribution = distributions()[name]
    assert row["install"] == f"`pip install {distribution}`"
    assert row["backend"] == f"[`{name}`](plugins/{distribution}/README.md)"

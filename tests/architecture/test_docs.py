"""The manual is complete: every setting with its default, every verb and option, every metric."""

import argparse
import json
import re
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest

from faasd_py.cli.parser import make_parser
from faasd_py.config import (
    Config,
    ConfineSettings,
    FunctionSettings,
    GroupSettings,
    RateSettings,
    TlsSettings,
    plain,
)
from faasd_py.gateway import options
from faasd_py.observe.metrics import Metrics, ServiceFigures
from faasd_py.observe.page import render
from faasd_py.observe.process import process_figures
from faasd_py.runtime import environment, fork, lines, output, run
from faasd_py.runtime.contract import Invocation
from faasd_py.worker import verdict

MANUAL = Path(__file__).parents[2] / "docs" / "manual"
SETTINGS = (MANUAL / "settings.md").read_text()
CLI = (MANUAL / "cli.md").read_text()
NONE = "\N{EN DASH}"
METRICS = (MANUAL / "metrics.md").read_text()


def section(title: str) -> dict[str, list[str]]:
    """The rows of the table below a heading: the first cell's name to the other cells."""
    text = (
        SETTINGS.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
        if title
        else SETTINGS.partition("\n## ")[0]
    )
    rows = [
        [cell.strip() for cell in line.strip("|").split(" | ")]
        for line in text.splitlines()
        if line.startswith("| `")
    ]
    return {row[0].strip("| `"): row[1:] for row in rows}


TABLES = {
    **{
        f"[{field.name}]": type(field.default)
        for field in msgspec.structs.fields(Config)
        if hasattr(field.default, "__struct_fields__")
    },
    "[functions.NAME]": FunctionSettings,
    **{
        f"[functions.NAME.{field.name}]": type(field.default)
        for field in msgspec.structs.fields(FunctionSettings)
        if hasattr(field.default, "__struct_fields__")
    },
    "[functions.NAME.confine]": ConfineSettings,
    "[functions.NAME.rate]": RateSettings,
    "[workers.groups.NAME]": GroupSettings,
}


@pytest.mark.parametrize("title", TABLES)
def test_every_setting_is_in_the_manual(title):
    """With its kind, its default, and what it means; and nothing is there that does not exist."""
    rows, kind = section(title), TABLES[title]
    elsewhere = {"tls"} if title == "[gateway]" else set()
    assert set(rows) == set(kind.__struct_fields__) - elsewhere


@pytest.mark.parametrize("title", TABLES)
def test_defaults_in_the_manual_are_the_defaults(title):
    """A dash stands for a setting that has none."""
    rows = section(title)
    for field in msgspec.structs.fields(TABLES[title]):
        if field.name not in rows:
            continue
        default = field.default if field.default is not msgspec.NODEFAULT else None
        if field.default_factory is not msgspec.NODEFAULT:
            default = field.default_factory()
        shown = rows[field.name][1]
        if default is None or hasattr(default, "__struct_fields__"):
            assert shown == NONE, field.name
        else:
            assert shown == f"`{json.dumps(plain(default))}`", field.name


def test_what_stands_outside_of_tables():
    """`plugins`, `[gateway.tls]`, and every table of the file has its heading."""
    assert set(section("")) == {"plugins"}
    assert set(section("[gateway.tls]")) == {"tls", *TlsSettings.__struct_fields__}
    for field in Config.__struct_fields__:
        title = f"{field}.NAME" if field in {"functions", "services", "runtimes"} else field
        title = "images.PATTERN" if field == "images" else title
        assert field == "plugins" or f"\n## [{title}]\n" in SETTINGS


def parsers(parser: argparse.ArgumentParser):
    """A parser and all below it."""
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for child in action.choices.values():
                yield from parsers(child)


@pytest.mark.parametrize("parser", list(parsers(make_parser())), ids=lambda parser: parser.prog)
def test_every_verb_and_option_is_in_the_manual(parser):
    """Verbs as headings, options where they are explained."""
    assert parser.prog == "faasd-py" or re.search(rf"(?m)^##+ {re.escape(parser.prog)}\b", CLI)
    for action in parser._actions:
        for option in action.option_strings:
            assert re.search(rf"`{option}[`\s]|`{option}`| {option} ", CLI), f"{parser.prog} {option}"


def test_exit_statuses_are_in_the_manual():
    """All that a command may end with."""
    for status in ("0", "1", "2", "130"):
        assert f"| {status} |" in CLI


def page() -> str:
    """A page with at least one sample of every metric."""
    metrics = Metrics()
    metrics.meter("a.b").begin()
    metrics.meter("a.b").finish(200, 1.0)
    metrics.request("GET", "/system/functions").add(200, 0.1)
    metrics.attempts("a.b", 200)
    metrics.dead("a.b", "expired")
    metrics.scheduled("a.b", "put")
    metrics.callback("delivered")
    metrics.refused("QueueFull")
    lane = SimpleNamespace(ready=1, leased=1, delayed=1, dead=1, oldest_at=1.0)
    queue = SimpleNamespace(lanes={"a.b": lane}, bytes=1, quarantined=0)
    services = ServiceFigures(wanted=1, available=1, target=50, cpu_seconds=1, memory_bytes=1)
    return "".join(render(metrics, queue, {"a.b": services}, process_figures(), 2.0))


def test_every_metric_is_in_the_manual():
    """With its type and its labels; and nothing is there that does not exist."""
    kinds = dict(re.findall(r"(?m)^# TYPE (\S+) (\S+)$", page()))
    told = dict(re.findall(r"(?m)^\| `(\w+)` \| (\w+) \|", METRICS))
    assert told == {name: kind for name, kind in kinds.items() if not name.startswith("process_")}
    for name in kinds:
        assert f"`{name}`" in METRICS


def test_metrics_are_explained_with_their_labels():
    """As the page has them."""
    for name, labels in re.findall(r"(?m)^(\w+)(?:\{(.*)\})? ", page()):
        whole = re.sub(r"_(bucket|sum|count)$", "", name)
        rows = METRICS.splitlines()
        row = next((line for line in rows if line.startswith((f"| `{name}`", f"| `{whole}`"))), "")
        for label in set(re.findall(r'(\w+)="', labels)) - {"le"}:
            assert f"`{label}`" in row, (name, label)


def test_alerts_name_metrics_that_exist():
    """Examples are copied: they must work."""
    for name in re.findall(r"(?:faasd|gateway|queue_worker)_\w+", METRICS.partition("## Worth an alert")[2]):
        assert f"| `{name}` |" in METRICS


DOCS = sorted([*MANUAL.parent.rglob("*.md"), MANUAL.parents[1] / "README.md"])


def anchors(path: Path) -> set[str]:
    """The names that a page's headings have, as GitHub makes them."""
    heads = re.findall(r"(?m)^#+ (.+)$", path.read_text())
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", DOCS, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    """Files that exist, headings that exist."""
    for link in re.findall(r"\]\((?!https?:)([^)\s]+)\)", page.read_text()):
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_the_design_names_files_that_exist():
    """Whoever reads in the order that it tells finds each file."""
    package = MANUAL.parents[1] / "faasd_py"
    named = re.findall(r"`([a-z]+/[a-z_]+\.py)`", (MANUAL.parent / "design.md").read_text())
    assert len(named) > 5
    assert [name for name in named if not (package / name).exists()] == []


def test_the_design_has_every_room():
    """And no other."""
    package = MANUAL.parents[1] / "faasd_py"
    tree = (MANUAL.parent / "design.md").read_text().partition("    faasd_py/\n")[2].partition("\n\n")[0]
    rooms = {path.name for path in package.iterdir() if (path / "__init__.py").exists()}
    assert set(re.findall(r"(?m)^      ([a-z]+)/", tree)) == rooms


def test_every_option_header_is_in_the_manual():
    """Those that the gateway reads."""
    calls = (MANUAL / "calls.md").read_text().lower()
    for name in (options.CALLBACK, *options.NAMES):
        assert f"| `{name.decode()}` |" in calls


def test_what_functions_find_in_their_environment_is_in_the_manual():
    """The few of the daemon's, ours, and the request's."""
    functions = (MANUAL / "functions.md").read_text()
    request = Invocation(b"POST", b"/x?q", b"h", b"X-Call-Id: 1\r\n", None, None, None, "1")
    own = environment.own("f", "n", {}, "/secrets", {})
    for name in (*environment.BASICS, *map(bytes.decode, {**own, **environment.of_request(request)})):
        assert f"`{name}`" in functions, name


def test_every_reason_of_a_dead_call_is_in_the_manual():
    """What `calls list` may say."""
    calls = (MANUAL / "calls.md").read_text()
    for reason in ("EXPIRED", "INTERRUPTED", "ATTEMPTS", "REFUSED", "GONE", "CALLBACK"):
        assert f"`{getattr(verdict, reason)}`" in calls


def test_figures_in_the_manual_are_those_of_the_code():
    """Sizes and times that no setting changes."""
    functions = (MANUAL / "functions.md").read_text()
    assert f"{output.MEMORY >> 20} MiB in memory" in functions
    assert f"more than {output.DISK >> 20} MiB" in functions
    assert "half a second" in functions
    assert run.LINGER == 0.5
    assert f"at most {lines.MAX_LINE >> 10} KiB" in functions
    for method in fork.METHODS:
        assert method.decode() in functions

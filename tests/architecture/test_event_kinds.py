"""Events: what the code emits, the table of kinds, and the page for authors of plug-ins say the same."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path

from faasd_py.observe.kinds import KINDS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "plugins.md").read_text()
BEHIND_A_NAME = {"_WORDS", "_EVENTS"}
"""Tables from which an event's kind may be taken."""


def emitted():
    """Where an event is emitted: the place, its kind, the names of its facts."""
    for path in sorted((ROOT / "faasd_py").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr == "emit"
            ):
                place = f"{path.relative_to(ROOT)}:{node.lineno}"
                facts = {keyword.arg for keyword in node.keywords}
                for kind in kinds(path, node.args[0], place):
                    yield place, kind, facts


def kinds(path, argument, place):
    """A literal, or what a table of the module may give."""
    if isinstance(argument, ast.Constant):
        return [argument.value]
    assert isinstance(argument, ast.Subscript), f"{place}: name the event, or a table of events"
    assert argument.value.id in BEHIND_A_NAME, f"{place}: name the event, or a table of events"
    module = importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
    return getattr(module, argument.value.id).values()


def rows():
    """The page's table: each kind with its facts."""
    table = PAGE.partition("### Events")[2].partition("A queue's site")[0]
    for line in table.splitlines():
        cells = line.strip("|").split(" | ")
        if line.startswith("| `"):
            facts = tuple(re.findall(r"`(\w+)`", re.sub(r"\(.*?\)", "", cells[-1])))
            for kind in re.findall(r"`([\w.]+)`", cells[0]):
                yield kind, facts


def test_whatever_is_emitted_is_in_the_table():
    """With just these facts: a kind that is new belongs into observe/kinds.py and docs/plugins.md."""
    for place, kind, facts in emitted():
        assert kind in KINDS, f"{place}: {kind} is not in observe/kinds.py (and docs/plugins.md)"
        assert facts == set(KINDS[kind]), f"{place}: the facts of {kind}"


def test_whatever_is_in_the_table_is_emitted():
    """By somebody."""
    assert set(KINDS) - {kind for _, kind, _ in emitted()} <= {
        "function.deployed", "function.removed", "function.scaled", "lane.paused", "lane.resumed",
    }  # fmt: skip


def test_the_page_says_the_same():
    """Every kind once, with its facts in their order."""
    found = list(rows())
    assert len(found) == len({kind for kind, _ in found})
    assert dict(found) == dict(KINDS)


def test_no_event_tells_what_callers_send():
    """No fact's name says so."""
    told = {fact for facts in KINDS.values() for fact in facts}
    assert not told & {"body", "headers", "target", "path", "query", "host", "callback_url", "answer"}

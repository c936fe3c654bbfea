"""docs/grafana.json: a dashboard that shows something, of metrics that there are, for any Prometheus."""

import json
import re
from pathlib import Path

import pytest

from tests.architecture.test_docs import page

TEXT = (Path(__file__).parents[2] / "docs" / "grafana.json").read_text()
BOARD = json.loads(TEXT)
PANELS = [panel for panel in BOARD["panels"] if panel["type"] != "row"]
TARGETS = [(panel["title"], target) for panel in PANELS for target in panel["targets"]]
PLACE = ("x", "y", "w", "h")
NOT_METRICS = {
    "by", "sum", "rate", "increase", "histogram_quantile", "or", "vector",
}  # fmt: skip


def labels_by_metric() -> dict[str, set[str]]:
    """Every sample's name on the page, and the labels it has."""
    found: dict[str, set[str]] = {}
    for name, labels in re.findall(r"(?m)^(\w+)(?:\{(.*)\})? ", page()):
        found.setdefault(name, set()).update(re.findall(r'(\w+)="', labels))
    return found


SAMPLES = labels_by_metric()


def metrics(expression: str) -> set[str]:
    """The names in an expression of Prometheus' language that are no words of the language and no labels."""
    bare = re.sub(r"\{[^}]*\}|\[[^\]]*\]|by \([^)]*\)", "", expression)
    return set(re.findall(r"[a-z_]{2,}", bare)) - NOT_METRICS


@pytest.mark.parametrize(("title", "target"), TARGETS, ids=[title for title, _ in TARGETS])
def test_queries_name_what_there_is(title, target):
    """Metrics that are on the page, and labels that they have."""
    names = metrics(target["expr"])
    assert names
    assert names <= SAMPLES.keys()
    known = set.union(*(SAMPLES[name] for name in names))
    selected = set(re.findall(r'(\w+)(?:=~|=|!=|!~)"', target["expr"]))
    grouped = {word for group in re.findall(r"by \(([^)]*)\)", target["expr"]) for word in group.split(", ")}
    shown = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
    assert selected | grouped | shown <= known
    assert not grouped or shown <= grouped


def test_braces_are_closed():
    """A slip of the pen that Grafana would only show in red."""
    for _, target in TARGETS:
        for pair in ("()", "{}", "[]"):
            assert target["expr"].count(pair[0]) == target["expr"].count(pair[1])


def test_what_an_operator_looks_for_is_there():
    """Depth, ages, rates, attempts by status, dead letters, callbacks, latency, replicas."""
    used = {name for _, target in TARGETS for name in metrics(target["expr"])}
    assert used >= {
        "queue_worker_pending_messages", "faasd_lane_oldest_age_seconds", "faasd_queue_oldest_age_seconds",
        "queue_worker_messages_submitted_total", "faasd_attempts_total", "faasd_dead_letters_total",
        "faasd_callbacks_total", "gateway_functions_seconds_bucket", "gateway_service_ready_count",
    }  # fmt: skip


def test_it_belongs_to_nobody():
    """No host, no address, no data source but the one that is chosen."""
    assert not re.search(r"https?:|localhost|\d+\.\d+\.\d+|:\d{2,5}\b", TEXT.replace("callback:.*", ""))
    sources = [panel["datasource"] for panel in PANELS] + [target["datasource"] for _, target in TARGETS]
    assert all(source == {"type": "prometheus", "uid": "${datasource}"} for source in sources)
    names = {variable["name"] for variable in BOARD["templating"]["list"]}
    used = set(re.findall(r"\$\{?([a-z]+)\b", TEXT))
    assert used <= names
    for variable in BOARD["templating"]["list"][1:]:
        metric, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["definition"]).groups()
        assert label in SAMPLES[metric]


def test_panels_lie_side_by_side():
    """Each has a number of its own, a title, a word about it, and a place that no other one has."""
    assert len({panel["id"] for panel in BOARD["panels"]}) == len(BOARD["panels"])
    taken = set()
    for panel in BOARD["panels"]:
        x, y, w, h = (panel["gridPos"][key] for key in PLACE)
        assert 0 <= x < x + w <= 24
        cells = {(column, line) for column in range(x, x + w) for line in range(y, y + h)}
        assert not cells & taken
        taken |= cells
    assert all(panel["title"] and panel["description"] for panel in PANELS)

"""One line of the table: what was promised, what was measured, and whether it holds."""

from __future__ import annotations

from typing import NamedTuple

from tests.bench.rounds import Series


class Row(NamedTuple):
    """`passed` None: not measured, and `measured` says why."""

    what: str
    target: str
    measured: str
    spread: str
    passed: bool | None


def at_least(what: str, bound: float, series: Series, unit: str = "x", *, per: str = "") -> Row:
    """The median must reach the bound."""
    return Row(
        what,
        f"≥ {_plain(bound)} {unit}{per}",
        _show(series.median, unit),
        _spread(series, unit),
        series.median >= bound,
    )


def at_most(what: str, bound: float, series: Series, unit: str = "x", *, per: str = "") -> Row:
    """The median must not pass the bound."""
    return Row(
        what,
        f"≤ {_plain(bound)} {unit}{per}",
        _show(series.median, unit),
        _spread(series, unit),
        series.median <= bound,
    )


def unmeasured(what: str, target: str, why: str) -> Row:
    return Row(what, target, why, "", None)


def _plain(value: float) -> str:
    return f"{value:g}"


def _show(value: float, unit: str) -> str:
    return f"{value:,.3g} {unit}" if abs(value) < 1000 else f"{value:,.0f} {unit}"


def _spread(series: Series, unit: str) -> str:
    if len(series.values) == 1:
        return "one run"
    return f"{_show(series.low, unit)} … {_show(series.high, unit)}, {len(series.values)} rounds"

"""For every test: a skip says why, which CI asks for (pytest-trio raises it anew without its reason)."""

from __future__ import annotations

import signal
from collections.abc import Generator, Iterator

import pytest

# Whoever starts the tests in the background of a shell has SIGINT ignored, and so would every daemon of theirs.
signal.signal(signal.SIGINT, signal.default_int_handler)
pytest.register_assert_rewrite("tests.house.faas_cli", "tests.house.faas_cli_suite")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Put the reason back into the report of a skipped test."""
    report = yield
    if report.skipped and call.excinfo is not None and (reason := _reason(call.excinfo.value.__context__)):
        path, line, _ = item.location
        report.longrepr = (path, (line or 0) + 1, f"Skipped: {reason}")
    return report


def _reason(error: BaseException | None) -> str:
    """That of the skip inside a group; empty when there is none."""
    return next((str(leaf.msg) for leaf in _leaves(error) if isinstance(leaf, pytest.skip.Exception)), "")


def _leaves(error: BaseException | None) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    elif error is not None:
        yield error

"""A queue that is full says so, keeps nothing by halves, and goes on when there is room."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.house.daemon import Daemon, service
from tests.house.patience import until


def open_gate(daemon: Daemon, name: str) -> None:
    """Let those through who wait at a gate."""
    assert daemon.ask("GET", f"/function/api/open/{name}").status == 200


@pytest.mark.parametrize("backend", ["sqlite", "memory"])
def test_over_max_depth_is_503_and_nothing_is_kept(
    start: Callable[..., Daemon], tmp_path, backend: str
) -> None:
    """The call over the limit is refused with Retry-After; what was accepted runs, and then there is room again."""
    queue = {"max_depth": 5, "backend": backend}
    daemon = start({"api": service(tmp_path / "0", max_inflight=0)}, queue=queue)
    answers = [daemon.ask("POST", f"/async-function/api/gate/g?n={n}", b"x") for n in range(12)]
    accepted = [n for n, answer in enumerate(answers) if answer.status == 202]
    refused = [answer for answer in answers if answer.status != 202]
    assert accepted == [0, 1, 2, 3, 4]
    assert {answer.status for answer in refused} == {503}
    assert all(int(answer.headers["retry-after"]) >= 1 and answer.body for answer in refused)
    open_gate(daemon, "g")
    until(lambda: daemon.ask("POST", "/async-function/api/tell/after", b"").status == 202)
    until(lambda: daemon.ran("/tell/after") and len(daemon.ran("/gate/g?")) >= 5, what="all of them ran")
    assert sorted(int(line["target"].rpartition("=")[2]) for line in daemon.ran("/gate/g?")) == accepted


def test_over_max_bytes_is_503(start: Callable[..., Daemon], tmp_path) -> None:
    """The bytes that wait are limited, too; a spooled body that was refused leaves no file."""
    daemon = start({"api": service(tmp_path / "0")}, queue={"max_bytes": "1MiB"})
    first = daemon.ask("POST", "/async-function/api/gate/b", b"x" * 900_000)
    second = daemon.ask("POST", "/async-function/api/gate/b", b"x" * 900_000)
    assert (first.status, second.status) == (202, 503)
    assert int(second.headers["retry-after"]) >= 1
    assert len(daemon.spooled()) == 1
    open_gate(daemon, "b")
    until(lambda: daemon.ask("POST", "/async-function/api/tell/z", b"x" * 900_000).status == 202)
    until(lambda: daemon.ran("/tell/z") and not daemon.spooled(), what="no file is left")

"""The lines of functions: kept by the whole daemon, read and followed through its door."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from typing import Any

from tests.house.daemon import PYTHON, Daemon, Settings

SPEAK = "import os, sys\nfor n in range(int(os.environ['Http_Query'])): print(f'line {n} of', os.environ['Http_X_Call_Id'], file=sys.stderr)"


def speaker(**more: Any) -> Settings:
    """A fork function that writes as many lines as the query says."""
    return {"command": [*PYTHON, "-c", SPEAK], **more}


def logs(daemon: Daemon, query: str = "name=speak") -> list[dict[str, str]]:
    """What `/system/logs` says."""
    answer = daemon.ask("GET", f"/system/logs?{query}")
    assert answer.status == 200, answer
    return [json.loads(line) for line in answer.body.splitlines()]


def test_a_line_is_read_as_soon_as_the_call_is_over(start: Callable[..., Daemon]) -> None:
    """With its call and its process; restarts and kill -9 lose nothing that was read once."""
    daemon = start({"speak": speaker()})
    answer = daemon.ask("POST", "/function/speak?2", b"", {"X-Call-Id": "mine"})
    assert answer.status == 200
    one, two = logs(daemon, "name=speak&more=1")
    assert [one["text"], two["text"]] == ["line 0 of mine", "line 1 of mine"]
    assert one["instance"] == two["instance"] != ""
    assert (one["call_id"], one["stream"]) == ("mine", "stderr")
    for number in (signal.SIGTERM, signal.SIGKILL):
        daemon.stop(number)
        daemon.start()
        assert logs(daemon, "name=speak&more=1")[:2] == [one, two]
        assert daemon.ask("POST", "/function/speak?1", b"").status == 200
    assert len(logs(daemon)) == 4

"""One who follows the events of a daemon."""

from __future__ import annotations

import http.client
import json
import time
from typing import Any, Self

from tests.house.daemon import Daemon


class Events:
    """One who follows the events through the door."""

    def __init__(self, daemon: Daemon, query: str = "", since: int | None = None) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=30)
        headers = daemon.authorization | ({} if since is None else {"Last-Event-ID": str(since)})
        self._connection.request("GET", f"/system/events{query}", headers=headers)
        self.response = self._connection.getresponse()
        assert self.response.status == 200, self.response.read()
        assert self.response.readline().startswith(b":")
        assert self.response.readline() == b"\n"
        self.last = 0

    def next(self) -> dict[str, Any] | None:
        """The facts of the next event; None at the end."""
        end = time.monotonic() + 30
        while True:
            assert time.monotonic() < end, "nothing happened for 30 s"
            fields = {}
            while line := self.response.readline().decode().rstrip("\n"):
                name, _, value = line.partition(":")
                fields[name] = value.strip()
            if not fields:
                return None
            if "data" in fields:
                self.last = int(fields.get("id", 0))
                return dict(json.loads(fields["data"]))

    def until(self, name: str, **facts: Any) -> dict[str, Any]:
        """The next event of this name with these facts."""
        while event := self.next():
            if event["event"] == name and facts.items() <= event.items():
                return event
        raise AssertionError(f"no {name}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

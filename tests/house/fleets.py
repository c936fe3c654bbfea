"""What tests of a function's replicas need: their processes, their flags (functions/service.py), and callers that go on."""

from __future__ import annotations

import http.client
import threading
from contextlib import closing
from pathlib import Path
from typing import Self

from tests.house.daemon import Daemon, Settings, alive
from tests.house.patience import until
from tests.house.wire import Answer, ask_on


class Fleet:
    """The replicas of one function in mode `http` that runs functions/service.py with `$RECORD` below `root`."""

    def __init__(self, daemon: Daemon, name: str, root: Path) -> None:
        self.daemon = daemon
        self.name = name
        self._record = root / "record"

    @property
    def starts(self) -> list[int]:
        """The pids of all processes that were started so far, in order."""
        path = self._record.with_name("record.starts")
        return [int(line) for line in path.read_text().split()] if path.exists() else []

    @property
    def alive(self) -> set[int]:
        """Those that are there."""
        return {pid for pid in self.starts if alive(pid)}

    @property
    def status(self) -> Settings:
        shown: Settings = self.daemon.system("GET", f"/system/function/{self.name}").json()
        return shown

    def settle(self, replicas: int, within: float = 20.0) -> set[int]:
        """Wait until so many answer and no other is there; their pids."""

        def settled() -> bool:
            return len(self.alive) == replicas and self.status.get("availableReplicas", 0) == replicas

        until(settled, within=within, every=0.03, what=f"{self.name} has {replicas} replicas")
        return self.alive

    def raise_flag(self, name: str, pid: int = 0) -> None:
        """From now on `/flag/NAME` is 503 and `/hold/NAME` returns, in all processes or in one."""
        self._flag(name, pid).touch()

    def lower_flag(self, name: str, pid: int = 0) -> None:
        self._flag(name, pid).unlink()

    def _flag(self, name: str, pid: int) -> Path:
        return self._record.with_name(f"record.{name}" + (f"-{pid}" if pid else ""))

    def call(self, path: str = "version", timeout: float = 60.0) -> Answer:
        return self.daemon.ask("POST", f"/function/{self.name}/{path}", b"", timeout=timeout)

    def put(self, path: str) -> str:
        return self.daemon.put(f"{self.name}/{path}")

    def held(self, name: str) -> list[int]:
        """The pids that have a call of `/hold/NAME`, one for each call so far."""
        return [line["pid"] for line in self.daemon.ran(f"/hold/{name}")]


class Callers:
    """Threads that call a function one time after the other, each on a connection of its own, while the block runs."""

    def __init__(self, fleet: Fleet, count: int, path: str = "version") -> None:
        self.answers: list[list[tuple[int, str, int]]] = [[] for _ in range(count)]
        """By thread: status, body and the pid that answered."""
        self.all: list[tuple[int, str, int]] = []
        """Of all threads, in the order in which they came."""
        self.errors: list[str] = []
        self._fleet = fleet
        self._target = f"/function/{fleet.name}/{path}"
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(one,)) for one in self.answers]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(60)

    def _run(self, answers: list[tuple[int, str, int]]) -> None:
        try:
            with closing(
                http.client.HTTPConnection("127.0.0.1", self._fleet.daemon.port, timeout=60)
            ) as wire:
                while not self._over.is_set():
                    answer = ask_on(wire, "POST", self._target, b"")
                    told = (answer.status, answer.text, int(answer.headers.get("x-pid", 0)))
                    answers.append(told)
                    self.all.append(told)
        except OSError as error:
            self.errors.append(repr(error))

    @property
    def pids(self) -> set[int]:
        """Who answered so far."""
        return {pid for _, _, pid in list(self.all)}

    def each_went_on(self, more: int = 3) -> None:
        """Return when each thread has so many more answers than now."""
        counts = [len(one) + more for one in self.answers]
        until(
            lambda: (
                self.errors or all(len(one) >= count for one, count in zip(self.answers, counts, strict=True))
            ),
            within=60,
            what="every caller is answered",
        )

    def fine(self) -> None:
        """Every call was answered 200."""
        assert self.errors == []
        assert [answer for answer in self.all if answer[0] != 200] == []

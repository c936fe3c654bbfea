"""A function's own lines: kept in the logbook, and echoed as records of the daemon's log."""

from __future__ import annotations

import logging

from faasd_py.observe.logbook import Logbook


class FunctionLogger:
    """A `runtime.contract.FunctionLog` of one function. Its echo goes to the logger `faasd_py.function`."""

    __slots__ = ("_book", "_log", "label")

    def __init__(self, label: str, book: Logbook | None = None) -> None:
        self.label = label
        self._book = book
        self._log = logging.getLogger("faasd_py.function")

    @property
    def watchdog_lines(self) -> bool:
        """Whether calls leave the lines that OpenFaaS' watchdogs write."""
        return self._book is not None and self._book.words.watchdog_lines

    def line(self, text: str, *, stream: str = "stderr", instance: str = "", call_id: str = "") -> None:
        """One line, without its end."""
        if self._book is not None:
            self._book.line(self.label, text, stream, instance, call_id)
            if not self._book.words.echo:
                return
        if not self._log.isEnabledFor(logging.INFO):
            return
        facts = {"function": self.label, "stream": stream, "instance": instance, "call_id": call_id}
        self._log.info("%s", text, extra={"facts": {key: value for key, value in facts.items() if value}})

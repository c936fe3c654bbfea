"""A function's own lines, as records of the daemon's log."""

from __future__ import annotations

import logging


class FunctionLogger:
    """A `runtime.contract.FunctionLog` of one function, over the logger `faasd_py.function`."""

    __slots__ = ("_log", "label")

    def __init__(self, label: str) -> None:
        self.label = label
        self._log = logging.getLogger("faasd_py.function")

    def line(self, text: str, *, stream: str = "stderr", instance: str = "", call_id: str = "") -> None:
        """One line, without its end."""
        if not self._log.isEnabledFor(logging.INFO):
            return
        facts = {"function": self.label, "stream": stream, "instance": instance, "call_id": call_id}
        self._log.info("%s", text, extra={"facts": {key: value for key, value in facts.items() if value}})

"""What happened, told to whoever listens. A listener can neither change anything nor break anything."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

Observer = Callable[[Mapping[str, Any]], object]
log = logging.getLogger("faasd_py.events")


class Events:
    """The observers of one daemon, in the order they subscribed. Nobody needs to put facts together that are not `heard`."""

    def __init__(self) -> None:
        self._observers: dict[str, Observer] = {}
        self.failures: dict[str, int] = {}
        """How often each observer raised."""
        self.heard = False
        """Whether anybody listens: a plain attribute, for it is asked several times a call."""

    def subscribe(self, observer: Observer, name: str) -> None:
        """Tell `observer` about every event from now on; `name` is the plug-in's, for the log.

        Raises:
            ValueError: the name is taken.
        """
        if name in self._observers:
            raise ValueError(f"an observer named {name!r} is subscribed already")
        self._observers[name] = observer
        self.heard = True

    def unsubscribe(self, name: str) -> None:
        """Tell the observer of this name nothing more; it may do so itself while it is told."""
        self._observers.pop(name, None)
        self.heard = bool(self._observers)

    def emit(self, event: str, **facts: Any) -> None:
        """Tell every observer: `{"event": event, "time": seconds since 1970, **facts}`. Never raises an Exception."""
        if not self._observers:
            return
        told = {"event": event, "time": time.time(), **facts}
        for name, observer in list(self._observers.items()):
            try:
                observer(told)
            except Exception:  # noqa: BLE001  # whatever a plug-in raises is the plug-in's
                self._failed(name, event)

    def _failed(self, name: str, event: str) -> None:
        count = self.failures[name] = self.failures.get(name, 0) + 1
        if count & (count - 1) == 0:  # the 1st, 2nd, 4th, 8th, …: a broken observer must not fill the log
            log.warning("observer %s raised on event %s (%d times so far)", name, event, count, exc_info=True)  # noqa: LOG014  # called in an except

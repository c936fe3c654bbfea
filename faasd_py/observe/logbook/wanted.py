"""Pure. Which lines somebody wants to read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from faasd_py.observe.logbook.line import Line, decode


class Wanted(msgspec.Struct, frozen=True):
    """`since` is in nanoseconds since 1970; `tail` is how many lines at most, 0 for all; None is any."""

    since: int = 0
    tail: int = 0
    instance: str | None = None
    call_id: str | None = None

    def of(self, raw_lines: Iterable[bytes]) -> Iterator[Line]:
        """Those of the lines, as they lie on disk, that are wanted; damaged ones are passed over."""
        needle = None if self.call_id is None else msgspec.json.encode(self.call_id)
        for raw in raw_lines:
            if needle is not None and needle not in raw:
                continue
            line = decode(raw)
            if line is not None and self.takes(line):
                yield line

    def takes(self, line: Line) -> bool:
        """Whether it is one of them; `tail` is not looked at."""
        return (
            line.at >= self.since
            and (self.instance is None or line.instance == self.instance)
            and (self.call_id is None or line.call_id == self.call_id)
        )

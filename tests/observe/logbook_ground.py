"""What tests of the logbook share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import trio

from faasd_py.observe.logbook import Line, Logbook, Wanted
from faasd_py.observe.logbook.segments import directory_name, segments

MIB = 1 << 20


class Words(msgspec.Struct, frozen=True):
    """`[logs]`, as small as tests like it."""

    enabled: bool = True
    per_function: int = MIB
    total: int = 4 * MIB
    retention: float = 3600.0
    echo: bool = False
    watchdog_lines: bool = False


async def lines(book: Logbook, label: str = "a.b", **wanted: object) -> list[Line]:
    """All that are there and wanted."""
    found: list[Line] = []
    async for page in await book.pages(label, Wanted(**wanted), follow=False):  # type: ignore[arg-type]
        found += page
    return found


async def texts(book: Logbook, label: str = "a.b", **wanted: object) -> list[str]:
    """As `lines`, only what they say."""
    return [line.text for line in await lines(book, label, **wanted)]


def say(book: Logbook, *words: str, label: str = "a.b", instance: str = "1", call_id: str = "") -> None:
    """Put lines in."""
    for word in words:
        book.line(label, word, "stderr", instance, call_id)


def files(directory: Path, label: str = "a.b") -> list[Path]:
    """The segments of a label, oldest first."""
    place = directory / directory_name(label)
    return [place / segment.name for segment in segments(place)]


async def poll(condition: Callable[[], bool]) -> None:
    """Until it holds."""
    while not condition():  # noqa: ASYNC110
        await trio.sleep(0.01)


def count(directory: Path | str) -> int:
    """Of what lies in a directory."""
    return sum(1 for _ in Path(directory).iterdir())


def fds() -> int:
    """Descriptors of this process."""
    return count("/proc/self/fd")


def size(directory: Path) -> int:
    """Bytes of all files below."""
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())

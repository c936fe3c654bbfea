"""The daemon's own lines on stderr: text for people, or JSON for machines. Secrets do not pass.

Rooms log by `logging.getLogger("faasd_py.ROOM")`; what belongs to a line beside its sentence goes into
`extra={"facts": {"call_id": …}}`. Lines are written by a thread of their own, so that a reader who stops reading
cannot stop the daemon.
"""

from __future__ import annotations

import logging
import os
import re
import sys
import time
from typing import Any, Final, Protocol, TextIO

import msgspec

from faasd_py.observe.lines import Lines

ROOT: Final = "faasd_py"
_HIDDEN: Final = "[hidden]"
_SECRET: Final = re.compile(
    r"""(?P<name>\b(?:proxy-)?authorization\b|\b(?:set-)?cookie\b)(?P<gap>["']?\s*[:=,]\s*)(?P<value>b?"[^"]*"|b?'[^']*'|[^\r\n"']+)""",
    re.IGNORECASE,
)
_USERINFO: Final = re.compile(r"(?<=://)[^/\s@:]*:[^/\s@]*@")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]")
_PRIORITIES: Final = ((logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6), (0, 7))


class LogWords(Protocol):
    """`[log]` of the configuration (`config.LogSettings` is one)."""

    @property
    def level(self) -> str:
        """`debug`, `info`, `warning` or `error`."""
        ...

    @property
    def format(self) -> str:
        """`text` or `json`."""
        ...


def setup(settings: LogWords, stream: TextIO | None = None) -> None:
    """Write the log to `stream` (stderr) from now on; called again, as on a reload, it replaces what was."""
    fd = (stream or sys.stderr).fileno()
    root = logging.getLogger()
    kinds = {"json": JsonFormatter, "text": TextFormatter}
    _handler(root, fd).setFormatter(kinds[settings.format](journal=_is_journal(fd)))
    root.setLevel(logging.WARNING)
    logging.getLogger(ROOT).setLevel(settings.level.upper())


def _handler(root: logging.Logger, fd: int) -> LineHandler:
    """The handler that writes to this descriptor: the one that is there, or a new one in the place of another."""
    for old in [handler for handler in root.handlers if isinstance(handler, LineHandler)]:
        if old.fd == fd:
            return old
        root.removeHandler(old)
        old.close()
    new = LineHandler(fd)
    root.addHandler(new)
    return new


def hide(text: str) -> str:
    """The text without the values of Authorization and Cookie fields and without passwords in URLs."""
    lower = text.lower()  # the patterns are slow on long lines: look first
    if "authorization" in lower or "cookie" in lower:
        text = _SECRET.sub(rf"\g<name>\g<gap>{_HIDDEN}", text)
    return _USERINFO.sub(f"{_HIDDEN}@", text) if "://" in text else text


def _is_journal(fd: int) -> bool:
    """Whether this very descriptor is connected to the journal (systemd.exec(5), $JOURNAL_STREAM)."""
    device, _, inode = os.environ.get("JOURNAL_STREAM", "").partition(":")
    try:
        status = os.fstat(fd)
        return (int(device), int(inode)) == (status.st_dev, status.st_ino)
    except (ValueError, OSError):
        return False


class LineHandler(logging.Handler):
    """Hands formatted records to the writing thread."""

    def __init__(self, fd: int) -> None:
        super().__init__()
        self.fd = fd
        self.lines = Lines(fd)

    def emit(self, record: logging.LogRecord) -> None:
        """Queue the record's line; a full queue drops it and says how many were dropped."""
        try:
            self.lines.write(self.format(record).encode("utf-8", "backslashreplace") + b"\n")
        except Exception:  # noqa: BLE001  # logging must not raise into a caller
            self.handleError(record)

    def flush(self) -> None:
        """Wait, for a moment at most, until everything is written."""
        self.lines.flush()

    def close(self) -> None:
        """Write what is left and stop the thread."""
        self.lines.close()
        super().close()


class TextFormatter(logging.Formatter):
    """`2026-11-24T10:00:00.123Z INFO queue: sentence key=value`; the journal gets its priority instead of a time."""

    def __init__(self, *, journal: bool = False) -> None:
        super().__init__()
        self.journal = journal

    def format(self, record: logging.LogRecord) -> str:
        """One line, and the traceback's lines below it if there is one."""
        line = f"{record.levelname} {_room(record)}: {_one_line(_message(record))}"
        for key, value in _facts(record).items():
            line += f" {key}={_one_line(str(value))}"
        if record.exc_info:
            line += "\n" + hide(self.formatException(record.exc_info))
        if not self.journal:
            return f"{_instant(record)} {line}"
        mark = f"<{_priority(record)}>"
        return mark + line.replace("\n", f"\n{mark}")


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, room, message, and the facts."""

    def __init__(self, *, journal: bool = False) -> None:
        super().__init__()
        self.mark = journal

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        told = {
            "time": _instant(record),
            "level": record.levelname.lower(),
            "room": _room(record),
            "message": _message(record),
            **_facts(record),
        }
        if record.exc_info:
            told["traceback"] = hide(self.formatException(record.exc_info))
        text = msgspec.json.encode(told, enc_hook=str).decode()
        return f"<{_priority(record)}>{text}" if self.mark else text


def _room(record: logging.LogRecord) -> str:
    return record.name.removeprefix(f"{ROOT}.")


def _message(record: logging.LogRecord) -> str:
    return hide(record.getMessage())


def _facts(record: logging.LogRecord) -> dict[str, Any]:
    facts = getattr(record, "facts", None) or {}
    return {key: _HIDDEN if _is_secret(key) else _plain(value) for key, value in facts.items()}


def _is_secret(key: str) -> bool:
    return key.lower().replace("_", "-") in {"authorization", "proxy-authorization", "cookie", "set-cookie"}


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        value = value.decode("latin-1")
    return hide(value) if isinstance(value, str) else value


def _instant(record: logging.LogRecord) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z"


def _priority(record: logging.LogRecord) -> int:
    return next(number for level, number in _PRIORITIES if record.levelno >= level)


def _one_line(text: str) -> str:
    return text if text.isprintable() else _CONTROL.sub(_escape, text)


def _escape(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode()

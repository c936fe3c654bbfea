"""Which subjects may go on the wire. Pure."""

from __future__ import annotations

import re
from typing import Final

from faasd_py_natsclient.errors import BadSubject

_TOKEN: Final = r"[^\x00-\x20\x7f.*>]+"  # noqa: S105 - a part of a subject
LITERAL: Final = re.compile(rf"{_TOKEN}(?:\.{_TOKEN})*")
PATTERN: Final = re.compile(rf"(?:(?:{_TOKEN}|\*)\.)*(?:{_TOKEN}|\*|>)")
QUEUE: Final = re.compile(r"[^\x00-\x20\x7f]+")


def literal(subject: str) -> bytes:
    """A subject to publish to: no wildcards.

    Raises:
        BadSubject: empty, an empty part, blanks, control characters or wildcards.
    """
    if not LITERAL.fullmatch(subject):
        raise BadSubject(f"subject {subject!r}: parts with dots between, without blanks and wildcards")
    return subject.encode("utf-8", "surrogateescape")


def pattern(subject: str) -> bytes:
    """A subject to subscribe to: `*` for one part, `>` for all that follow.

    Raises:
        BadSubject: as above, or a wildcard that is not a part by itself.
    """
    if not PATTERN.fullmatch(subject):
        raise BadSubject(f"subject {subject!r}: parts with dots between, each a word, '*', or '>' at the end")
    return subject.encode("utf-8", "surrogateescape")


def queue_group(name: str) -> bytes:
    """A queue group's name: one word.

    Raises:
        BadSubject: blanks or control characters.
    """
    if not QUEUE.fullmatch(name):
        raise BadSubject(f"queue group {name!r}: one word without blanks")
    return name.encode("utf-8", "surrogateescape")

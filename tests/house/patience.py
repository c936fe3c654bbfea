"""Waiting for what is true of another process: a bounded poll on a real condition."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def until(condition: Callable[[], T], *, within: float = 15.0, every: float = 0.01, what: str = "") -> T:
    """The first true value of `condition`; an error after `within` seconds."""
    end = time.monotonic() + within
    while True:
        if value := condition():
            return value
        if time.monotonic() > end:
            raise AssertionError(f"not within {within} s: {what or condition}; last: {value!r}")
        time.sleep(every)

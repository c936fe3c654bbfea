"""Durations and sizes as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faasd_py.core.durations import (
    Duration,
    Size,
    format_duration,
    format_size,
    parse_duration,
    parse_size,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("250ms", 0.25), ("10s", 10), ("1m30s", 90), ("6h", 21600), ("7d", 604800), ("0s", 0), ("1.5h", 5400),
        ("1us", 1e-6), ("1µs", 1e-6), ("5ns", 5e-9), ("0", 0), ("15", 15), (15, 15), (0, 0), ("1h1m1s", 3661),
    ],
)  # fmt: skip
def test_durations_that_people_write(text, seconds):
    """Units concatenated, decimals, and plain integers as seconds (OpenFaaS)."""
    assert parse_duration(text) == pytest.approx(seconds)
    assert isinstance(parse_duration(text), Duration)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "10 s",
        "s",
        "-1s",
        -1,
        "1.s",
        "1e3s",
        "ten",
        "1m30",
        "10S",
        True,
        None,
        1.5,
        "1" * 30,
        "٣s",
        "inf",
        "nan",
    ],
)
def test_what_is_no_duration_is_refused_with_an_example(text):
    """One sentence that shows how and what it was."""
    with pytest.raises(ValueError, match=r'expected a duration like "250ms"') as raised:
        parse_duration(text)
    assert repr(text) in str(raised.value)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("64MiB", 64 << 20), ("1GB", 10**9), ("256KiB", 256 << 10), ("12", 12), (12, 12), ("5B", 5), ("1k", 1000),
        ("2M", 2_000_000), ("1TiB", 1 << 40), ("3 MiB", 3 << 20), (0, 0),
    ],
)  # fmt: skip
def test_sizes_that_people_write(text, size):
    """Binary and decimal units."""
    assert parse_size(text) == size
    assert isinstance(parse_size(text), Size)


@pytest.mark.parametrize("text", ["", "MiB", "-1", -1, "1.5MiB", "1PB", "1 0", True, None, 1.5, "9" * 20])
def test_what_is_no_size_is_refused_with_an_example(text):
    """One sentence that shows how and what it was."""
    with pytest.raises(ValueError, match=r'expected a size like "256KiB"'):
        parse_size(text)


@given(st.integers(0, 10**9))
def test_a_written_duration_is_read_back(milliseconds):
    """To the millisecond, in the shortest words."""
    text = format_duration(milliseconds / 1000)
    assert parse_duration(text) == pytest.approx(milliseconds / 1000, abs=1e-3)


@given(st.integers(0, 1 << 50))
def test_a_written_size_is_read_back_exactly(size):
    """Whatever unit was chosen."""
    assert parse_size(format_size(size)) == size


@pytest.mark.parametrize(
    ("seconds", "text"), [(90, "1m30s"), (0.25, "250ms"), (0, "0s"), (86400, "1d"), (3600.5, "1h0.5s")]
)
def test_durations_are_written_as_people_do(seconds, text):
    """Largest unit first."""
    assert format_duration(seconds) == str(Duration(seconds)) == text


@pytest.mark.parametrize(("size", "text"), [(65536, "64KiB"), (0, "0B"), (1000, "1000B"), (1 << 30, "1GiB")])
def test_sizes_are_written_as_people_do(size, text):
    """The largest unit that is exact."""
    assert format_size(size) == str(Size(size)) == text

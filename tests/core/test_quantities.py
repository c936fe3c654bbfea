"""Quantities of memory and cores as Kubernetes writes them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faasd_py.core.durations import Size
from faasd_py.core.quantities import parse_cpu, parse_memory


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("128Mi", 128 << 20), ("1Gi", 1 << 30), ("64Ki", 64 << 10), ("1.5Gi", 3 << 29), ("128974848", 128974848),
        ("129e6", 129_000_000), ("129M", 129_000_000), ("128974848000m", 128974848), ("1E3", 1000), ("1E", 10**18),
        ("1k", 1000), ("2Ti", 2 << 40), ("1Pi", 1 << 50), ("1Ei", 1 << 60), ("+5", 5), ("0.5Ki", 512), (".5k", 500),
        ("5.", 5), ("1500m", 2), ("1T", 10**12), ("1P", 10**15), ("1G", 10**9), ("7e0", 7), ("7000e-3", 7),
        ("1000000u", 1), ("1000000000n", 1),
    ],
)  # fmt: skip
def test_memory(text, size):
    """Binary and decimal units and exponents; parts of a byte are rounded up, as Kubernetes does."""
    assert parse_memory(text) == size
    assert isinstance(parse_memory(text), Size)


@pytest.mark.parametrize(
    "text",
    ["", " ", "Mi", "128 Mi", "128mi", "128MiB", "128MB", "-1", "0", "1e", "1e3Mi", "0x10", "ten", "1.2.3", "9Ei9", "9e99",
     "nan", "inf", "٣Mi", "16Ei", "1" * 30, "\n5", "5\n"],
)  # fmt: skip
def test_what_is_no_memory(text):
    """Refused with an example, not taken for something else."""
    with pytest.raises(ValueError, match='expected a quantity of memory like "128Mi"') as raised:
        parse_memory(text)
    assert repr(text) in str(raised.value)


def test_thousandths_of_a_byte():
    """`m` is milli: the common slip is named."""
    with pytest.raises(ValueError, match='"128Mi", not "128m"'):
        parse_memory("128m")


@pytest.mark.parametrize(
    ("text", "cores"),
    [("100m", 0.1), ("1", 1.0), ("1.5", 1.5), ("2000m", 2.0), ("1m", 0.001), ("0.25", 0.25), ("5e-1", 0.5), ("2k", 2000.0)],
)  # fmt: skip
def test_cpu(text, cores):
    """Thousandths, decimals, whole ones."""
    assert parse_cpu(text) == cores


@pytest.mark.parametrize("text", ["", "m", "0", "-1", "0.5m", "100u", "1 m", "100M", "half", "1core", "1e9"])
def test_what_is_no_cpu(text):
    """Less than a thousandth is refused too, as Kubernetes does."""
    with pytest.raises(ValueError, match='expected a quantity of cores like "100m"') as raised:
        parse_cpu(text)
    assert repr(text) in str(raised.value)


@given(st.text(max_size=12))
def test_any_text_is_a_quantity_or_a_sentence(text):
    """Never another error, and never nothing or less."""
    for parse in (parse_memory, parse_cpu):
        try:
            assert parse(text) > 0
        except ValueError as error:
            assert str(error).startswith("expected a quantity")


@given(st.integers(1, 10**6), st.sampled_from(["Ki", "Mi", "Gi"]))
def test_binary_units_are_exact(number, unit):
    """Powers of 1024, whatever the number."""
    assert parse_memory(f"{number}{unit}") == number * 1024 ** (("Ki", "Mi", "Gi").index(unit) + 1)

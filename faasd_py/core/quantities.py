"""Pure. Kubernetes quantities, as OpenFaaS' `limits` and `requests` have them: memory `"128Mi"`, cpu `"100m"`.

A decimal number, then nothing, a binary unit (Ki … Ei), a decimal one (n, u, m, k, M … E), or an exponent (`e3`).
"""

from __future__ import annotations

import re
from decimal import ROUND_CEILING, Decimal
from typing import Final

from faasd_py.core.durations import Size

_QUANTITY: Final = re.compile(
    r"([+-]?(?:\d{1,18}(?:\.\d{0,18})?|\.\d{1,18}))(?:([KMGTPE]i|[numkMGTPE])|[eE]([+-]?\d{1,2}))?", re.ASCII
)
_DECIMAL: Final = {"n": -9, "u": -6, "m": -3, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY: Final = {unit: 10 * power for power, unit in enumerate(("Ki", "Mi", "Gi", "Ti", "Pi", "Ei"), 1)}
_LARGEST: Final = (1 << 63) - 1


def parse_memory(text: str) -> Size:
    """Bytes, rounded up, from `"128Mi"`, `"1G"` or `"1e9"`.

    Raises:
        ValueError: one sentence saying what was expected.
    """
    number = _parse(text)
    if number is None or not 0 < number <= _LARGEST:
        raise ValueError(f'expected a quantity of memory like "128Mi" or "1G", got {text!r}')
    if number < 1:  # "128m" is 0.128 bytes
        raise ValueError(
            f'expected a quantity of memory of a byte or more ("128Mi", not "128m"), got {text!r}'
        )
    return Size(number.to_integral_value(ROUND_CEILING))


def parse_cpu(text: str) -> float:
    """Cores, from `"100m"` (a tenth of one), `"1"` or `"1.5"`; a thousandth at least.

    Raises:
        ValueError: one sentence saying what was expected.
    """
    number = _parse(text)
    if number is None or not Decimal("0.001") <= number <= 1_000_000:
        raise ValueError(f'expected a quantity of cores like "100m" or "1.5", 1m or more, got {text!r}')
    return float(number)


def _parse(text: str) -> Decimal | None:
    """The number that is meant; None when it is no quantity."""
    match = _QUANTITY.fullmatch(text)
    if match is None:
        return None
    number, unit, exponent = Decimal(match[1]), match[2], match[3]
    if unit in _BINARY:
        return number * (1 << _BINARY[unit])
    return number.scaleb(_DECIMAL[unit] if unit else int(exponent or 0))

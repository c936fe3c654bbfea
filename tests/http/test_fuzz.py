"""A short, seeded run of the fuzz entry point."""

from __future__ import annotations

import pytest

from .corpus import cases
from .fuzz_http import campaign, check_requests, one_input


def test_every_seed_holds() -> None:
    """The corpus itself, in one piece and byte by byte for each tenth."""
    for n, case in enumerate(cases()):
        one_input(b"\x00" + case.raw)
        if n % 10 == 0 and len(case.raw) < 400:
            one_input(b"\x01" + case.raw)


@pytest.mark.parametrize("seed", [1, 2])
def test_mutations_hold(seed: int) -> None:
    """The same inputs each time; a longer run is `python -m tests.http.fuzz_http SECONDS`."""
    assert campaign(seed, inputs=250) == 250


def test_the_check_finds_a_smuggled_request() -> None:
    """The oracle is not blind."""
    with pytest.raises(AssertionError):
        check_requests(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", [(b"GET", b"/", b""), (b"GET", b"/evil", b"")])
    with pytest.raises(AssertionError):
        check_requests(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", [(b"GET", b"/", b"x")])

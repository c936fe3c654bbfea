"""Where a request target leads."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faasd_py.gateway import route


@pytest.mark.parametrize(
    ("target", "way"),
    [
        (b"/function/echo", (b"echo", b"/")),
        (b"/function/echo/", (b"echo", b"/")),
        (b"/function/echo?a=1&b=/x//y", (b"echo", b"/?a=1&b=/x//y")),
        (b"/function/echo/a/b?c", (b"echo", b"/a/b?c")),
        (b"/function/echo.openfaas-fn/a%2Fb", (b"echo.openfaas-fn", b"/a%2Fb")),
        (b"/async-function/echo/a", (b"echo", b"/a")),
        (b"/function/", (b"", b"/")),
        (b"/function/e%63ho/x", (b"echo", b"/x")),
    ],
)
def test_the_three_forms_of_a_name(target, way):
    """NAME, NAME/ and NAME/path are routes; the rest reaches the function as it came."""
    assert route.split(target) == way


@pytest.mark.parametrize(
    "target", [b"/", b"/function", b"/functions/echo", b"/system/functions", b"/healthz", b"*"]
)
def test_everything_else_is_no_invocation(target):
    """Only the two prefixes lead to functions."""
    assert route.split(target) is None


@pytest.mark.parametrize(
    ("target", "canonical"),
    [
        (b"//function/echo", b"/function/echo"),
        (b"/function//echo", b"/function/echo"),
        (b"/function/echo/../secret", b"/function/secret"),
        (b"/function/echo/./a", b"/function/echo/a"),
        (b"/../../etc/passwd", b"/etc/passwd"),
        (b"/function/echo/a/..?x=//", b"/function/echo/?x=//"),
        (b"/..", b"/"),
    ],
)
def test_a_path_that_is_not_canonical_has_one_that_is(target, canonical):
    """Double slashes and dot segments are cleaned, the query is kept (OpenFaaS wire contract §1.0)."""
    assert route.cleaned(target) == canonical


@pytest.mark.parametrize(
    "target", [b"/function/echo", b"/function/echo/.well-known/x", b"/a?u=http://b/../c", b"/a/..b"]
)
def test_a_canonical_path_is_left_alone(target):
    """Hidden names and anything in the query are canonical."""
    assert route.cleaned(target) is None


@given(st.lists(st.sampled_from([b"", b".", b"..", b"a", b"b.c", b"..."]), max_size=8))
def test_cleaning_is_final(parts):
    """What cleaning returns is canonical, begins with one slash and never climbs above the root."""
    target = b"/" + b"/".join(parts)
    clean = route.cleaned(target) or target
    assert route.cleaned(clean) is None
    assert re.match(rb"/(?!/)", clean)
    assert b".." not in clean.split(b"/")

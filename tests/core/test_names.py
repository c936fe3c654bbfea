"""Function names with and without a namespace."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faasd_py.core import names


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("resize", ("resize", "openfaas-fn")), ("resize.dev", ("resize", "dev")), ("a.b.c", ("a.b", "c")),
        (".x", ("", "x")), ("x.", ("x", "")),
    ],
)  # fmt: skip
def test_a_name_is_split_at_its_last_dot(name, parts):
    """Without a dot it is in the default namespace."""
    assert names.split(name) == parts


def test_the_full_name_has_its_namespace():
    """Once."""
    assert names.full("resize") == "resize.openfaas-fn"
    assert names.full("resize.openfaas-fn") == "resize.openfaas-fn"
    assert names.full("resize", "dev") == "resize.dev"


@pytest.mark.parametrize("name", ["a", "resize", "re-size_2", "A1", "x" * 63])
def test_good_names_are_taken(name):
    """As they are."""
    assert names.check(name) == name


@pytest.mark.parametrize("name", ["", "-a", "a-", "_a", "a.b", "a b", "é", "a/b", "x" * 64, "a\n", "../etc"])
def test_bad_names_are_refused_with_the_rule(name):
    """One sentence with the rule and the name."""
    with pytest.raises(ValueError, match="a function name is 1 to 63"):
        names.check(name)


@given(st.from_regex(names.NAME, fullmatch=True))
def test_full_names_stay_what_they_are(name):
    """`full` of a full name is itself."""
    assert names.full(names.full(name)) == names.full(name)

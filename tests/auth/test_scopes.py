"""What a credential may do."""

import pytest

from faasd_py.auth.identity import EVERYONE, Identity
from faasd_py.auth.scopes import SCOPES, allows, check


@pytest.mark.parametrize(
    ("held", "allowed"),
    [
        (["invoke"], {"invoke"}),
        (["read"], {"read"}),
        (["admin"], {"admin", "read"}),
        (["read", "invoke"], {"read", "invoke"}),
        (["admin", "invoke"], set(SCOPES)),
        ([], set()),
    ],
)
def test_what_follows_from_what(held, allowed):
    """`admin` holds `read`; `invoke` stands apart."""
    assert {scope for scope in SCOPES if allows(held, scope)} == allowed


@pytest.mark.parametrize(
    ("held", "got"), [(["write"], '"write"'), ([], "none"), (["read", "Admin"], '"Admin"')]
)
def test_unknown_scopes(held, got):
    """One sentence."""
    with pytest.raises(ValueError, match="expected scopes out of invoke, read, admin, got") as error:
        check(held)
    assert str(error.value).endswith(got)


@pytest.mark.parametrize(
    "who", [EVERYONE, Identity("ci", frozenset({"read"})), Identity("a.b-c_d", frozenset())]
)
def test_an_identity_survives_its_header_line(who):
    """As the door writes it, the control plane reads it."""
    name, _, value = who.line().decode().partition(": ")
    assert (name, Identity.parse(value.removesuffix("\r\n"))) == ("X-Faasd-Py-Identity", who)


@pytest.mark.parametrize("value", [None, "", "ci", ";admin"])
def test_what_is_no_identity(value):
    """Nobody."""
    assert Identity.parse(value) is None


def test_unknown_words_give_nothing():
    """Only scopes that there are."""
    assert Identity.parse("ci;root, admin,read,") == Identity("ci", frozenset({"read"}))

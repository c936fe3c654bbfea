"""The unit as systemd has it, and what a daemon of it could do: what `faasd-py check` says to whoever asks."""

from __future__ import annotations

import pytest

from faasd_py.runtime.confine import host
from faasd_py.runtime.confine.unit import Unit, parse

SHIPPED = """User=
DynamicUser=yes
Delegate=yes
CapabilityBoundingSet=
LoadState=loaded
"""
AS_ROOT = """LoadState=loaded
User=root
DynamicUser=no
Delegate=yes
CapabilityBoundingSet=cap_chown cap_dac_override cap_kill cap_setgid cap_setuid
"""


def unit(shown: str) -> Unit:
    found = parse(shown)
    assert found is not None
    return found


def test_as_it_is_shipped() -> None:
    """A user of its own, which can become nobody else; its groups are its own."""
    found = unit(SHIPPED)
    assert (found.user, found.root, found.groups_lack) == ("a user that is made for it", False, "")
    assert found.user_lacks == (
        "faasd-py.service runs as a user that is made for it, without CAP_SETUID and CAP_SETGID"
    )


def test_with_the_drop_in_for_other_users() -> None:
    """Root with the two capabilities."""
    assert unit(AS_ROOT).user_lacks == ""
    assert "runs as root, without" in unit(AS_ROOT.replace("cap_setgid ", "")).user_lacks
    assert "runs as www-data, without" in unit(AS_ROOT.replace("User=root", "User=www-data")).user_lacks


@pytest.mark.parametrize("user", ["", "root", "0"])
def test_who_is_root(user: str) -> None:
    """A unit that says nothing of its user is root's (systemd.exec(5), User=)."""
    assert unit(AS_ROOT.replace("User=root", f"User={user}")).root


def test_without_delegate() -> None:
    """As with strict-url-only.conf."""
    assert (
        unit(SHIPPED.replace("Delegate=yes", "Delegate=no")).groups_lack
        == "faasd-py.service is without Delegate=yes"
    )


@pytest.mark.parametrize(
    "shown", ["", "LoadState=not-found\n", "Failed to connect to bus\n", "LoadState=masked\n"]
)
def test_no_unit(shown: str) -> None:
    """Not installed, masked, or systemd does not answer."""
    assert parse(shown) is None


def test_what_its_daemon_could_do(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The controllers of the whole hierarchy with Delegate=yes, else the reason; who asks is no matter."""
    controllers = tmp_path / "cgroup.controllers"
    monkeypatch.setattr(host, "_ROOT", controllers)
    assert "no memory controller" in host.probe("x", unit(SHIPPED)).memory
    controllers.write_text("cpu memory\n")
    found = host.probe("x", unit(SHIPPED))
    assert (found.memory, found.cpu) == ("", "")
    assert "no pids controller" in found.pids
    assert found.user == unit(SHIPPED).user_lacks
    assert host.probe("x", unit(AS_ROOT)).user == ""
    without = host.probe("x", unit(SHIPPED.replace("Delegate=yes", "Delegate=no")))
    assert without.memory == without.cpu == without.pids == "faasd-py.service is without Delegate=yes"

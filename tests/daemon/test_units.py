"""The units of systemd/: systemd itself reads them, and scores how closed they are."""

import shutil
import subprocess
from pathlib import Path

import pytest

UNITS = Path(__file__).parents[2] / "systemd"
SERVICE = "faasd-py.service"
STRICT = "strict-url-only.conf"

pytestmark = pytest.mark.skipif(
    not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed (Debian: systemd)"
)


@pytest.fixture
def units(tmp_path):
    """The units in a directory of their own, with a program that exists here."""
    for unit in UNITS.iterdir():
        text = unit.read_text().replace("/opt/faasd-py/bin/faasd-py", "/bin/true")
        (tmp_path / unit.name).write_text(text)
    return tmp_path


def analyze(*words):
    done = subprocess.run(
        ["systemd-analyze", "--no-pager", *words], capture_output=True, text=True, timeout=60, check=False
    )
    return done.returncode, done.stdout + done.stderr


def add_strict(units):
    """The drop-in, where an operator puts it."""
    (units / f"{SERVICE}.d").mkdir()
    shutil.copy(units / STRICT, units / f"{SERVICE}.d")


def open_items(report):
    """What the score counts as open, each as its setting: `ProcSubset`, `RestrictAddressFamilies`."""
    return {line.split()[1].split("=")[0] for line in report.splitlines() if line.startswith("✗")}


def test_systemd_understands_the_units(units):
    """Every key is known, every value parses, every reference resolves; no warning."""
    assert analyze("verify", "--man=no", str(units / SERVICE), str(units / "faasd-py.socket")) == (0, "")


def test_systemd_understands_the_strict_drop_in(units):
    """So does the drop-in."""
    add_strict(units)
    assert analyze("verify", "--man=no", str(units / SERVICE)) == (0, "")


def test_the_service_scores_2_5_or_better(units):
    """0 is closed, 10 is open; --threshold is in tenths."""
    status, report = analyze("security", "--offline=true", "--threshold=25", str(units / SERVICE))
    assert status == 0, report


def test_the_strict_service_scores_1_5_or_better(units):
    """With the drop-in for boxes that only run `url` functions."""
    add_strict(units)
    status, report = analyze("security", "--offline=true", "--threshold=15", str(units / SERVICE))
    assert status == 0, report


def test_every_open_item_has_its_reason(units):
    """What systemd counts as open is named in the unit's comments, with the reason."""
    _, report = analyze("security", "--offline=true", str(units / SERVICE))
    comments = [line for line in (units / SERVICE).read_text().splitlines() if line.startswith("#")]
    unexplained = {
        item
        for item in open_items(report)
        if not any(f"{item.removesuffix('/RootImage')}=" in line or f"{item}=" in line for line in comments)
    }
    assert not unexplained


def test_what_functions_need_is_not_closed(units):
    """JITs, children, the network and writable control groups; the strict drop-in alone closes some of it."""
    text = (units / SERVICE).read_text()
    settings = [line for line in text.splitlines() if "=" in line and not line.startswith("#")]
    closed = {line.split("=")[0] for line in settings if line.endswith("=yes")}
    assert not closed & {"MemoryDenyWriteExecute", "PrivateNetwork", "ProtectControlGroups", "PrivateUsers"}
    assert "Delegate=yes" in settings
    assert not any(line.startswith(("TasksMax=", "IPAddressDeny=", "LimitNPROC=")) for line in settings)


def test_the_wheel_has_the_units():
    """The build takes the whole directory along, so that an installation has them."""
    pyproject = (UNITS.parent / "pyproject.toml").read_text()
    assert '"systemd" = "faasd_py/share/systemd"' in pyproject

"""The README says what is so."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import msgspec
import pytest

from faasd_py.config import load
from faasd_py.core.durations import format_size
from faasd_py_podman.options import FunctionOptions, Options

README = (Path(__file__).parents[1] / "README.md").read_text()
UNIT = Path(__file__).parents[3] / "systemd" / "faasd-py.service"
NONE = "\N{EN DASH}"
ROWS = dict(re.findall(r"(?m)^\| `(\w+)` \| (\S+) \|", README))


def blocks(language: str) -> list[str]:
    return re.findall(rf"(?ms)^```{language}\n(.*?)^```$", README)


def test_every_setting_with_its_default():
    """And none that does not exist."""
    plain = msgspec.to_builtins(Options(), enc_hook=format_size)
    del plain["functions"]
    told = {name: None if cell == NONE else json.loads(cell.strip("`")) for name, cell in ROWS.items()}
    assert told == plain
    assert set(FunctionOptions.__struct_fields__) <= set(ROWS)


@pytest.mark.parametrize("block", blocks("toml"))
def test_the_examples_are_configurations(block, tmp_path):
    """That load."""
    assert tomllib.loads(block)
    path = tmp_path / "config.toml"
    path.write_text(block)
    (image,) = {function.image for function in load(path).functions.values()}
    assert image.startswith("ghcr.io/")


def test_the_drop_in_fits_the_unit(tmp_path):
    """As systemd reads it."""
    assert shutil.which("systemd-analyze"), "systemd is not installed"
    (drop_in,) = blocks("ini")
    unit = tmp_path / "faasd-py.service"
    text = re.sub(r"(?m)^ExecStart=.*$", "ExecStart=/bin/true", UNIT.read_text())
    unit.write_text(text.replace("sh -c", "/bin/sh -c"))
    folder = tmp_path / "faasd-py.service.d"
    folder.mkdir()
    (folder / "override.conf").write_text(drop_in)
    done = subprocess.run(
        ["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False, timeout=60
    )
    assert "override.conf" not in done.stderr, done.stderr
    named = dict(re.findall(r"(?m)^(\w+)=(.*)$", drop_in))
    settled = dict(re.findall(r"(?m)^(\w+)=(.*)$", UNIT.read_text()))
    assert named.keys() - {"User"} <= settled.keys()

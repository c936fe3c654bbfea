"""The worked example of docs/plugins.md, taken from the page and run as it stands there."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "plugins.md").read_text()
FILES = dict(re.findall(r"^`([\w.]+)`:\n\n```\w+\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE))
(CONFIG,) = re.findall(r"uses it:\n\n```toml\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


@pytest.fixture
def plugin(tmp_path):
    """The example as pip would leave it."""
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    info = tmp_path / "faasd_py_ledger-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: faasd-py-ledger\nVersion: 1.0\n")
    point = re.search(r"^\[project\.entry-points\.faasd_py\]\n(.*?)$", FILES["pyproject.toml"], re.MULTILINE)[
        1
    ]
    (info / "entry_points.txt").write_text(f"[faasd_py]\n{point}\n".replace('"', ""))
    (tmp_path / "config.toml").write_text(
        f'{CONFIG}\n[state]\ndirectory = "{tmp_path}/state"\nruntime_directory = "{tmp_path}/run"\n'
    )
    return tmp_path


def run(plugin, *words):
    environment = {**os.environ, "PYTHONPATH": str(plugin), "FAASD_PY_CONFIG": str(plugin / "config.toml")}
    return subprocess.run(
        [sys.executable, *words],
        cwd=plugin,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_the_example_passes_its_own_tests(plugin):
    """The conformance suite, run by the example's test file."""
    done = run(
        plugin, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", "trio_mode=true", "test_ledger.py"
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    assert re.search(r"^\d\d+ passed", done.stdout, re.MULTILINE), done.stdout[-500:]


def test_the_command_line_finds_tries_and_lists_it(plugin):
    """Listed with what it registers, checked with one call, and the configuration is in order."""
    assert "queue ledger (durable" in run(plugin, "-m", "faasd_py", "plugins").stdout
    checked = run(plugin, "-m", "faasd_py", "plugins", "check")
    assert checked.stdout.startswith("OK: ledger (plug-in ledger)"), checked.stderr
    said = run(plugin, "-m", "faasd_py", "check").stdout.splitlines()
    assert said[0] == "OK"
    assert said[1].split()[:2] == ["CONFINEMENT", "HERE"]


def test_a_wrong_option_names_its_place(plugin):
    """What the plug-in says about [queue.options] reaches the person."""
    with (plugin / "config.toml").open("a") as file:
        file.write("[queue.options]\nfil = 'x'\n")
    checked = run(plugin, "-m", "faasd_py", "plugins", "check")
    assert checked.returncode == 2
    assert checked.stderr == "faasd-py: queue.options.fil: there is no such setting (is file meant?)\n"


def test_the_example_is_typed(plugin):
    """The type checker finds the public surface and nothing wrong with its use."""
    done = run(plugin, "-m", "mypy", "--strict", "--no-incremental", "faasd_py_ledger.py")
    assert done.returncode == 0, done.stdout

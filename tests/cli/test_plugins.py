"""`plugins check` and `plugins install`, with real backends and a real pip."""

import json
import zipfile

import pytest

MODULE = """
from faasd_py.api import Capabilities, hookimpl, open_memory_queue

api_version = 1

@hookimpl
def faasd_py_register_queues(register):
    register("shelf", open_memory_queue, Capabilities(durable=False))
"""


@pytest.fixture
def wheel(tmp_path):
    """A plug-in as a file that pip takes."""
    path = tmp_path / "faasd_py_shelf-1.0-py3-none-any.whl"
    info = "faasd_py_shelf-1.0.dist-info"
    files = {
        "faasd_py_shelf.py": MODULE,
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: faasd-py-shelf\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": "[faasd_py]\nshelf = faasd_py_shelf\n",
    }
    record = "".join(f"{name},,\n" for name in [*files, f"{info}/RECORD"])
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in {**files, f"{info}/RECORD": record}.items():
            archive.writestr(name, text)
    return path


@pytest.mark.parametrize("backend", ["sqlite", "memory"])
def test_check_takes_one_call_through_its_life_cycle(cli, config, backend):
    """The steps are named with the time each took; the state directory is not touched."""
    config.write_text(config.read_text() + f'[queue]\nbackend = "{backend}"\n')
    assert cli("plugins", "check").out.startswith(f"OK: {backend} (plug-in {backend}): opened ")
    report = json.loads(cli("plugins", "check", "--json").out)
    assert report["backend"] == backend
    assert all(report[step] >= 0 for step in ("opened", "put", "leased", "settled"))
    assert not (config.parent / "state").exists()


def test_check_says_what_a_backend_says(cli, config):
    """An option that the backend does not have: its sentence, and exit status 2 as for all configuration."""
    config.write_text(config.read_text() + "[queue.options]\nnonsense = 1\n")
    said = cli("plugins", "check")
    assert said.status == 2
    assert said.err == "faasd-py: queue.options.nonsense: the backend 'sqlite' has no such option\n"


def test_check_of_a_plugin_that_is_not_there(cli, config):
    """Exit status 2, and how to install it."""
    config.write_text(config.read_text() + '[queue]\nbackend = "jetstreem"\n')
    said = cli("plugins", "check")
    assert (said.status, said.out) == (2, "")
    assert "'jetstreem' is not installed: faasd-py plugins install jetstreem" in said.err


def test_what_is_installed_into_the_state_directory_is_found(cli, config, wheel):
    """Pip puts it below the state directory; from then on it is listed and can be the backend."""
    said = cli("plugins", "install", str(wheel))
    assert said.status == 0, said.err
    assert f"{config.parent}/state/plugins" in said.out
    assert "queue shelf" in cli("plugins", "list").out
    config.write_text(config.read_text() + '[queue]\nbackend = "shelf"\n')
    assert cli("plugins", "check").out.startswith("OK: shelf (plug-in shelf)")


def test_what_pip_cannot_install_is_said(cli, tmp_path):
    """Pip's own words stay on the terminal; ours are one sentence and exit status 1."""
    said = cli("plugins", "install", str(tmp_path / "missing.whl"))
    assert said.status == 1
    assert "faasd-py: pip could not install" in said.err
